//! Carries out a plan's faults, and in the end takes them all back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::plan::Plan;
use crate::plan::fault::{Class, Fault};
use crate::world::World;

pub struct Nemesis {
    world: World,
    /// How often each class struck: a run whose faults never came tested nothing.
    struck: Mutex<BTreeMap<Class, u64>>,
}

impl Nemesis {
    pub fn new(world: World) -> Nemesis {
        Nemesis { world, struck: Mutex::default() }
    }

    /// Returns when the plan's time is over, everything healed and every broker up.
    pub async fn run(&self, plan: &Plan) {
        let begun = self.world.agenda.now();
        for planned in &plan.faults {
            self.world.agenda.sleep_until(begun + Duration::from_millis(planned.at_ms)).await;
            self.strike(plan, &planned.fault);
        }
        self.world.agenda.sleep_until(begun + Duration::from_millis(plan.lasts_ms)).await;
        self.heal(plan);
    }

    pub fn struck(&self) -> BTreeMap<Class, u64> {
        self.struck.lock().unwrap().clone()
    }

    fn strike(&self, plan: &Plan, fault: &Fault) {
        let world = &self.world;
        world.record("nemesis", format!("{fault:?}"));
        *self.struck.lock().unwrap().entry(fault.class()).or_default() += 1;
        match *fault {
            Fault::Kill { broker, how, down_ms } => {
                world.kill(broker, how);
                self.later(down_ms, move |world| world.start(broker));
            }
            Fault::Pause { broker, ms } => {
                world.pause(broker);
                self.later(ms, move |world| world.resume(broker));
            }
            Fault::DiskStall { broker, ms } => world.disk(broker).stall(Duration::from_millis(ms)),
            Fault::DiskSlow { broker, slowness, ms } => {
                let usual = plan.brokers[broker].temper.clone();
                let mut slow = usual.clone();
                slow.slowness = slowness;
                world.disk(broker).set_temper(slow);
                self.later(ms, move |world| world.disk(broker).set_temper(usual));
            }
            Fault::Reset { host, percent } => {
                world.wires.reset_connections(host, f64::from(percent) / 100.0);
            }
            Fault::Hold { host, ms } => world.wires.hold_one(host, Duration::from_millis(ms)),
            Fault::Cut { from, to, ms } => {
                world.wires.with_links(|links| links.cut(from, to));
                self.later(ms, move |world| world.wires.with_links(|links| links.heal(from, to)));
            }
            Fault::WallJump { broker, by_ms } => world.clock(broker).jump_wall(by_ms),
            Fault::Drift { broker, ppm } => world.clock(broker).set_drift(ppm),
        }
    }

    fn later(&self, ms: u64, then: impl FnOnce(&World) + Send + 'static) {
        let world = self.world.clone();
        self.world.agenda.run_after(Duration::from_millis(ms), move || then(&world));
    }

    fn heal(&self, plan: &Plan) {
        self.world.record("nemesis", "heal");
        self.world.wires.heal();
        for (broker, planned) in plan.brokers.iter().enumerate() {
            self.world.disk(broker).stall(Duration::ZERO);
            self.world.disk(broker).set_temper(planned.temper.clone());
            self.world.resume(broker);
            self.world.start(broker);
        }
    }
}
