//! One process's world: the simulated clock, network, disk, chance and tasks behind `Env`.

use std::future::Future;
use std::sync::{Arc, Mutex};
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
    pub chance: Mutex<Chance>,
}

impl SimEnv {
    pub fn new(process: Process) -> SimEnv {
        SimEnv { process: Arc::new(process) }
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
        _name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> SimTask {
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
