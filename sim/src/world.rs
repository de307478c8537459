//! The nodes of a run, and what may befall them: start, crash, power loss, pause, restart.
//!
//! A node is hardware: a disk, a clock, an address. What runs on it is a process, numbered by its
//! incarnation, and dies with it. Every process is a madsim node of its own that is never started
//! again, so nothing of a dead one can be mistaken for its successor.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle};
use ottla::env::probe::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::agenda::Agenda;
use crate::chance::{Chance, Subsystem};
use crate::clock::NodeClock;
use crate::disk::NodeDisk;
use crate::disk::loss::Persona;
use crate::env::{Process, SimEnv, Tasks};
use crate::net::SimNet;
use crate::net::wires::Wires;
use crate::plan::fault::Window;
use crate::trace::{Trace, What};

/// What runs on a node, each time it starts. An `Err` says why it stopped by itself.
pub type Program = Arc<dyn Fn(SimEnv) -> Running + Send + Sync>;
pub type Running = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Sees every probe at the moment it fires.
pub type Observer = Arc<dyn Fn(&World, usize, &Event) + Send + Sync>;

/// Is told when a process ended by itself, and how.
pub type Attendant = Arc<dyn Fn(&World, usize, &Result<(), String>) + Send + Sync>;

#[derive(Clone)]
pub struct World {
    pub agenda: Agenda,
    pub trace: Arc<Trace>,
    pub wires: Wires,
    seed: u64,
    nodes: Arc<Mutex<Vec<Node>>>,
    observer: Arc<Mutex<Option<Observer>>>,
    attendant: Arc<Mutex<Option<Attendant>>>,
}

struct Node {
    name: Arc<str>,
    program: Program,
    clock: NodeClock,
    disk: NodeDisk,
    incarnations: u64,
    /// The fault that the node fell to last, and how often it was started since: what happens next
    /// does not depend on faults before.
    cause: u64,
    starts: u64,
    /// The process that runs.
    host: Option<NodeHandle>,
    /// It was started then, or went on.
    runs_since: Duration,
    /// It has said that it serves.
    serves: bool,
    /// Asks it to end.
    stop: Option<oneshot::Sender<()>>,
    tasks: Tasks,
    exits: Vec<Result<(), String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hardware {
    pub drift_ppm: i64,
    pub wall_offset_ms: i64,
    pub disk_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kill {
    /// kill -9: the kernel lives, and so do its caches.
    Process,
    Power(Persona),
}

impl World {
    pub fn new(seed: u64) -> World {
        let host = Handle::current().create_node().name("fabric").build();
        let (agenda, trace) = (Agenda::start(&host), Arc::new(Trace::default()));
        let wires = Wires::new(agenda.clone(), trace.clone(), seed);
        let (nodes, observer, attendant) = (Arc::default(), Arc::default(), Arc::default());
        World { agenda, trace, wires, seed, nodes, observer, attendant }
    }

    pub fn set_observer(&self, observer: Observer) {
        *self.observer.lock().unwrap() = Some(observer);
    }

    pub fn set_attendant(&self, attendant: Attendant) {
        *self.attendant.lock().unwrap() = Some(attendant);
    }

    /// A new node, off. Its index is its host number in the network.
    pub fn add_node(&self, name: &str, hardware: &Hardware, program: Program) -> usize {
        let index = self.wires.add_host();
        let chance = |subsystem| Chance::stream(self.seed, subsystem, index as u64, 0);
        let Hardware { drift_ppm, wall_offset_ms, disk_bytes } = *hardware;
        let drawn = chance(Subsystem::Clock);
        let clock = NodeClock::new(self.agenda.clone(), drift_ppm, wall_offset_ms, drawn);
        let (agenda, trace) = (self.agenda.clone(), self.trace.clone());
        let drawn = chance(Subsystem::Disk);
        let disk = NodeDisk::new(name, agenda, trace, clock.clone(), disk_bytes, drawn);
        let mut nodes = self.nodes();
        assert_eq!(nodes.len(), index);
        nodes.push(Node {
            name: name.into(),
            program,
            clock,
            disk,
            incarnations: 0,
            cause: 0,
            starts: 0,
            host: None,
            runs_since: Duration::ZERO,
            serves: false,
            stop: None,
            tasks: Tasks::default(),
            exits: vec![],
        });
        index
    }

    /// Starts a process, unless one runs.
    pub fn start(&self, node: usize) {
        let mut nodes = self.nodes();
        let state = &mut nodes[node];
        if state.host.is_some() {
            return;
        }
        state.incarnations += 1;
        let incarnation = state.incarnations;
        let name = format!("{}.{incarnation}", state.name);
        let host = Handle::current().create_node().name(name).build();
        state.host = Some(host.clone());
        let key = state.cause << 16 | state.starts;
        state.starts += 1;
        let chance = |subsystem| Chance::stream(self.seed, subsystem, node as u64, 1 + key);
        state.disk.reseed(chance(Subsystem::Disk));
        self.wires.power_on(node);
        state.tasks = Tasks::default();
        state.runs_since = self.now();
        state.serves = false;
        let (stop, stop_asked) = oneshot::channel();
        state.stop = Some(stop);
        let process = Process {
            world: self.clone(),
            node,
            clock: state.clock.boot(),
            net: SimNet::new(&self.wires, node),
            disk: state.disk.boot(incarnation),
            host: host.clone(),
            tasks: state.tasks.clone(),
            stop_asked: Mutex::new(Some(stop_asked)),
            chance: Mutex::new(chance(Subsystem::Process)),
        };
        self.record(&state.name, What::Start { incarnation });
        let running = (state.program)(SimEnv::new(process));
        let (world, moments) = (self.clone(), state.disk.moments().clone());
        drop(nodes);
        moments.opened(Window::Recovering);
        host.spawn(async move {
            let exit = running.await;
            world.exited(node, incarnation, exit);
        });
    }

    /// Ends the process that runs. With the power goes what was not synced, also of a process
    /// that ended before.
    pub fn kill(&self, node: usize, how: Kill) {
        let (cause, starts) = {
            let state = &self.nodes()[node];
            (state.cause, state.starts)
        };
        let fate = Chance::stream(self.seed, Subsystem::Fault, cause, 1 + starts);
        self.kill_by(node, how, cause, fate);
    }

    /// The same by a fault of a plan, that draws what is lost from its own stream.
    pub fn kill_by(&self, node: usize, how: Kill, cause: u64, mut fate: Chance) {
        let mut nodes = self.nodes();
        let state = &mut nodes[node];
        if state.cause != cause {
            (state.cause, state.starts) = (cause, 0);
        }
        self.record(&state.name, What::Kill(format!("{how:?}")));
        let host = state.host.take();
        match how {
            Kill::Process => {
                self.wires.process_crash(node);
                state.disk.process_crash();
            }
            Kill::Power(persona) => {
                self.wires.power_loss(node);
                state.disk.power_loss(persona, &mut fate);
            }
        }
        drop(nodes);
        if let Some(host) = host {
            Handle::current().kill(host.id());
        }
    }

    /// Asks the process to end in order, as SIGTERM does. False when there is none to ask.
    pub fn ask_to_stop(&self, node: usize) -> bool {
        let mut nodes = self.nodes();
        let state = &mut nodes[node];
        if state.host.is_none() {
            return false;
        }
        self.record(&state.name, What::AskToStop);
        // Nobody listens any more who was asked before.
        state.stop.take().is_some_and(|stop| stop.send(()).is_ok())
    }

    /// The process stops running, as under SIGSTOP. Its kernel goes on.
    pub fn pause(&self, node: usize) {
        self.with_host(node, What::Pause, |handle, host| handle.pause(host.id()));
    }

    pub fn resume(&self, node: usize) {
        self.with_host(node, What::Resume, |handle, host| handle.resume(host.id()));
        self.nodes()[node].runs_since = self.now();
    }

    /// When the process was started, or went on after a pause.
    pub fn runs_since(&self, node: usize) -> Duration {
        self.nodes()[node].runs_since
    }

    pub fn is_running(&self, node: usize) -> bool {
        self.nodes()[node].host.is_some()
    }

    /// The process that runs, or ran last, says that it serves.
    pub fn set_serves(&self, node: usize) {
        self.nodes()[node].serves = true;
    }

    pub fn serves(&self, node: usize) -> bool {
        self.nodes()[node].serves
    }

    /// How often it was started.
    pub fn incarnation(&self, node: usize) -> u64 {
        self.nodes()[node].incarnations
    }

    pub fn disk(&self, node: usize) -> NodeDisk {
        self.nodes()[node].disk.clone()
    }

    pub fn clock(&self, node: usize) -> NodeClock {
        self.nodes()[node].clock.clone()
    }

    pub fn name(&self, node: usize) -> Arc<str> {
        self.nodes()[node].name.clone()
    }

    /// The tasks of the process that runs, or ran last, by name.
    pub fn tasks(&self, node: usize) -> BTreeMap<&'static str, usize> {
        self.nodes()[node].tasks.counts()
    }

    /// How the processes of a node ended that ended by themselves.
    #[cfg_attr(not(test), allow(dead_code, reason = "tests look"))]
    pub fn exits(&self, node: usize) -> Vec<Result<(), String>> {
        self.nodes()[node].exits.clone()
    }

    pub fn observe(&self, node: usize, event: Event) {
        self.record(&self.name(node), What::Probe(event.clone()));
        let observer = self.observer.lock().unwrap().clone();
        if let Some(observer) = observer {
            observer(self, node, &event);
        }
    }

    pub fn now(&self) -> Duration {
        self.agenda.now()
    }

    pub fn record(&self, place: &str, what: impl Into<What>) {
        self.trace.record(self.agenda.now(), place, what);
    }

    pub async fn sleep(&self, wait: Duration) {
        self.agenda.sleep(wait).await;
    }

    fn exited(&self, node: usize, incarnation: u64, exit: Result<(), String>) {
        let mut nodes = self.nodes();
        let state = &mut nodes[node];
        if state.incarnations != incarnation || state.host.is_none() {
            return;
        }
        self.record(&state.name, What::Exit(exit.clone()));
        state.exits.push(exit.clone());
        drop(nodes);
        self.kill(node, Kill::Process);
        let attendant = self.attendant.lock().unwrap().clone();
        if let Some(attendant) = attendant {
            attendant(self, node, &exit);
        }
    }

    fn with_host(&self, node: usize, what: What, turn: impl FnOnce(&Handle, &NodeHandle)) {
        let nodes = self.nodes();
        if let Some(host) = &nodes[node].host {
            self.record(&nodes[node].name, what);
            turn(&Handle::current(), host);
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use madsim::runtime::Runtime;
    use ottla::env::Env;
    use ottla::env::clock::Clock;
    use ottla::env::disk::{Disk, File, Open};
    use ottla::types::{LeaderEpoch, Offset};

    use super::*;

    const HARDWARE: Hardware = Hardware { drift_ppm: 0, wall_offset_ms: 0, disk_bytes: 64 << 20 };

    fn run<F: Future>(seed: u64, test: impl FnOnce(World) -> F) -> F::Output {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.block_on(async { test(World::new(seed)).await })
    }

    /// Counts its starts in a file, then probes once a millisecond.
    fn counting() -> Program {
        Arc::new(|env: SimEnv| -> Running {
            Box::pin(async move {
                let file = env.disk().open(Path::new("/starts"), Open::OrCreate).unwrap();
                let starts = file.len().unwrap();
                file.write_at(starts, &[std::io::IoSlice::new(b"x")]).unwrap();
                env.disk().sync_all(Path::new("/")).await.map_err(|error| error.to_string())?;
                for count in 0.. {
                    let doubled = env.offload(move || count * 2).await;
                    assert_eq!(doubled, count * 2);
                    env.clock().sleep(Duration::from_millis(1)).await;
                    let (offset, epoch) = (Offset(count), LeaderEpoch(starts as i32));
                    env.probe(|| Event::MetadataCommitted { offset, epoch });
                    if count == 5000 {
                        return Err("counted enough".to_string());
                    }
                }
                Ok(())
            })
        })
    }

    #[test]
    fn a_node_starts_again_after_each_end_and_its_disk_remembers() {
        run(1, |world| async move {
            let node = world.add_node("node-0", &HARDWARE, counting());
            let seen = Arc::new(Mutex::new(vec![]));
            let probes = seen.clone();
            world.set_observer(Arc::new(move |_, node, event| {
                probes.lock().unwrap().push((node, event.clone()));
            }));
            for how in [Kill::Process, Kill::Power(Persona::Nothing), Kill::Process] {
                world.start(node);
                world.sleep(Duration::from_millis(500)).await;
                world.kill(node, how);
                let count = seen.lock().unwrap().len();
                assert!(count > 100, "{count} probes");
                world.sleep(Duration::from_secs(1)).await;
                assert_eq!(seen.lock().unwrap().len(), count, "the dead do not speak");
                seen.lock().unwrap().clear();
            }
            world.start(node);
            world.sleep(Duration::from_secs(20)).await;
            assert_eq!(world.exits(node), [Err("counted enough".to_string())]);
            assert!(!world.is_running(node));
            let starts = world
                .disk(node)
                .with_volume(|volume| volume.durable(Path::new("/starts")).unwrap().len());
            assert_eq!(starts, 4);
        });
    }

    #[test]
    fn a_paused_process_waits_and_goes_on() {
        run(1, |world| async move {
            let node = world.add_node("node-0", &HARDWARE, counting());
            world.start(node);
            world.sleep(Duration::from_millis(100)).await;
            world.pause(node);
            world.sleep(Duration::from_millis(1)).await;
            let before = world.trace.events();
            world.sleep(Duration::from_secs(1)).await;
            assert_eq!(world.trace.events(), before);
            world.resume(node);
            world.sleep(Duration::from_secs(1)).await;
            assert!(world.trace.events() > before + 100);
        });
    }

    #[test]
    fn a_seed_decides_the_trace() {
        let hash = |seed| {
            run(seed, |world| async move {
                let hardware = Hardware { drift_ppm: 100, ..HARDWARE };
                let node = world.add_node("node-0", &hardware, counting());
                for _ in 0..5 {
                    world.start(node);
                    world.sleep(Duration::from_millis(100)).await;
                    world.kill(node, Kill::Power(Persona::Scattered));
                }
                world.trace.hash()
            })
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}
