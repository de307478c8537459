//! From a seed to a plan: the swarm.
//!
//! Each class of faults is on or off for a whole run, so that a run without power losses shows what
//! crashes alone do. Rates and lengths are drawn anew for each run, over orders of magnitude.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BrokerPlan, Burst, Class, FORMAT, Fault, Plan, Planned, ProducerPlan, TopicPlan};
use crate::chance::{Chance, Subsystem};
use crate::disk::Temper;
use crate::disk::loss::Persona;
use crate::net::link::Link;
use crate::world::{Hardware, Kill};

/// Runs without any fault, and runs with one class alone.
const QUIET: f64 = 0.1;
const ALONE: f64 = 0.1;

impl Plan {
    pub fn draw(seed: u64, lasts_ms: u64) -> Plan {
        let stream = |node| Chance::stream(seed, Subsystem::Plan, node, 0);
        let mut configuration = stream(0);
        let mut plan = Plan {
            format: FORMAT,
            seed,
            lasts_ms,
            brokers: vec![broker(&mut configuration)],
            link: link(&mut configuration),
            topics: topics(&mut configuration),
            producers: vec![],
            faults: vec![],
            last_kill: Some(kill(&mut configuration, Class::PowerLoss)),
            canary: false,
        };
        let mut workload = stream(1);
        let producers = workload.between(1..4);
        plan.producers = (0..producers).map(|_| producer(&mut workload, &plan)).collect();
        plan.faults = faults(&mut stream(2), &plan);
        plan
    }
}

fn broker(chance: &mut Chance) -> BrokerPlan {
    let drift = if chance.happens(0.1) { 50_000 } else { 500 };
    let signed = |chance: &mut Chance, max: u64| chance.between(0..2 * max + 1) as i64 - max as i64;
    let hardware = Hardware {
        drift_ppm: signed(chance, drift),
        wall_offset_ms: signed(chance, 10_000),
        disk_bytes: 1 << 30,
    };
    let sync_max = *chance.pick(&[300, 3000, 30_000]);
    let temper = Temper { sync_micros: 100..sync_max, ..Temper::default() };
    // A full index rolls a segment, so that small ones make many segments. `log.segment.bytes` may
    // not be below 1 MiB.
    let segment_bytes = *chance.pick(&[1 << 20, 1 << 30]);
    let index_bytes = *chance.pick(&[48, 120, 1200, 10 << 20]);
    let index_interval = *chance.pick(&[64, 1024, 4096]);
    let options = [
        ("log.segment.bytes", segment_bytes.to_string()),
        ("log.index.size.max.bytes", index_bytes.to_string()),
        ("log.index.interval.bytes", index_interval.to_string()),
        ("log.retention.ms", "-1".to_string()),
        // The clocks of brokers and clients are days apart here.
        ("log.message.timestamp.after.max.ms", i64::MAX.to_string()),
    ];
    let options = options.map(|(name, value)| (name.to_string(), value)).into();
    BrokerPlan { hardware, temper, options }
}

fn link(chance: &mut Chance) -> Link {
    let latency_max = *chance.pick(&[200, 1500, 50_000]);
    let bytes_per_second = *chance.pick(&[1 << 17, 1 << 23, 1 << 30]);
    let loss_ppm = *chance.pick(&[0, 0, 1000, 20_000]);
    let tiny_window_ppm = *chance.pick(&[0, 0, 20_000, 200_000]);
    let latency_micros = 50..latency_max;
    Link { latency_micros, bytes_per_second, loss_ppm, tiny_window_ppm, ..Link::default() }
}

fn topics(chance: &mut Chance) -> Vec<TopicPlan> {
    let topic = |index| TopicPlan {
        name: format!("orders-{index}"),
        partitions: chance.between(1..4) as u32,
        configs: BTreeMap::new(),
    };
    (0..1).map(topic).collect()
}

fn producer(chance: &mut Chance, plan: &Plan) -> ProducerPlan {
    let topic = chance.index(plan.topics.len());
    let partition = chance.between(0..plan.topics[topic].partitions.into()) as u32;
    let in_flight = chance.between(1..6) as usize;
    let compression = *chance.pick(&["none", "none", "gzip", "snappy", "lz4", "zstd"]);
    let pause_ms_max = *chance.pick(&[20, 200, 2000]);
    let value_bytes_max = *chance.pick(&[20, 200, 2000]);
    let mut bursts = vec![];
    let mut at_ms = 0;
    while at_ms < plan.lasts_ms {
        let after_ms = chance.between(1..pause_ms_max);
        let batches = (0..chance.between(1..8)).map(|_| chance.between(1..6) as u32).collect();
        let value_bytes = chance.between(10..value_bytes_max) as u32;
        bursts.push(Burst { after_ms, batches, value_bytes });
        // A burst takes time too, or the plan would outlast the run by far.
        at_ms += after_ms + 10;
    }
    ProducerPlan { topic, partition, in_flight, compression: compression.to_string(), bursts }
}

fn faults(chance: &mut Chance, plan: &Plan) -> Vec<Planned> {
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

fn kill(chance: &mut Chance, class: Class) -> Kill {
    match class {
        Class::PowerLoss => {
            let scattered = chance.happens(0.5);
            let persona = if scattered { Persona::Scattered } else { *chance.pick(&Persona::ALL) };
            Kill::Power(persona)
        }
        _ => Kill::Process,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_survives_json() {
        for seed in 0..50 {
            let plan = Plan::draw(seed, 60_000);
            assert!(plan == Plan::draw(seed, 60_000));
            let json = serde_json::to_string(&plan).unwrap();
            assert!(serde_json::from_str::<Plan>(&json).unwrap() == plan);
        }
    }

    #[test]
    fn every_class_is_drawn_and_some_runs_are_quiet() {
        let plans: Vec<_> = (0..100).map(|seed| Plan::draw(seed, 60_000)).collect();
        let classes: BTreeSet<_> =
            plans.iter().flat_map(|plan| &plan.faults).map(|f| f.fault.class()).collect();
        assert_eq!(classes, Class::ALL.into_iter().collect());
        let quiet = plans.iter().filter(|plan| plan.faults.is_empty()).count();
        assert!((3..30).contains(&quiet), "{quiet} of 100 are quiet");
    }

    #[test]
    fn the_length_of_a_run_changes_no_configuration() {
        let (short, long) = (Plan::draw(5, 10_000), Plan::draw(5, 600_000));
        assert_eq!((short.brokers, short.topics), (long.brokers, long.topics));
    }
}
