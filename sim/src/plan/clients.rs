//! The clients' part of a plan: topics, and who does what with them.
//!
//! Every decision stands here; what is left to a run are the bytes of records and of garbage, which
//! come from streams of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::fault::Fault;
use crate::history::Expected;

/// What a broker takes that nobody told otherwise.
const BATCH_BYTES_MAX: u32 = 1_048_588;
const PRODUCERS_EXPIRE_MS: i64 = 86_400_000;

/// How far the clocks of a broker and its clients may be apart before one of them jumps, and how
/// long a run goes on when its time is over.
const SLACK_MS: i64 = 10_000 + 600_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicPlan {
    pub name: String,
    pub partitions: u32,
    pub configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProducerPlan {
    /// Index into the plan's topics.
    pub topic: usize,
    /// Its batches go to each of them in turn.
    pub partitions: Vec<u32>,
    pub acks: i16,
    pub idempotent: bool,
    pub retries: bool,
    /// When it gives up on a batch.
    pub delivery_ms: u64,
    pub in_flight: usize,
    /// Batches to different partitions share a request.
    pub together: bool,
    /// gzip, snappy, lz4, zstd or none.
    pub compression: String,
    pub shape: Shape,
    /// Of its first batch to each partition: those near 2^31 wrap.
    #[serde(default)]
    pub first_sequence: i32,
    pub bursts: Vec<Burst>,
}

/// What is in a record. Each says who wrote it, in its value or else in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A key, a value, a header.
    Full,
    /// A value and nothing else.
    Bare,
    /// A key and no value.
    Tombstone,
    /// Neither key nor value, only headers, one of them without a value.
    Headers,
}

/// Batches that are handed to the producer at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// After the burst before it was settled.
    pub after_ms: u64,
    /// The records of each batch.
    pub batches: Vec<u32>,
    pub value_bytes: u32,
    /// Then the last batch but so many that was acknowledged is sent once more: 1 is the last.
    #[serde(default)]
    pub resend: u32,
    /// Then it goes on in a new epoch; what is sent once more later is of an old one.
    #[serde(default)]
    pub renew: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsumerPlan {
    /// Indexes into the plan's topics.
    pub topics: Vec<usize>,
    pub sessions: bool,
    pub wait_ms: u32,
    pub bytes_min: u32,
    pub bytes_max: u32,
    /// Between two fetches.
    pub pause_ms: u64,
    /// It reads on, and has read everything when all is over. Others stop when nothing is broken
    /// any more.
    pub follows: bool,
    /// In the order of `at_ms`.
    pub turns: Vec<Turn>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub at_ms: u64,
    pub to: Seek,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seek {
    Start,
    End,
    /// To the records that are not older than that.
    Back {
        ms: u64,
    },
    /// So far between start and end.
    Between {
        percent: u32,
    },
    /// It restarts where it was.
    Restart,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdminPlan {
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub after_ms: u64,
    /// Index into the plan's topics.
    pub topic: usize,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Create {
        partitions: u32,
        configs: BTreeMap<String, String>,
    },
    Delete {
        by_id: bool,
    },
    /// To so many partitions.
    Grow {
        partitions: u32,
    },
    /// None takes a setting back.
    Configure {
        changes: BTreeMap<String, Option<String>>,
    },
    /// The first part of a partition; 100 is all that is committed.
    DeleteRecords {
        partition: u32,
        percent: u32,
    },
    Describe,
    DescribeConfigs,
}

/// A peer without manners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerPlan {
    pub visits: Vec<Visit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    pub after_ms: u64,
    pub manner: Manner,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// Noise.
    Garbage { bytes: u32 },
    /// A frame that says it is so long, and some of it.
    Oversized { length: i32 },
    /// A request whose frame is whole and whose body is not.
    Truncated { percent: u32 },
    /// Some of a request, then nothing.
    Half { percent: u32, ms: u64 },
    /// A connection and nothing else.
    Silent { ms: u64 },
    /// Asks for everything there is, again and again, and reads so much of it in a second.
    Greedy { requests: u32, bytes_per_second: u32, ms: u64 },
    /// Asks for much and breaks off in the middle of the answer.
    BreakOff { bytes: u32 },
}

impl Manner {
    pub fn name(&self) -> &'static str {
        match self {
            Manner::Garbage { .. } => "garbage",
            Manner::Oversized { .. } => "oversized",
            Manner::Truncated { .. } => "truncated",
            Manner::Half { .. } => "half",
            Manner::Silent { .. } => "silent",
            Manner::Greedy { .. } => "greedy",
            Manner::BreakOff { .. } => "break_off",
        }
    }
}

impl Plan {
    /// What may become of the topics of a name.
    pub fn expected(&self, topic: usize) -> Expected {
        let acts = || self.acts_on(topic);
        let sizes: Vec<u32> = self
            .settings(topic, "max.message.bytes")
            .map(|value| value.and_then(|text| text.parse().ok()).unwrap_or(BATCH_BYTES_MAX))
            .collect();
        let recompressed = self.settings(topic, "compression.type").any(|value| value.is_some());
        let taken = sizes.iter().min().copied().unwrap_or(BATCH_BYTES_MAX);
        let is_bound = |value: Option<&str>| value.is_some_and(|value| value != "-1");
        Expected {
            retention: ["retention.ms", "retention.bytes"]
                .iter()
                .any(|name| self.settings(topic, name).any(is_bound)),
            records_deleted: acts().any(|act| matches!(act, Act::DeleteRecords { .. })),
            deleted: self.is_deleted(topic),
            append_time: self
                .settings(topic, "message.timestamp.type")
                .any(|value| value == Some("LogAppendTime")),
            // What a batch weighs after the broker compressed it anew nobody knows.
            batch_bytes_taken: if recompressed { 0 } else { taken },
            batch_bytes_max: if recompressed {
                u32::MAX
            } else {
                sizes.iter().max().copied().unwrap_or(BATCH_BYTES_MAX)
            },
            producers_expire: self.producers_expire(),
        }
    }

    /// The same, but that nothing is deleted: neither topics nor records.
    pub fn without_deletion(mut self) -> Plan {
        self.admins.iter_mut().for_each(|admin| admin.steps.clear());
        self.topics.iter_mut().for_each(|topic| topic.configs.clear());
        self
    }

    /// Is it deleted by anybody?
    pub fn is_deleted(&self, topic: usize) -> bool {
        self.acts_on(topic).any(|act| matches!(act, Act::Delete { .. }))
    }

    fn acts_on(&self, topic: usize) -> impl Iterator<Item = &Act> {
        let steps = self.admins.iter().flat_map(|admin| &admin.steps);
        steps.filter(move |step| step.topic == topic).map(|step| &step.act)
    }

    /// All that a setting of a topic may be in the run; none stands for the default.
    fn settings(&self, topic: usize, name: &str) -> impl Iterator<Item = Option<&str>> {
        let first = self.topics[topic].configs.get(name).map(String::as_str);
        let later = self.acts_on(topic).filter_map(move |act| match act {
            Act::Create { configs, .. } => Some(configs.get(name).map(String::as_str)),
            Act::Configure { changes } => changes.get(name).map(Option::as_deref),
            _ => None,
        });
        std::iter::once(first).chain(later)
    }

    /// May a broker forget an idempotent producer? It goes by its wall clock.
    pub fn producers_expire(&self) -> bool {
        let jumps = self.faults.iter().map(|planned| match planned.fault {
            Fault::WallJump { by_ms, .. } => by_ms.max(0),
            _ => 0,
        });
        let passes_ms = self.lasts_ms as i64 + jumps.sum::<i64>() + SLACK_MS;
        let told = self.brokers.iter().map(|broker| {
            let text = broker.options.get("producer.id.expiration.ms");
            text.and_then(|text| text.parse().ok()).unwrap_or(PRODUCERS_EXPIRE_MS)
        });
        told.min().unwrap_or(PRODUCERS_EXPIRE_MS) <= passes_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: Vec<Act>) -> Plan {
        let mut plan = Plan::draw(1, 10_000);
        plan.topics.truncate(1);
        plan.topics[0].configs.clear();
        let step = |act| Step { after_ms: 1, topic: 0, act };
        plan.admins = vec![AdminPlan { steps: steps.into_iter().map(step).collect() }];
        plan
    }

    fn configure(name: &str, value: &str) -> Act {
        Act::Configure { changes: [(name.to_string(), Some(value.to_string()))].into() }
    }

    #[test]
    fn what_is_expected_of_a_topic_follows_from_who_touches_it() {
        let quiet = plan(vec![Act::Describe]).expected(0);
        assert!(!quiet.retention && !quiet.deleted && !quiet.records_deleted);
        assert_eq!((quiet.batch_bytes_taken, quiet.batch_bytes_max), (1_048_588, 1_048_588));
        let deleting = || plan(vec![Act::Delete { by_id: true }]);
        assert!(deleting().expected(0).deleted);
        assert!(!deleting().without_deletion().expected(0).deleted);
        let kept = plan(vec![configure("retention.ms", "-1")]);
        assert!(!kept.expected(0).retention);
        assert!(plan(vec![configure("retention.bytes", "100")]).expected(0).retention);
        let sized = plan(vec![configure("max.message.bytes", "5000")]).expected(0);
        assert_eq!((sized.batch_bytes_taken, sized.batch_bytes_max), (5000, 1_048_588));
    }

    #[test]
    fn producers_expire_when_the_clock_may_pass_their_time() {
        let mut plan = plan(vec![]);
        plan.faults.clear();
        plan.brokers[0].options.remove("producer.id.expiration.ms");
        assert!(!plan.producers_expire());
        plan.brokers[0].options.insert("producer.id.expiration.ms".to_string(), "5000".to_string());
        assert!(plan.producers_expire());
    }
}
