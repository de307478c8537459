//! Carries out a plan's faults, and in the end takes them all back.
//!
//! A fault strikes at its time, or at the first sensitive moment after it; what destroys a copy
//! asks the budget before. Nothing here is left to chance but what a fault draws from its own
//! stream.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::budget::{Budget, Copy};
use crate::check::ghost::DATA_DIR;
use crate::disk::faults::Fault as DiskFault;
use crate::disk::files_below;
use crate::disk::loss::Persona;
use crate::net::link::Trouble;
use crate::operator::{Operator, Restart};
use crate::plan::Plan;
use crate::plan::fault::{Class, Damage, Fault, Planned};
use crate::world::{Kill, World};

const METADATA_LOG: &str = "__cluster_metadata-0";

/// How often rot hits the records rather than what is derived from them.
const IN_RECORDS: f64 = 0.6;

#[derive(Clone)]
pub struct Nemesis {
    world: World,
    plan: Arc<Plan>,
    operator: Arc<Operator>,
    budget: Budget,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Default)]
struct Ledger {
    /// How often each class struck: a run whose faults never came tested nothing.
    struck: BTreeMap<Class, u64>,
    /// Faults whose moment never came, or that found nothing to destroy.
    missed: u64,
    /// Everything is healed: nothing strikes any more.
    over: bool,
}

impl Nemesis {
    pub fn new(world: World, plan: Arc<Plan>, operator: Arc<Operator>, budget: Budget) -> Nemesis {
        Nemesis { world, plan, operator, budget, ledger: Arc::default() }
    }

    /// Returns when the plan's time is over, everything healed and every broker up.
    pub async fn run(&self) {
        let begun = self.world.agenda.now();
        for planned in &self.plan.faults {
            self.world.agenda.sleep_until(begun + Duration::from_millis(planned.at_ms)).await;
            match (planned.moment, planned.fault.broker()) {
                (Some(moment), Some(broker)) => {
                    let (nemesis, planned) = (self.clone(), planned.clone());
                    let agenda = self.world.agenda.clone();
                    let then = move || {
                        agenda.run_after(moment.delay(), move || nemesis.strike(&planned));
                    };
                    self.world.disk(broker).moments().next(moment.window, then);
                }
                _ => self.strike(planned),
            }
        }
        self.world.agenda.sleep_until(begun + Duration::from_millis(self.plan.lasts_ms)).await;
        self.heal();
    }

    pub fn struck(&self) -> BTreeMap<Class, u64> {
        self.ledger.lock().unwrap().struck.clone()
    }

    pub fn missed(&self) -> u64 {
        self.ledger.lock().unwrap().missed
    }

    fn strike(&self, planned: &Planned) {
        let mut ledger = self.ledger.lock().unwrap();
        if ledger.over {
            return;
        }
        *ledger.struck.entry(planned.fault.class()).or_default() += 1;
        drop(ledger);
        self.world.record("nemesis", format!("#{} {:?}", planned.id, planned.fault));
        self.process(planned);
        self.disk(planned);
        self.net(planned);
    }

    fn process(&self, planned: &Planned) {
        let world = &self.world;
        match planned.fault {
            Fault::Kill { broker, how, down_ms } => {
                world.kill_by(broker, how, planned.id, planned.chance(self.plan.seed));
                self.later(down_ms, move |world| world.start(broker));
            }
            Fault::Stop { broker, patience_ms, down_ms, power } => {
                let fate = planned.chance(self.plan.seed);
                let restart = Restart { down_ms, power, cause: planned.id, fate };
                self.operator.stop(world, broker, patience_ms, restart);
            }
            Fault::Pause { broker, ms } => {
                world.pause(broker);
                self.later(ms, move |world| world.resume(broker));
            }
            Fault::WallJump { broker, by_ms } => world.clock(broker).jump_wall(by_ms),
            Fault::Drift { broker, ppm } => world.clock(broker).set_drift(ppm),
            _ => {}
        }
    }

    fn disk(&self, planned: &Planned) {
        let world = &self.world;
        match planned.fault {
            Fault::DiskStall { broker, ms } => world.disk(broker).stall(Duration::from_millis(ms)),
            Fault::DiskSlow { broker, slowness, ms } => {
                let usual = self.plan.brokers[broker].temper.clone();
                let mut slow = usual.clone();
                slow.slowness = slowness;
                world.disk(broker).set_temper(slow);
                self.later(ms, move |world| world.disk(broker).set_temper(usual));
            }
            Fault::DiskError { broker, error, repair } => {
                self.operator.expect(broker, repair, planned);
                world.disk(broker).arm(error, None, planned.chance(self.plan.seed));
            }
            Fault::DiskFull { broker, spare_bytes, ms, repair } => {
                self.operator.expect(broker, repair, planned);
                world.disk(broker).fill_up(spare_bytes);
                let capacity = self.plan.brokers[broker].hardware.disk_bytes;
                self.later(ms, move |world| world.disk(broker).set_capacity(capacity));
            }
            Fault::FewFiles { broker, spare, ms, repair } => {
                self.operator.expect(broker, repair, planned);
                world.disk(broker).limit_files(Some(spare));
                self.later(ms, move |world| world.disk(broker).limit_files(None));
            }
            Fault::Damage { broker, damage, repair } => {
                self.operator.expect(broker, repair, planned);
                if !self.damage(planned, broker, damage) {
                    world.record("nemesis", format!("#{} finds nothing", planned.id));
                }
            }
            _ => {}
        }
    }

    fn net(&self, planned: &Planned) {
        let (wires, id) = (&self.world.wires, planned.id);
        let mut chance = planned.chance(self.plan.seed);
        let trouble = |from, to, trouble, ms| {
            wires.with_links(|links| links.trouble(id, from, to, trouble));
            self.later(ms, move |world| world.wires.with_links(|links| links.mend(id)));
        };
        match planned.fault {
            Fault::Reset { host, percent } => {
                wires.reset_connections(host, f64::from(percent) / 100.0, &mut chance);
            }
            Fault::Hold { host, ms } => {
                wires.hold_one(host, Duration::from_millis(ms), &mut chance);
            }
            Fault::Sever { host, after_bytes } => {
                wires.sever_one(host, after_bytes as usize, &mut chance);
            }
            Fault::Forget { host } => wires.forget_one(host, &mut chance),
            Fault::Cut { from, to, ms } => trouble(from, to, Trouble::Cut, ms),
            Fault::ConnectsHang { from, to, ms } => trouble(from, to, Trouble::ConnectsHang, ms),
            Fault::SlowLink { from, to, latency_ms, bytes_per_second, ms } => {
                let latency = Duration::from_millis(latency_ms);
                trouble(from, to, Trouble::Slow { latency, bytes_per_second }, ms);
            }
            _ => {}
        }
    }

    /// Destroys what was durable, with a permit. False when there is nothing to destroy.
    fn damage(&self, planned: &Planned, broker: usize, damage: Damage) -> bool {
        let (world, mut chance) = (&self.world, planned.chance(self.plan.seed));
        let disk = world.disk(broker);
        let logs = disk.with_volume(|volume| volume.list(Path::new(DATA_DIR)).unwrap_or_default());
        let mut partitions: Vec<_> = logs.iter().filter_map(|log| partition(&log.name)).collect();
        partitions.retain(|(topic, _)| !topic.starts_with("__"));
        let drawn = |chance: &mut crate::chance::Chance| {
            let (topic, index) = partitions.get(chance.index(partitions.len().max(1)))?.clone();
            let dir = Path::new(DATA_DIR).join(format!("{topic}-{index}"));
            self.budget.permit(&Copy::Partition { topic, index }).then_some(dir)
        };
        let all = |chance: &mut crate::chance::Chance, dir: PathBuf| {
            let mut files = disk.with_volume(|volume| files_below(volume, &dir));
            let is_log = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "log");
            if chance.happens(IN_RECORDS) {
                files.retain(is_log);
            }
            let path = files.get(chance.index(files.len().max(1)))?;
            disk.rot(path, chance).map(|at| (path.clone(), at))
        };
        let rot = |chance: &mut crate::chance::Chance, dir| match all(chance, dir) {
            Some((path, at)) => {
                world.record("nemesis", format!("rot in {} at {at}", path.display()));
                true
            }
            None => false,
        };
        match damage {
            Damage::Rot => drawn(&mut chance).is_some_and(|dir| rot(&mut chance, dir)),
            Damage::Flip | Damage::LoseWrite => {
                let Some(dir) = drawn(&mut chance) else { return false };
                let lost = damage == Damage::LoseWrite;
                let fault = if lost { DiskFault::LoseWrite } else { DiskFault::FlipRead };
                disk.arm(fault, Some(&dir), chance);
                true
            }
            Damage::RotMetadata => {
                self.forfeit(broker) && rot(&mut chance, Path::new(DATA_DIR).join(METADATA_LOG))
            }
            Damage::Wipe => {
                if !self.forfeit(broker) {
                    return false;
                }
                world.kill_by(broker, Kill::Power(Persona::Nothing), planned.id, chance);
                disk.wipe();
                self.later(1000, move |world| world.start(broker));
                true
            }
        }
    }

    fn forfeit(&self, broker: usize) -> bool {
        let granted = self.budget.permit(&Copy::Broker(broker));
        if granted {
            self.operator.give_up(broker);
        }
        granted
    }

    fn later(&self, ms: u64, then: impl FnOnce(&World) + Send + 'static) {
        let world = self.world.clone();
        self.world.agenda.run_after(Duration::from_millis(ms), move || then(&world));
    }

    fn heal(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.over = true;
        ledger.missed = self.plan.faults.len() as u64 - ledger.struck.values().sum::<u64>();
        let missed = ledger.missed;
        drop(ledger);
        self.world.record("nemesis", format!("heal; the moments of {missed} faults never came"));
        self.world.wires.heal();
        for (broker, planned) in self.plan.brokers.iter().enumerate() {
            let disk = self.world.disk(broker);
            disk.moments().close();
            disk.heal(planned.temper.clone(), planned.hardware.disk_bytes);
            self.world.resume(broker);
            self.world.start(broker);
        }
    }
}

/// The partition that a log directory holds.
fn partition(directory: &str) -> Option<(String, u32)> {
    let (topic, index) = directory.rsplit_once('-')?;
    Some((topic.to_string(), index.parse().ok()?))
}
