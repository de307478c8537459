//! One node on a runtime of its own: dropping the runtime is the death of its process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use ottla::config::layers::Origin;
use ottla::config::settings::{Settings, Start};
use ottla::env::Env;
use ottla::env::tokio::TokioEnv;
use ottla::server::node::{self, Ready, RunError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use super::PATIENCE;
use super::wire::Wire;

pub struct Node {
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    happened: Receiver<Happened>,
    pub ready: Ready,
    pub address: SocketAddr,
}

enum Happened {
    Ready(Ready),
    Ended(Result<(), RunError>),
}

/// What the command line would make of `options`, on a free port.
pub fn configured(dir: &Path, options: &[(&str, &str)]) -> Start {
    let mut settings = Settings::default();
    let dir = dir.to_str().expect("temporary directories have names in ASCII");
    let own = [("listeners", "PLAINTEXT://127.0.0.1:0"), ("log.dirs", dir)];
    for (name, value) in own.iter().chain(options) {
        settings.set(name, value, Origin::CommandLine);
    }
    settings.finish("localhost", true).expect("the options are right")
}

impl Node {
    pub fn start(dir: &Path, options: &[(&str, &str)]) -> Node {
        Node::try_start(dir, options).expect("the node starts")
    }

    pub fn try_start(dir: &Path, options: &[(&str, &str)]) -> Result<Node, RunError> {
        Node::start_in(TokioEnv::new, configured(dir, options))
    }

    pub fn start_in<E: Env>(env: impl FnOnce(Handle) -> E, start: Start) -> Result<Node, RunError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, happened) = mpsc::channel();
        let tell_ready = tell.clone();
        let running = node::run(
            env(runtime.handle().clone()),
            start,
            move |ready| drop(tell_ready.send(Happened::Ready(ready))),
            async move { drop(stopped.await) },
        );
        runtime.spawn(async move {
            let _ = tell.send(Happened::Ended(running.await));
        });
        match happened.recv_timeout(PATIENCE).expect("the node starts or fails") {
            Happened::Ended(ended) => {
                runtime.shutdown_timeout(PATIENCE);
                Err(ended.expect_err("nobody stopped it"))
            }
            Happened::Ready(ready) => {
                let address = ready.bound[0].1;
                let (runtime, stop) = (Some(runtime), Some(stop));
                Ok(Node { runtime, stop, happened, ready, address })
            }
        }
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// A clean stop.
    pub fn stop(mut self) -> Result<(), RunError> {
        drop(self.stop.take());
        self.ended()
    }

    /// Waits until the node ends of itself, or as it was told.
    pub fn ended(&mut self) -> Result<(), RunError> {
        match self.happened.recv_timeout(PATIENCE).expect("the node ends") {
            Happened::Ended(ended) => ended,
            Happened::Ready(_) => unreachable!("it was ready before"),
        }
    }

    /// Every task is gone at its next await, as if the process had died. What was written stays in
    /// the page cache.
    pub fn kill(mut self) {
        let runtime = self.runtime.take().expect("killed once");
        // So that nobody mistakes the death for a stop.
        let _keep = self.stop.take();
        runtime.shutdown_timeout(Duration::from_secs(10));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::mem::forget(self.stop.take());
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}
