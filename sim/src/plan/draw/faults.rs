//! Which faults strike a run, when, and how hard.
//!
//! Each class of faults is on or off for a whole run, so that a run without power losses shows what
//! crashes alone do. Rates and lengths are drawn anew for each run, over orders of magnitude. Where
//! a broker is easily hurt faults weigh more: about half of those that may wait for such a moment
//! do, which is ten times their share where a tenth of the time is sensitive.

use std::time::Duration;

use crate::chance::Chance;
use crate::disk::faults::Fault as DiskFault;
use crate::disk::loss::Persona;
use crate::plan::Plan;
use crate::plan::fault::{Class, Damage, Fault, Moment, Planned, Repair, Window};
use crate::world::Kill;

/// Runs without any fault, and runs with one class alone.
const QUIET: f64 = 0.1;
const ALONE: f64 = 0.1;

/// Runs in which a last copy may be destroyed.
const OVER_BUDGET: f64 = 0.1;

/// Of the faults that a broker's moments may attract.
const SENSITIVE: f64 = 0.5;

/// How many faults of a class may be drawn as one: a crash loop, a swizzle.
const TOGETHER_MAX: u64 = 5;

pub fn draw(chance: &mut Chance, plan: &Plan) -> Vec<Planned> {
    let swarm = || Class::ALL.into_iter().filter(|class| *class != Class::Damage);
    let mut classes: Vec<Class> = if chance.happens(QUIET) {
        vec![]
    } else if chance.happens(ALONE) {
        vec![*chance.pick(&swarm().collect::<Vec<_>>())]
    } else {
        swarm().filter(|_| chance.happens(0.5)).collect()
    };
    if chance.happens(OVER_BUDGET) && !classes.is_empty() {
        classes.push(Class::Damage);
    }
    let mut drawn = Drawn { plan, faults: vec![] };
    for class in classes {
        let every = match class {
            Class::Damage => Duration::from_secs(5)..Duration::from_secs(120),
            _ => Duration::from_secs(1)..Duration::from_secs(40),
        };
        let every = chance.log_duration(every);
        let mut at = chance.duration(Duration::from_millis(1)..every);
        while at.as_millis() < u128::from(plan.lasts_ms) {
            drawn.add(chance, class, at.as_millis() as u64);
            at += chance.duration(Duration::ZERO..every * 2);
        }
    }
    let mut faults = drawn.faults;
    faults.sort_by_key(|planned| planned.at_ms);
    for (id, planned) in (1..).zip(&mut faults) {
        planned.id = id;
    }
    faults
}

struct Drawn<'a> {
    plan: &'a Plan,
    faults: Vec<Planned>,
}

impl Drawn<'_> {
    fn push(&mut self, at_ms: u64, moment: Option<Moment>, fault: Fault) {
        self.faults.push(Planned { id: 0, at_ms, moment, fault });
    }

    /// One trouble: mostly one fault, sometimes several that belong together.
    fn add(&mut self, chance: &mut Chance, class: Class, at_ms: u64) {
        let broker = chance.index(self.plan.brokers.len());
        match class {
            Class::Crash | Class::PowerLoss if chance.happens(0.05) => {
                self.crash_loop(chance, class, broker, at_ms);
            }
            Class::Crash | Class::PowerLoss if chance.happens(0.2) => {
                // The first one only makes it recover.
                let first = Fault::Kill { broker, how: kill(chance, class), down_ms: 0 };
                self.push(at_ms, None, first);
                let moment = into(chance, Window::Recovering);
                let fault = kills(chance, class, broker);
                self.push(at_ms, Some(moment), fault);
            }
            Class::Partition if chance.happens(0.1) => self.swizzle(chance, broker, at_ms),
            Class::Partition if chance.happens(0.4) => {
                let client = self.client(chance);
                let (there, back) = cut_both(chance, client, broker);
                self.push(at_ms, None, there);
                self.push(at_ms, None, back);
            }
            _ => {
                let fault = self.fault(chance, class, broker);
                let moment = moment(chance, &fault);
                self.push(at_ms, moment, fault);
            }
        }
    }

    fn crash_loop(&mut self, chance: &mut Chance, class: Class, broker: usize, at_ms: u64) {
        for _ in 0..TOGETHER_MAX {
            let fault = Fault::Kill { broker, how: kill(chance, class), down_ms: 0 };
            self.push(at_ms + chance.between(0..10_000), None, fault);
        }
    }

    /// The links to the clients are cut one after another, and come back in another order.
    fn swizzle(&mut self, chance: &mut Chance, broker: usize, at_ms: u64) {
        let step_ms = ms(chance, 10, 2000);
        let brokers = self.plan.brokers.len();
        for (step, client) in (0..).zip(brokers..self.plan.hosts()) {
            let lasts_ms = step_ms * self.plan.hosts() as u64 + chance.between(0..step_ms * 8);
            for (from, to) in [(client, broker), (broker, client)] {
                let at_ms = at_ms + step_ms * step;
                self.push(at_ms, None, Fault::Cut { from, to, ms: lasts_ms });
            }
        }
    }

    fn client(&self, chance: &mut Chance) -> usize {
        let brokers = self.plan.brokers.len() as u64;
        chance.between(brokers..self.plan.hosts() as u64) as usize
    }

    fn fault(&self, chance: &mut Chance, class: Class, broker: usize) -> Fault {
        match class {
            Class::Crash | Class::PowerLoss => kills(chance, class, broker),
            Class::Stop => Fault::Stop {
                broker,
                patience_ms: ms(chance, 100, 60_000),
                down_ms: ms(chance, 1, 10_000),
                power: chance.happens(0.3).then(|| persona(chance)),
            },
            Class::Pause => Fault::Pause { broker, ms: ms(chance, 100, 60_000) },
            Class::SlowDisk if chance.happens(0.5) => {
                Fault::DiskStall { broker, ms: ms(chance, 100, 30_000) }
            }
            Class::SlowDisk => {
                let slowness = chance.between(2..100) as u32;
                Fault::DiskSlow { broker, slowness, ms: ms(chance, 100, 20_000) }
            }
            Class::DiskErrors => {
                // A failed sync is the one that lies.
                let usual = [DiskFault::FailSync, DiskFault::FailSync];
                let all = [&usual[..], &DiskFault::ERRORS].concat();
                let error = *chance.pick(&all);
                Fault::DiskError { broker, error, repair: repair(chance) }
            }
            Class::Shortage if chance.happens(0.2) => {
                let spare = chance.between(0..20) as u32;
                let ms = ms(chance, 1000, 60_000);
                Fault::FewFiles { broker, spare, ms, repair: repair(chance) }
            }
            Class::Shortage => {
                let spare_bytes = *chance.pick(&[0, 0, 4096, 64 << 10, 1 << 20]);
                let ms = ms(chance, 1000, 120_000);
                Fault::DiskFull { broker, spare_bytes, ms, repair: repair(chance) }
            }
            Class::Damage => {
                let damage = damage(chance);
                Fault::Damage { broker, damage, repair: repair(chance) }
            }
            Class::Connections => self.connection(chance),
            Class::Partition => {
                let client = self.client(chance);
                let (from, to) = either_way(chance, broker, client);
                let ms = ms(chance, 200, 60_000);
                if chance.happens(0.3) {
                    Fault::ConnectsHang { from: client, to: broker, ms }
                } else {
                    Fault::Cut { from, to, ms }
                }
            }
            Class::SlowLinks => {
                let client = self.client(chance);
                let (from, to) = either_way(chance, broker, client);
                let latency_ms = ms(chance, 1, 10_000);
                let bytes_per_second = *chance.pick(&[1 << 10, 16 << 10, 1 << 20]);
                let ms = ms(chance, 500, 30_000);
                Fault::SlowLink { from, to, latency_ms, bytes_per_second, ms }
            }
            Class::Clock if chance.happens(0.5) => {
                let by_ms = ms(chance, 1000, 86_400_000) as i64;
                Fault::WallJump { broker, by_ms: if chance.happens(0.5) { by_ms } else { -by_ms } }
            }
            Class::Clock => {
                let most = if chance.happens(0.1) { 50_000 } else { 500 };
                Fault::Drift { broker, ppm: chance.between(0..2 * most + 1) as i64 - most as i64 }
            }
        }
    }

    fn connection(&self, chance: &mut Chance) -> Fault {
        let host = chance.index(self.plan.hosts());
        match chance.index(10) {
            0..5 => {
                let percent = if chance.happens(0.3) { 100 } else { chance.between(1..100) as u32 };
                Fault::Reset { host, percent }
            }
            5..7 => Fault::Hold { host, ms: ms(chance, 100, 60_000) },
            7..9 => Fault::Sever { host, after_bytes: chance.between(1..300) as u32 },
            // A broker that forgets is one that lost its power.
            _ => Fault::Forget { host: self.client(chance) },
        }
    }
}

fn ms(chance: &mut Chance, low: u64, high: u64) -> u64 {
    let range = Duration::from_millis(low)..Duration::from_millis(high);
    chance.log_duration(range).as_millis() as u64
}

fn either_way(chance: &mut Chance, a: usize, b: usize) -> (usize, usize) {
    if chance.happens(0.5) { (a, b) } else { (b, a) }
}

fn cut_both(chance: &mut Chance, client: usize, broker: usize) -> (Fault, Fault) {
    let ms = ms(chance, 200, 60_000);
    let cut = |from, to| Fault::Cut { from, to, ms };
    (cut(client, broker), cut(broker, client))
}

fn kills(chance: &mut Chance, class: Class, broker: usize) -> Fault {
    let down_ms = match chance.index(20) {
        // Some come back at once, perhaps to fall again while they recover.
        0..6 => 0,
        // And some when everything has changed.
        6 => ms(chance, 10_000, 1_800_000),
        _ => ms(chance, 1, 5000),
    };
    Fault::Kill { broker, how: kill(chance, class), down_ms }
}

pub fn kill(chance: &mut Chance, class: Class) -> Kill {
    match class {
        Class::PowerLoss => Kill::Power(persona(chance)),
        _ => Kill::Process,
    }
}

fn persona(chance: &mut Chance) -> Persona {
    let scattered = chance.happens(0.5);
    if scattered { Persona::Scattered } else { *chance.pick(&Persona::ALL) }
}

fn repair(chance: &mut Chance) -> Repair {
    let power = chance.happens(0.4).then(|| persona(chance));
    Repair { after_ms: ms(chance, 10, 5000), power }
}

fn damage(chance: &mut Chance) -> Damage {
    match chance.index(20) {
        0..9 => Damage::Rot,
        9..13 => Damage::Flip,
        13..17 => Damage::LoseWrite,
        17..19 => Damage::RotMetadata,
        _ => Damage::Wipe,
    }
}

/// The moment that it waits for, if it does.
fn moment(chance: &mut Chance, fault: &Fault) -> Option<Moment> {
    let windows: &[Window] = match fault {
        Fault::Kill { .. } | Fault::Stop { .. } | Fault::Pause { .. } => &Window::ALL,
        Fault::DiskStall { .. } | Fault::DiskError { .. } | Fault::FewFiles { .. } => {
            &[Window::Recovering, Window::Renaming, Window::Replacing, Window::Unsynced]
        }
        Fault::DiskFull { .. } => &[Window::Recovering, Window::Renaming, Window::Replacing],
        _ => return None,
    };
    chance.happens(SENSITIVE).then(|| {
        let window = *chance.pick(windows);
        into(chance, window)
    })
}

fn into(chance: &mut Chance, window: Window) -> Moment {
    let most = match window {
        Window::Recovering => Duration::from_millis(500),
        _ => Duration::from_millis(5),
    };
    let into = chance.log_duration(Duration::from_micros(1)..most);
    Moment { window, into_micros: into.as_micros() as u64 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<Planned> {
        (0..200).flat_map(|seed| Plan::draw(seed, 60_000).faults).collect()
    }

    #[test]
    fn every_class_and_every_window_is_drawn() {
        let faults = all();
        let classes: BTreeSet<_> = faults.iter().map(|planned| planned.fault.class()).collect();
        assert_eq!(classes, Class::ALL.into_iter().collect());
        let windows: BTreeSet<_> = faults.iter().filter_map(|p| Some(p.moment?.window)).collect();
        assert_eq!(windows, Window::ALL.into_iter().collect());
    }

    #[test]
    fn few_runs_are_over_budget_and_some_are_quiet() {
        let plans: Vec<_> = (0..200).map(|seed| Plan::draw(seed, 60_000)).collect();
        let over = |plan: &&Plan| plan.faults.iter().any(|p| p.fault.class() == Class::Damage);
        let (over, quiet) = (
            plans.iter().filter(over).count(),
            plans.iter().filter(|plan| plan.faults.is_empty()).count(),
        );
        assert!((5..40).contains(&over), "{over} of 200 are over budget");
        assert!((6..60).contains(&quiet), "{quiet} of 200 are quiet");
    }

    #[test]
    fn ids_are_unique_and_a_moment_has_its_broker() {
        for seed in 0..50 {
            let faults = Plan::draw(seed, 60_000).faults;
            let ids: BTreeSet<_> = faults.iter().map(|planned| planned.id).collect();
            assert_eq!(ids.len(), faults.len());
            for planned in faults {
                assert!(planned.moment.is_none() || planned.fault.broker().is_some());
            }
        }
    }
}
