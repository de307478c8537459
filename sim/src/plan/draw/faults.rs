//! Which faults strike a run, when, and how hard.
//!
//! Each class of faults is on or off for a whole run, so that a run without power losses shows what
//! crashes alone do. Rates and lengths are drawn anew for each run, over orders of magnitude.

use std::time::Duration;

use crate::chance::Chance;
use crate::disk::loss::Persona;
use crate::plan::Plan;
use crate::plan::fault::{Class, Fault, Planned};
use crate::world::Kill;

/// Runs without any fault, and runs with one class alone.
const QUIET: f64 = 0.1;
const ALONE: f64 = 0.1;

pub fn draw(chance: &mut Chance, plan: &Plan) -> Vec<Planned> {
    let classes: Vec<Class> = if chance.happens(QUIET) {
        vec![]
    } else if chance.happens(ALONE) {
        vec![*chance.pick(&Class::ALL)]
    } else {
        Class::ALL.into_iter().filter(|_| chance.happens(0.5)).collect()
    };
    let mut faults = vec![];
    for class in classes {
        let every = chance.log_duration(Duration::from_secs(1)..Duration::from_secs(40));
        let mut at = chance.duration(Duration::from_millis(1)..every);
        while at.as_millis() < u128::from(plan.lasts_ms) {
            let fault = fault(chance, class, plan);
            faults.push(Planned { at_ms: at.as_millis() as u64, fault });
            at += chance.duration(Duration::ZERO..every * 2);
        }
    }
    faults.sort_by_key(|planned| planned.at_ms);
    faults
}

fn fault(chance: &mut Chance, class: Class, plan: &Plan) -> Fault {
    let ms = |chance: &mut Chance, low, high| {
        let range = Duration::from_millis(low)..Duration::from_millis(high);
        chance.log_duration(range).as_millis() as u64
    };
    let broker = chance.index(plan.brokers.len());
    match class {
        Class::Crash | Class::PowerLoss => {
            // Some come back at once, perhaps to fall again while they recover.
            let down_ms = if chance.happens(0.3) { 0 } else { ms(chance, 1, 5000) };
            Fault::Kill { broker, how: kill(chance, class), down_ms }
        }
        Class::Pause => Fault::Pause { broker, ms: ms(chance, 100, 20_000) },
        Class::SlowDisk if chance.happens(0.5) => {
            Fault::DiskStall { broker, ms: ms(chance, 100, 10_000) }
        }
        Class::SlowDisk => {
            let slowness = chance.between(2..100) as u32;
            Fault::DiskSlow { broker, slowness, ms: ms(chance, 100, 20_000) }
        }
        Class::Connections if chance.happens(0.7) => {
            let percent = if chance.happens(0.3) { 100 } else { chance.between(1..100) as u32 };
            Fault::Reset { host: chance.index(plan.hosts()), percent }
        }
        Class::Connections => {
            Fault::Hold { host: chance.index(plan.hosts()), ms: ms(chance, 100, 60_000) }
        }
        Class::Partition => {
            let client = chance.between(plan.brokers.len() as u64..plan.hosts() as u64) as usize;
            let (from, to) = if chance.happens(0.5) { (broker, client) } else { (client, broker) };
            Fault::Cut { from, to, ms: ms(chance, 200, 30_000) }
        }
        Class::Clock if chance.happens(0.5) => {
            let by_ms = ms(chance, 1000, 86_400_000) as i64;
            Fault::WallJump { broker, by_ms: if chance.happens(0.5) { by_ms } else { -by_ms } }
        }
        Class::Clock => Fault::Drift { broker, ppm: chance.between(0..1001) as i64 - 500 },
    }
}

pub fn kill(chance: &mut Chance, class: Class) -> Kill {
    match class {
        Class::PowerLoss => {
            let scattered = chance.happens(0.5);
            let persona = if scattered { Persona::Scattered } else { *chance.pick(&Persona::ALL) };
            Kill::Power(persona)
        }
        _ => Kill::Process,
    }
}
