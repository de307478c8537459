//! From a seed to a plan: the swarm. Each part draws from a stream of its own.

use self::clients::Swarm;
use super::fault::Class;
use super::{BrokerPlan, FORMAT, Plan};
use crate::chance::{Chance, Subsystem};
use crate::disk::Temper;
use crate::net::link::Link;
use crate::world::Hardware;

mod clients;
mod faults;

/// Runs that end with a stop in order, and then with the power.
const LAST_STOP: f64 = 0.3;

impl Plan {
    pub fn draw(seed: u64, lasts_ms: u64) -> Plan {
        let stream = |node, number| Chance::stream(seed, Subsystem::Plan, node, number);
        let configuration = &mut stream(0, 0);
        let mut plan = Plan {
            format: FORMAT,
            seed,
            lasts_ms,
            brokers: vec![broker(configuration)],
            link: link(configuration),
            topics: vec![],
            producers: vec![],
            consumers: vec![],
            admins: vec![],
            peers: vec![],
            faults: vec![],
            last_stop: configuration.happens(LAST_STOP),
            last_kill: Some(faults::kill(configuration, Class::PowerLoss)),
            canary: false,
        };
        let swarm = Swarm::draw(configuration);
        plan.brokers[0].options.append(&mut swarm.options(configuration));
        plan.topics = swarm.topics(configuration);
        plan.producers = clients::producers(&|number| stream(1, number), &plan);
        plan.consumers = clients::consumers(&|number| stream(3, number), &plan);
        plan.admins = swarm.admins(&|number| stream(4, number), &plan);
        plan.peers = swarm.peers(&|number| stream(5, number), &plan);
        plan.faults = faults::draw(&mut stream(2, 0), &plan);
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
    Link { latency_micros, bytes_per_second, loss_ppm, tiny_window_ppm }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    fn the_length_of_a_run_changes_no_configuration() {
        let (short, long) = (Plan::draw(5, 10_000), Plan::draw(5, 600_000));
        assert_eq!((&short.brokers, &short.topics), (&long.brokers, &long.topics));
        assert_eq!(short.producers.len(), long.producers.len());
        for (mut less, more) in short.producers.into_iter().zip(long.producers) {
            assert!(more.bursts.starts_with(&less.bursts[..less.bursts.len() - 1]));
            less.bursts = more.bursts.clone();
            assert_eq!(less, more);
        }
        for (mut less, more) in short.consumers.into_iter().zip(long.consumers) {
            less.turns = more.turns.clone();
            assert_eq!(less, more);
        }
    }

    #[test]
    fn a_long_run_has_no_more_records_than_it_is_worth() {
        for seed in 0..100 {
            let plan = Plan::draw(seed, 600_000);
            let bursts = plan.producers.iter().flat_map(|producer| &producer.bursts);
            let records: u32 = bursts.flat_map(|burst| &burst.batches).sum();
            assert!((100..25_000).contains(&records), "{records} records in seed {seed}");
        }
    }

    #[test]
    fn every_kind_of_work_is_drawn() {
        let plans: Vec<_> = (0..100).map(|seed| Plan::draw(seed, 60_000)).collect();
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        let mut count = |kind: String| *kinds.entry(kind).or_default() += 1;
        for plan in &plans {
            for producer in &plan.producers {
                count(format!("acks {}", producer.acks));
                count(format!("idempotent {}", producer.idempotent));
                count(format!("retries {}", producer.retries));
                count(format!("{:?}", producer.shape));
                let sent_again = producer.bursts.iter().any(|burst| burst.resend > 0);
                count(format!("resend {sent_again}"));
                let several = producer.together && producer.partitions.len() > 1;
                count(format!("together {several}"));
            }
            for consumer in &plan.consumers {
                count(format!("sessions {}", consumer.sessions));
                consumer.turns.iter().for_each(|turn| count(word(&turn.to)));
            }
            let steps = plan.admins.iter().flat_map(|admin| &admin.steps);
            steps.for_each(|step| count(word(&step.act)));
            let visits = plan.peers.iter().flat_map(|peer| &peer.visits);
            visits.for_each(|visit| count(visit.manner.name().to_string()));
            for index in 0..plan.topics.len() {
                let expected = plan.expected(index);
                count(format!("retention {}", expected.retention));
                count(format!("append_time {}", expected.append_time));
                count(format!("producers_expire {}", expected.producers_expire));
            }
        }
        let wanted = "acks -1, acks 0, acks 1, idempotent true, idempotent false, retries true, \
                      retries false, Full, Bare, Tombstone, Headers, resend true, together true, \
                      sessions true, sessions false, Start, End, Back, Between, Restart, Create, \
                      Delete, Grow, Configure, DeleteRecords, Describe, DescribeConfigs, garbage, \
                      oversized, truncated, half, silent, greedy, break_off, retention true, \
                      retention false, append_time true, producers_expire true";
        for kind in wanted.split(", ") {
            assert!(kinds.contains_key(kind), "{kind} is never drawn: {kinds:?}");
        }
    }

    /// The variant's name.
    fn word(variant: &impl std::fmt::Debug) -> String {
        let text = format!("{variant:?}");
        text.split([' ', '{']).next().unwrap().to_string()
    }
}
