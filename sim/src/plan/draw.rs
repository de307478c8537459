//! From a seed to a plan: the swarm. Each part draws from a stream of its own.

use super::fault::Class;
use super::{BrokerPlan, FORMAT, Plan};
use crate::chance::{Chance, Subsystem};
use crate::disk::Temper;
use crate::net::link::Link;
use crate::world::Hardware;

mod clients;
mod faults;

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
            topics: clients::topics(&mut configuration),
            producers: vec![],
            faults: vec![],
            last_kill: Some(faults::kill(&mut configuration, Class::PowerLoss)),
            canary: false,
        };
        plan.producers = clients::producers(&mut stream(1), &plan);
        plan.faults = faults::draw(&mut stream(2), &plan);
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
    let checkpoint_ms = *chance.pick(&[500, 5000, 60_000]);
    let snapshot_bytes = *chance.pick(&[200, 2000, 20 << 20]);
    let metadata_bytes = *chance.pick(&[1000, 100 << 20]);
    let options = [
        ("log.flush.offset.checkpoint.interval.ms", checkpoint_ms.to_string()),
        ("metadata.log.max.record.bytes.between.snapshots", snapshot_bytes.to_string()),
        ("metadata.max.retention.bytes", metadata_bytes.to_string()),
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
