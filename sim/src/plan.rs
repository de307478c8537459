//! What a run will do: configuration, workload and faults as explicit data.
//!
//! A seed becomes a plan before anything runs, a plan is JSON, and a run is a function of its plan.
//! So a failing run can be kept, read and shrunk. What remains to the seed while the run lasts are
//! the small things (latencies, torn sectors, the order of tasks), each from a stream of its own.
//! There are no fractions in a plan: they would not survive JSON to the last bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::clients::{AdminPlan, ConsumerPlan, PeerPlan, ProducerPlan, TopicPlan};
use self::fault::Planned;
use crate::disk::Temper;
use crate::net::link::Link;
use crate::world::{Hardware, Kill};

pub mod clients;
pub mod draw;
pub mod fault;

/// Raised when old plans mean something else.
pub const FORMAT: u32 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    pub seed: u64,
    /// How long faults strike, in simulated time. Then everything heals and is read back.
    pub lasts_ms: u64,
    pub brokers: Vec<BrokerPlan>,
    pub link: Link,
    pub topics: Vec<TopicPlan>,
    pub producers: Vec<ProducerPlan>,
    pub consumers: Vec<ConsumerPlan>,
    pub admins: Vec<AdminPlan>,
    pub peers: Vec<PeerPlan>,
    /// In the order of `at_ms`.
    pub faults: Vec<Planned>,
    /// Whether the broker is stopped in order before that.
    #[serde(default)]
    pub last_stop: bool,
    /// Befalls the broker before the last reading.
    pub last_kill: Option<Kill>,
    /// The disk breaks a promise then: it loses the end of a log that was synced. Such a run must
    /// fail, or the alarm is broken.
    #[serde(default)]
    pub canary: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerPlan {
    pub hardware: Hardware,
    pub temper: Temper,
    /// By Kafka's names.
    pub options: BTreeMap<String, String>,
}

impl Plan {
    /// A field that a plan of this format does not have yet takes its default; one that it has no
    /// more is passed over.
    pub fn parse(text: &str) -> Result<Plan, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(FORMAT.into()) {
            let format =
                format.map_or("no format".to_string(), |format| format!("format {format}"));
            return Err(format!("it has {format}, and this simulator runs format {FORMAT}"));
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// The brokers, then producers, consumers, administrators and other peers, then who prepares.
    pub fn hosts(&self) -> usize {
        let Plan { brokers, producers, consumers, admins, peers, .. } = self;
        brokers.len() + producers.len() + consumers.len() + admins.len() + peers.len() + 1
    }
}
