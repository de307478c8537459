//! The operator: starts a broker again that stopped by itself over its disk.
//!
//! A broker may stop when, and only when, a fault of its disk gives the reason: a call that failed,
//! no space, no files to open. Then it is looked into, perhaps the machine is turned off and on, and
//! the broker is started again, as the fault's plan says; at longer and longer intervals while that
//! does not help. A broker that stops without such a reason ends the run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use ottla::env::probe::Event;

use crate::check::{Invariant, Violation};
use crate::plan::fault::{Planned, Repair};
use crate::world::{Kill, World};

const AFTER_MS_MAX: u64 = 10_000;

/// A broker that refuses to start on what was destroyed is not started for ever.
const FORFEIT_STARTS_MAX: u32 = 5;

#[derive(Default)]
pub struct Operator {
    desks: Mutex<BTreeMap<usize, Desk>>,
    complaint: Mutex<Option<String>>,
}

/// What is known of one broker.
#[derive(Default)]
struct Desk {
    /// What its latest fault wants done, and that fault.
    repair: Option<(Repair, Planned)>,
    /// Stops since then.
    stops: u32,
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
        if exit.is_ok() || (reasons.is_empty() && !forfeit) {
            let why = format!("{} stopped by itself: {exit:?}", world.name(broker));
            self.complaint.lock().unwrap().get_or_insert(why);
            return;
        }
        self.restart(world, seed, broker);
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
