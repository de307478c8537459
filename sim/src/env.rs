//! One process's world: the simulated clock, network, disk, chance and tasks behind `Env`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use madsim::runtime::NodeHandle;
use madsim::task::AbortHandle;
use ottla::env::{Env, Task, probe};
use tokio::sync::oneshot;

use crate::agenda::Agenda;
use crate::chance::Chance;
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::net::SimNet;
use crate::world::World;

/// How long offloaded work waits for a thread, and its result for the event loop.
const OFFLOAD: std::ops::Range<Duration> = Duration::from_micros(10)..Duration::from_micros(500);

#[derive(Clone)]
pub struct SimEnv {
    process: Arc<Process>,
}

pub struct Process {
    pub world: World,
    pub node: usize,
    pub clock: SimClock,
    pub net: SimNet,
    pub disk: SimDisk,
    pub host: NodeHandle,
    pub stop_asked: Mutex<Option<oneshot::Receiver<()>>>,
    pub chance: Mutex<Chance>,
    pub tasks: Tasks,
}

/// How many tasks of each name a process runs.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<BTreeMap<&'static str, usize>>>);

/// A task that runs; counted until dropped.
struct Counted {
    tasks: Tasks,
    name: &'static str,
}

impl Tasks {
    fn begin(&self, name: &'static str) -> Counted {
        *self.0.lock().unwrap().entry(name).or_default() += 1;
        Counted { tasks: self.clone(), name }
    }

    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.0.lock().unwrap().clone()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Tasks are dropped while a failed run unwinds.
        let mut counts = self.tasks.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(self.name).or_default() -= 1;
    }
}

impl SimEnv {
    pub fn new(process: Process) -> SimEnv {
        SimEnv { process: Arc::new(process) }
    }

    /// Ready when the process is asked to end.
    pub fn stop_asked(&self) -> impl Future<Output = ()> + Send + use<> {
        let asked = self.process.stop_asked.lock().unwrap().take();
        async move {
            let asked = asked.expect("one program listens");
            if asked.await.is_err() {
                // The process was killed, and drops this with it.
                std::future::pending().await
            }
        }
    }

    /// The process serves from now on.
    pub fn set_serves(&self) {
        self.process.world.set_serves(self.process.node);
    }

    pub fn agenda(&self) -> &Agenda {
        &self.process.world.agenda
    }
}

impl Env for SimEnv {
    type Clock = SimClock;
    type Net = SimNet;
    type Disk = SimDisk;
    type Task = SimTask;

    fn clock(&self) -> &SimClock {
        &self.process.clock
    }

    fn net(&self) -> &SimNet {
        &self.process.net
    }

    fn disk(&self) -> &SimDisk {
        &self.process.disk
    }

    fn random_u64(&self) -> u64 {
        self.process.chance.lock().unwrap().draw()
    }

    fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> SimTask {
        let counted = self.process.tasks.begin(name);
        let task = async move {
            task.await;
            drop(counted);
        };
        SimTask(self.process.host.spawn(task).abort_handle())
    }

    /// Starts at once, on a task of its own, and goes on when nobody waits for it: so does the
    /// thread that it stands for.
    fn offload<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        let mut chance = self.process.chance.lock().unwrap();
        let (before, after) = (chance.duration(OFFLOAD), chance.duration(OFFLOAD));
        drop(chance);
        let (agenda, (sender, result)) = (self.agenda().clone(), oneshot::channel());
        self.process.host.spawn(async move {
            agenda.sleep(before).await;
            let done = work();
            agenda.sleep(after).await;
            // Nobody waits when the task that offloaded was aborted.
            let _ = sender.send(done);
        });
        async move {
            match result.await {
                Ok(result) => result,
                // The process was killed, and drops this task with it.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn probe(&self, event: impl FnOnce() -> probe::Event) {
        self.process.world.observe(self.process.node, event());
    }
}

pub struct SimTask(AbortHandle);

impl Task for SimTask {
    fn abort(&self) {
        self.0.abort();
    }
}
