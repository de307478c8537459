//! The real world: Linux, tokio's multi-threaded runtime, OS entropy.
//!
//! This file and those under `env/tokio/` are the only ones in `src/` that touch sockets, files,
//! threads and clocks.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::AbortHandle;

use self::clock::TokioClock;
use self::disk::TokioDisk;
use self::net::TokioNet;
use super::{Env, Task};

pub mod clock;
pub mod disk;
mod files;
pub mod lock;
pub mod net;

#[cfg(not(target_os = "linux"))]
compile_error!("Ottla asks Linux for syncfs and for reads that do not wait; no other system yet");

/// Open data files are cached up to so many, fewer when the process may not have that many.
pub const FILES_OPEN_MAX: usize = 8192;

/// Threads for blocking calls: cold reads, syncs, recovery. They end when idle.
const BLOCKING_THREADS_MAX: usize = 64;

#[derive(Clone)]
pub struct TokioEnv {
    runtime: Handle,
    clock: TokioClock,
    net: TokioNet,
    disk: TokioDisk,
}

impl TokioEnv {
    /// The runtime that production runs on.
    pub fn runtime() -> io::Result<Runtime> {
        Builder::new_multi_thread()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("ottla")
            .enable_all()
            .build()
    }

    /// Raises the process's limit of open files as far as it may, and leaves sockets the larger
    /// part of it.
    pub fn new(runtime: Handle) -> TokioEnv {
        let files_open_max = FILES_OPEN_MAX.min(raise_open_files_limit() / 2).max(16);
        TokioEnv::with_files_open_max(runtime, files_open_max)
    }

    pub fn with_files_open_max(runtime: Handle, files_open_max: usize) -> TokioEnv {
        TokioEnv {
            clock: TokioClock::start(),
            net: TokioNet,
            disk: TokioDisk::new(runtime.clone(), files_open_max),
            runtime,
        }
    }
}

impl Env for TokioEnv {
    type Clock = TokioClock;
    type Net = TokioNet;
    type Disk = TokioDisk;
    type Task = TokioTask;

    fn clock(&self) -> &TokioClock {
        &self.clock
    }

    fn net(&self) -> &TokioNet {
        &self.net
    }

    fn disk(&self) -> &TokioDisk {
        &self.disk
    }

    fn random_u64(&self) -> u64 {
        rand::random()
    }

    fn spawn(
        &self,
        _name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> TokioTask {
        TokioTask(self.runtime.spawn(task).abort_handle())
    }

    fn offload<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        offload(&self.runtime, work)
    }

    /// Polls the sockets before it comes back, unlike the default.
    fn yield_now(&self) -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

#[derive(Debug)]
pub struct TokioTask(AbortHandle);

impl Task for TokioTask {
    fn abort(&self) {
        self.0.abort();
    }
}

/// Starts at once; the future only waits for the result.
fn offload<R: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> R + Send + 'static,
) -> impl Future<Output = R> + Send {
    let running = runtime.spawn_blocking(work);
    async move {
        match running.await {
            Ok(result) => result,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime shuts down, and drops this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn raise_open_files_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let now = limit.current;
    limit.current = limit.maximum;
    let reached = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { now };
    // No limit is also a limit: the cache's own maximum counts then.
    reached.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
