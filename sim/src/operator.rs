//! The operator: stops brokers in order, and starts a broker again that stopped by itself over its
//! disk.
//!
//! A broker may stop when, and only when, a fault of its disk gives the reason: a call that failed,
//! no space, no files to open. Then it is looked into, perhaps the machine is turned off and on, and
//! the broker is started again, as the fault's plan says; at longer and longer intervals while that
//! does not help. A broker that stops without such a reason ends the run. One that served,
//! was asked to stop, and whose disk and logs are sound, leaves the sign of a clean stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ottla::env::probe::Event;

use crate::chance::Chance;
use crate::check::ghost::DATA_DIR;
use crate::check::{Invariant, Violation};
use crate::disk::loss::Persona;
use crate::plan::fault::{Planned, Repair};
use crate::world::{Kill, World};

/// What Kafka leaves in a log directory, too.
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

const AFTER_MS_MAX: u64 = 10_000;

/// A broker that refuses to start on what was destroyed is not started for ever.
const FORFEIT_STARTS_MAX: u32 = 5;

#[derive(Default)]
pub struct Operator {
    desks: Mutex<BTreeMap<usize, Desk>>,
    complaint: Mutex<Option<String>>,
}

/// What follows when a broker has stopped that was asked to.
#[derive(Clone)]
pub struct Restart {
    pub down_ms: u64,
    pub power: Option<Persona>,
    /// The fault, and what is left to chance in it.
    pub cause: u64,
    pub fate: Chance,
}

/// What is known of one broker.
#[derive(Default)]
struct Desk {
    /// What its latest fault wants done, and that fault.
    repair: Option<(Repair, Planned)>,
    /// Stops since then.
    stops: u32,
    /// The process that did not serve a log, by its incarnation.
    refused: Option<u64>,
    /// The process that was asked to stop, by its incarnation.
    asked: Option<(u64, Restart)>,
    /// All that it kept may be gone.
    forfeit: bool,
}

impl Operator {
    /// A fault is about to strike that may make the broker stop.
    pub fn expect(&self, broker: usize, repair: Repair, planned: &Planned) {
        let desk = &mut *self.desks.lock().unwrap();
        let desk = desk.entry(broker).or_default();
        desk.repair = Some((repair, planned.clone()));
        desk.stops = 0;
    }

    /// Asks a broker to stop, if it runs; when `patience_ms` is over it is killed.
    pub fn stop(&self, world: &World, broker: usize, patience_ms: u64, restart: Restart) {
        if !world.ask_to_stop(broker) {
            return;
        }
        let incarnation = world.incarnation(broker);
        let asked = Some((incarnation, restart.clone()));
        self.desks.lock().unwrap().entry(broker).or_default().asked = asked;
        let killing = world.clone();
        world.agenda.run_after(Duration::from_millis(patience_ms), move || {
            if killing.incarnation(broker) == incarnation && killing.is_running(broker) {
                killing.kill_by(broker, Kill::Process, restart.cause, restart.fate.fork(1));
                start_later(&killing, broker, &restart);
            }
        });
    }

    /// From now on it may refuse to start.
    pub fn give_up(&self, broker: usize) {
        self.desks.lock().unwrap().entry(broker).or_default().forfeit = true;
    }

    /// Says why a broker should not have stopped, if one should not.
    pub fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap().clone()
    }

    /// A process of `broker` ended by itself.
    pub fn exited(&self, world: &World, seed: u64, broker: usize, exit: &Result<(), String>) {
        let reasons = world.disk(broker).reasons();
        let forfeit = self.is_forfeit(broker);
        if exit.is_ok()
            && let Some(restart) = self.take_asked(broker, world.incarnation(broker))
        {
            let refused = self.has_refused(broker, world.incarnation(broker));
            let should_be_clean =
                world.serves(broker) && reasons.is_empty() && !forfeit && !refused;
            if should_be_clean && !is_clean(world, broker) {
                let why = format!("{} stopped in order, and not cleanly", world.name(broker));
                self.complaint.lock().unwrap().get_or_insert(why);
            }
            start_later(world, broker, &restart);
            return;
        }
        if exit.is_ok() || (reasons.is_empty() && !forfeit) {
            let why = format!("{} stopped by itself: {exit:?}", world.name(broker));
            self.complaint.lock().unwrap().get_or_insert(why);
            return;
        }
        self.restart(world, seed, broker);
    }

    /// The process does not serve a log, for good reason.
    pub fn refused(&self, world: &World, broker: usize) {
        let desks = &mut *self.desks.lock().unwrap();
        desks.entry(broker).or_default().refused = Some(world.incarnation(broker));
    }

    /// A log directory goes offline, or a log is not served, only over a fault of its disk. Then
    /// the broker is started again.
    pub fn observe(&self, world: &World, seed: u64, node: usize, event: &Event) {
        let what = match event {
            Event::DirectoryOffline { directory } => format!("takes {directory} offline"),
            Event::Refused { topic, partition, why, .. } => {
                format!("does not serve {topic}-{partition}: {why}")
            }
            _ => return,
        };
        if world.disk(node).reasons().is_empty() {
            if !self.is_forfeit(node) {
                let evidence = format!("{} {what}, and its disk is sound", world.name(node));
                Violation::new(Invariant::I45, evidence).raise();
            }
        } else if matches!(event, Event::Refused { .. }) {
            self.restart(world, seed, node);
        }
    }

    /// What is to follow if this very process was asked to stop.
    fn take_asked(&self, broker: usize, incarnation: u64) -> Option<Restart> {
        let mut desks = self.desks.lock().unwrap();
        let asked = desks.get_mut(&broker)?.asked.take_if(|(asked, _)| *asked == incarnation);
        asked.map(|(_, restart)| restart)
    }

    fn has_refused(&self, broker: usize, incarnation: u64) -> bool {
        let desks = self.desks.lock().unwrap();
        desks.get(&broker).is_some_and(|desk| desk.refused == Some(incarnation))
    }

    fn is_forfeit(&self, broker: usize) -> bool {
        self.desks.lock().unwrap().get(&broker).is_some_and(|desk| desk.forfeit)
    }

    /// Later, and all at once for everything that happens until then.
    fn restart(&self, world: &World, seed: u64, broker: usize) {
        let mut desks = self.desks.lock().unwrap();
        let desk = desks.entry(broker).or_default();
        desk.stops += 1;
        if desk.forfeit && desk.stops > FORFEIT_STARTS_MAX {
            return;
        }
        let Some((Repair { after_ms, power }, planned)) = desk.repair.clone() else { return };
        let (stops, incarnation) = (desk.stops, world.incarnation(broker));
        let after_ms = (after_ms << stops.min(16)).min(AFTER_MS_MAX);
        let restarting = world.clone();
        world.agenda.run_after(Duration::from_millis(after_ms), move || {
            // Somebody else was faster.
            if restarting.incarnation(broker) != incarnation {
                return;
            }
            // Not the stream that the fault itself draws from.
            let fate = planned.chance(seed).fork(u64::from(stops));
            let how = power.map_or(Kill::Process, Kill::Power);
            restarting.kill_by(broker, how, planned.id, fate);
            restarting.start(broker);
        });
    }
}

/// A broker that stopped, after a while.
fn start_later(world: &World, broker: usize, restart: &Restart) {
    let (incarnation, restart) = (world.incarnation(broker), restart.clone());
    let starting = world.clone();
    world.agenda.run_after(Duration::from_millis(restart.down_ms), move || {
        // Somebody else was faster.
        if starting.incarnation(broker) != incarnation {
            return;
        }
        if let Some(persona) = restart.power {
            let fate = restart.fate.fork(2);
            starting.kill_by(broker, Kill::Power(persona), restart.cause, fate);
        }
        starting.start(broker);
    });
}

fn is_clean(world: &World, broker: usize) -> bool {
    let sign = Path::new(DATA_DIR).join(CLEAN_SHUTDOWN);
    world.disk(broker).with_volume(|volume| volume.find(&sign).is_some())
}
