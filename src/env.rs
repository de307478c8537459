//! The world, as the broker sees it: a clock, a network, a disk, chance, tasks.
//!
//! Production implements it in `env/tokio.rs`; the simulator implements the same traits over
//! madsim and breaks every promise that is not written down here. Nothing else in `src/` touches
//! the operating system.

use std::future::{Future, poll_fn};
use std::io;
use std::task::Poll;

use ::tokio::io::AsyncWriteExt;

use self::clock::Clock;
use self::disk::{Disk, File};
use self::net::{Conn, Net};

pub mod clock;
pub mod disk;
#[cfg(any(test, fuzzing))]
pub mod memory;
pub mod net;
pub mod probe;
pub mod tokio;

pub type FileOf<E> = <<E as Env>::Disk as Disk>::File;
pub type ConnOf<E> = <<E as Env>::Net as Net>::Conn;
pub type ReaderOf<E> = <ConnOf<E> as Conn>::Reader;
pub type WriterOf<E> = <ConnOf<E> as Conn>::Writer;

/// Bytes of a file region held in memory at once while it is sent.
const SEND_CHUNK_BYTES: u32 = 256 << 10;

/// One node's world.
///
/// 1. A task runs until it ends, is aborted, or the process dies. Tasks may run in parallel, in
///    any order.
/// 2. `random_u64` is unpredictable in production and a function of the seed in a simulation.
/// 3. `offload` runs blocking or long work off the event loop and returns its result.
pub trait Env: Clone + Send + Sync + 'static {
    type Clock: Clock;
    type Net: Net;
    type Disk: Disk;
    type Task: Task;

    fn clock(&self) -> &Self::Clock;
    fn net(&self) -> &Self::Net;
    fn disk(&self) -> &Self::Disk;
    fn random_u64(&self) -> u64;

    /// Starts a task. Dropping the handle leaves it running.
    fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Self::Task;

    /// Runs `work` where it may block or burn a core: decompression, recovery, many file creations.
    fn offload<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send;

    /// Lets the tasks that are ready run first. One turn, not a promise about any of them.
    fn yield_now(&self) -> impl Future<Output = ()> + Send {
        let mut yielded = false;
        poll_fn(move |context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Writes `len` bytes of `file`, from `at`, to `to`. Reads in chunks, so a slow peer holds one
    /// chunk of memory. Ends with `UnexpectedEof` when the file is shorter.
    fn send_file(
        &self,
        to: &mut WriterOf<Self>,
        file: &FileOf<Self>,
        at: u64,
        len: u64,
    ) -> impl Future<Output = io::Result<()>> + Send {
        async move {
            let (mut at, end) = (at, at + len);
            while at < end {
                let want = SEND_CHUNK_BYTES.min((end - at) as u32);
                let chunk = file.read_at(at, want).await?;
                if chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                to.write_all(&chunk).await?;
                at += chunk.len() as u64;
            }
            Ok(())
        }
    }

    /// Tells the simulator what happened inside. Compiles to nothing in production.
    #[inline(always)]
    fn probe(&self, _event: impl FnOnce() -> probe::Event) {}
}

/// A running task.
pub trait Task: Send + Sync + 'static {
    /// Stops it at its next await.
    fn abort(&self);
}
