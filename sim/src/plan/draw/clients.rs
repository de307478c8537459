//! What the clients of a run will do.

use std::collections::BTreeMap;

use super::Plan;
use crate::chance::Chance;
use crate::plan::clients::{Burst, ProducerPlan, TopicPlan};

pub fn topics(chance: &mut Chance) -> Vec<TopicPlan> {
    let topic = |index| TopicPlan {
        name: format!("orders-{index}"),
        partitions: chance.between(1..4) as u32,
        configs: BTreeMap::new(),
    };
    (0..1).map(topic).collect()
}

pub fn producers(chance: &mut Chance, plan: &Plan) -> Vec<ProducerPlan> {
    (0..chance.between(1..4)).map(|_| producer(chance, plan)).collect()
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
