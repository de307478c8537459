//! What the clients of a run will do.
//!
//! How many records there are in a minute is drawn once for all producers, so that a long run costs
//! no more than it is worth; how they come is each producer's own.

use std::collections::BTreeMap;

use super::Plan;
use crate::chance::Chance;
use crate::plan::clients::{
    Act, AdminPlan, Burst, ConsumerPlan, Manner, PeerPlan, ProducerPlan, Seek, Shape, Step,
    TopicPlan, Turn, Visit,
};

/// Of all producers together.
const RECORDS_PER_MINUTE: [u64; 3] = [300, 1000, 2000];

/// At least so many, however large they are.
const BURSTS_PER_MINUTE: u64 = 6;

/// A batch that no broker takes has a value of so many times what it does take.
const TOO_LARGE: u32 = 3;

/// Numbered: 0 for what concerns all clients of a kind, then one for each of them. So a longer run
/// does more of the same.
type Streams<'a> = &'a dyn Fn(u64) -> Chance;

/// The classes of work that a run has besides plain producing and reading.
pub struct Swarm {
    pub retention: bool,
    pub expiry: bool,
    pub admins: bool,
    pub deletes: bool,
    pub peers: bool,
    pub odd: bool,
}

impl Swarm {
    pub fn draw(chance: &mut Chance) -> Swarm {
        Swarm {
            retention: chance.happens(0.3),
            expiry: chance.happens(0.15),
            admins: chance.happens(0.5),
            deletes: chance.happens(0.6),
            peers: chance.happens(0.4),
            odd: chance.happens(0.5),
        }
    }

    /// What the broker is told for this sort of work.
    pub fn options(&self, chance: &mut Chance) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        if self.retention {
            set(&mut options, "log.retention.check.interval.ms", chance.pick(&[300, 2000, 10_000]));
        }
        if self.expiry {
            set(&mut options, "producer.id.expiration.ms", chance.pick(&[1000, 10_000]));
        }
        options
    }

    /// The first one is there as long as the run.
    pub fn topics(&self, chance: &mut Chance) -> Vec<TopicPlan> {
        let count = *chance.pick(&[1, 1, 2, 3]);
        let topic = |index| TopicPlan {
            name: format!("orders-{index}"),
            partitions: chance.between(1..4) as u32,
            configs: self.configs(chance),
        };
        (0..count).map(topic).collect()
    }

    fn configs(&self, chance: &mut Chance) -> BTreeMap<String, String> {
        let mut configs = BTreeMap::new();
        if self.retention && chance.happens(0.7) {
            for (name, value) in retention(chance) {
                set(&mut configs, name, value);
            }
            set(&mut configs, "segment.index.bytes", chance.pick(&[24, 120]));
            set(&mut configs, "segment.ms", chance.pick(&[500, 5000, 604_800_000]));
        }
        if self.odd && chance.happens(0.3) {
            set(&mut configs, "max.message.bytes", chance.pick(&[3000, 20_000]));
        }
        if self.odd && chance.happens(0.2) {
            set(&mut configs, "message.timestamp.type", "LogAppendTime");
        }
        if self.odd && chance.happens(0.2) {
            let types = ["uncompressed", "gzip", "snappy", "lz4", "zstd"];
            set(&mut configs, "compression.type", chance.pick(&types));
        }
        set(&mut configs, "file.delete.delay.ms", chance.pick(&[0, 500, 60_000]));
        configs
    }

    pub fn admins(&self, streams: Streams, plan: &Plan) -> Vec<AdminPlan> {
        let count = if self.admins { streams(0).between(1..4) } else { 0 };
        (1..=count).map(|number| self.admin(&mut streams(number), plan)).collect()
    }

    fn admin(&self, chance: &mut Chance, plan: &Plan) -> AdminPlan {
        let pause_ms_max = *chance.pick(&[500, 4000, 20_000]);
        let (mut steps, mut at_ms) = (vec![], 0);
        while at_ms < plan.lasts_ms {
            let after_ms = chance.between(1..pause_ms_max);
            let topic = chance.index(plan.topics.len());
            steps.push(Step { after_ms, topic, act: self.act(chance, plan, topic) });
            at_ms += after_ms + 10;
        }
        AdminPlan { steps }
    }

    fn act(&self, chance: &mut Chance, plan: &Plan, topic: usize) -> Act {
        let partitions = plan.topics[topic].partitions;
        let comes_and_goes = topic > 0 && self.deletes;
        match chance.between(0..10) {
            0..=2 if comes_and_goes => {
                let partitions = chance.between(1..4) as u32;
                Act::Create { partitions, configs: self.configs(chance) }
            }
            3 if comes_and_goes => Act::Delete { by_id: chance.happens(0.5) },
            0..=2 => Act::Configure { changes: self.changes(chance) },
            4 | 5 if self.deletes => {
                // Beyond what consumers may read, too.
                let percent = *chance.pick(&[0, 30, 100, 150]);
                Act::DeleteRecords {
                    partition: chance.between(0..partitions.into()) as u32,
                    percent,
                }
            }
            6 | 7 => Act::DescribeConfigs,
            8 => Act::Grow { partitions: partitions + chance.between(0..3) as u32 },
            _ => Act::Describe,
        }
    }

    fn changes(&self, chance: &mut Chance) -> BTreeMap<String, Option<String>> {
        let mut changes = BTreeMap::new();
        let (name, value) = match chance.between(0..5) {
            0 if self.retention => retention(chance).swap_remove(0),
            0 | 1 => ("segment.bytes", chance.pick(&[1 << 20, 1 << 24]).to_string()),
            2 if self.odd => ("max.message.bytes", chance.pick(&[3000, 100_000]).to_string()),
            2 | 3 => ("segment.index.bytes", chance.pick(&[24, 1200]).to_string()),
            _ => ("segment.ms", chance.pick(&[1000, 60_000]).to_string()),
        };
        changes.insert(name.to_string(), (!chance.happens(0.2)).then_some(value));
        changes
    }

    pub fn peers(&self, streams: Streams, plan: &Plan) -> Vec<PeerPlan> {
        let count = if self.peers { streams(0).between(1..3) } else { 0 };
        (1..=count).map(|number| peer(&mut streams(number), plan)).collect()
    }
}

fn set(configs: &mut BTreeMap<String, String>, name: &str, value: impl ToString) {
    configs.insert(name.to_string(), value.to_string());
}

fn retention(chance: &mut Chance) -> Vec<(&'static str, String)> {
    let by_age = ("retention.ms", chance.pick(&[500, 5000, 30_000]).to_string());
    let by_size = ("retention.bytes", chance.pick(&[0, 2000, 50_000]).to_string());
    match chance.between(0..3) {
        0 => vec![by_age],
        1 => vec![by_size],
        _ => vec![by_age, by_size],
    }
}

pub fn producers(streams: Streams, plan: &Plan) -> Vec<ProducerPlan> {
    let chance = &mut streams(0);
    let count = chance.between(1..5);
    let each = *chance.pick(&RECORDS_PER_MINUTE) / count;
    // The first one makes sure that something is acknowledged.
    (1..=count).map(|number| producer(&mut streams(number), plan, number == 1, each)).collect()
}

fn producer(chance: &mut Chance, plan: &Plan, reliable: bool, each: u64) -> ProducerPlan {
    let topic = if reliable { 0 } else { chance.index(plan.topics.len()) };
    let mut partitions: Vec<u32> = (0..plan.topics[topic].partitions).collect();
    let (first, count) = (chance.index(partitions.len()), 1 + chance.index(partitions.len()));
    partitions.rotate_left(first);
    partitions.truncate(count);
    let idempotent = chance.happens(0.7);
    let acks = match (reliable, idempotent) {
        (true, _) => -1,
        (false, true) => *chance.pick(&[-1, -1, -1, 1]),
        (false, false) => *chance.pick(&[-1, 0, 1]),
    };
    let patient = reliable || chance.happens(0.5);
    ProducerPlan {
        topic,
        partitions,
        acks,
        idempotent,
        retries: reliable || chance.happens(0.8),
        delivery_ms: if patient { 60_000 } else { *chance.pick(&[500, 3000, 10_000]) },
        in_flight: chance.between(1..6) as usize,
        together: chance.happens(0.4),
        compression: chance.pick(&["none", "none", "gzip", "snappy", "lz4", "zstd"]).to_string(),
        shape: *chance.pick(&[
            Shape::Full,
            Shape::Full,
            Shape::Bare,
            Shape::Tombstone,
            Shape::Headers,
        ]),
        first_sequence: match chance.happens(0.2) {
            true => i32::MAX - chance.between(0..100) as i32,
            false => 0,
        },
        bursts: bursts(chance, plan, topic, idempotent, each),
    }
}

/// `each` records a minute.
fn bursts(
    chance: &mut Chance,
    plan: &Plan,
    topic: usize,
    idempotent: bool,
    each: u64,
) -> Vec<Burst> {
    let value_bytes_max = *chance.pick(&[20, 200, 2000]);
    let batches_max = *chance.pick(&[2, 8]);
    let records_max = *chance.pick(&[2, 6, 60]);
    let taken = plan.topics[topic].configs.get("max.message.bytes");
    let taken: Option<u32> = taken.and_then(|size| size.parse().ok());
    let (mut bursts, mut at_ms) = (vec![], 0);
    while at_ms < plan.lasts_ms {
        // One that is too large is alone, or those behind it would be out of order.
        let too_large = taken.filter(|_| chance.happens(0.05)).map(|size| size * TOO_LARGE);
        let count = if too_large.is_some() { 1 } else { chance.between(1..batches_max) };
        let mut left = each / BURSTS_PER_MINUTE;
        let mut batches = vec![];
        for _ in 0..count {
            let records = chance.between(1..records_max).min(left.max(1));
            left = left.saturating_sub(records);
            batches.push(if too_large.is_some() { 1 } else { records as u32 });
            if left == 0 {
                break;
            }
        }
        let value_bytes = too_large.unwrap_or(chance.between(1..value_bytes_max) as u32);
        let again = idempotent && chance.happens(0.1);
        let resend = if again { chance.between(1..8) as u32 } else { 0 };
        let records: u64 = batches.iter().map(|count| u64::from(*count)).sum();
        // Twice as long as that or no time at all: in the long run as many as were drawn.
        let after_ms = chance.between(1..2 * records * 60_000 / each + 2);
        at_ms += after_ms;
        let renew = idempotent && chance.happens(0.05);
        bursts.push(Burst { after_ms, batches, value_bytes, resend, renew });
    }
    bursts
}

pub fn consumers(streams: Streams, plan: &Plan) -> Vec<ConsumerPlan> {
    let count = streams(0).between(1..4);
    (1..=count).map(|number| consumer(&mut streams(number), plan, number == 1)).collect()
}

fn consumer(chance: &mut Chance, plan: &Plan, follows: bool) -> ConsumerPlan {
    let all = 0..plan.topics.len();
    let mut consumer = ConsumerPlan {
        topics: all.filter(|_| follows || chance.happens(0.7)).collect(),
        sessions: chance.happens(0.6),
        wait_ms: *chance.pick(&[0, 100, 500, 2000]),
        bytes_min: *chance.pick(&[0, 1, 1, 1000]),
        // Who follows must be faster than those who write.
        bytes_max: if follows { 64 << 10 } else { *chance.pick(&[1, 1000, 64 << 10]) },
        pause_ms: *chance.pick(&[50, 200, 1000]),
        follows,
        turns: vec![],
    };
    let pause_ms_max = *chance.pick(&[1000, 5000, 30_000]);
    let mut at_ms = 0;
    while !follows && at_ms < plan.lasts_ms {
        at_ms += chance.between(10..pause_ms_max);
        let to = match chance.between(0..5) {
            0 => Seek::Start,
            1 => Seek::End,
            2 => Seek::Back { ms: chance.between(1..pause_ms_max) },
            3 => Seek::Between { percent: chance.between(0..101) as u32 },
            _ => Seek::Restart,
        };
        consumer.turns.push(Turn { at_ms, to });
    }
    consumer
}

fn peer(chance: &mut Chance, plan: &Plan) -> PeerPlan {
    let pause_ms_max = *chance.pick(&[500, 5000]);
    let (mut visits, mut at_ms) = (vec![], 0);
    while at_ms < plan.lasts_ms {
        let after_ms = chance.between(10..pause_ms_max);
        let (manner, takes_ms) = manner(chance);
        visits.push(Visit { after_ms, manner });
        at_ms += after_ms + takes_ms;
    }
    PeerPlan { visits }
}

/// And how long it takes.
fn manner(chance: &mut Chance) -> (Manner, u64) {
    let percent = chance.between(1..100) as u32;
    let ms = chance.between(10..10_000);
    match chance.between(0..7) {
        0 => (Manner::Garbage { bytes: chance.between(1..2000) as u32 }, 1000),
        1 => {
            let length = *chance.pick(&[0, 3, -1, i32::MIN, i32::MAX, 104_857_601, 100_000_000]);
            (Manner::Oversized { length }, 1000)
        }
        2 => (Manner::Truncated { percent }, 1000),
        3 => (Manner::Half { percent, ms }, ms),
        4 => (Manner::Silent { ms }, ms),
        5 => {
            let requests = chance.between(1..20) as u32;
            let bytes_per_second = *chance.pick(&[0, 100, 5000]);
            (Manner::Greedy { requests, bytes_per_second, ms }, ms)
        }
        _ => (Manner::BreakOff { bytes: chance.between(1..500) as u32 }, 1000),
    }
}
