//! The cluster at one offset of the metadata log. Immutable once shared.
//!
//! Everything iterates in a fixed order. What this broker does not use yet (credentials, quotas,
//! access control, tokens) is kept too, so that a snapshot written here loses nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::metadata::kept::Kept;
use crate::metadata::map::Map;
use crate::metadata::topic::{Partition, Topic};
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, Uuid};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// What this image has seen of the log.
    pub provenance: Provenance,
    pub features: BTreeMap<Arc<str>, i16>,
    pub brokers: BTreeMap<NodeId, Arc<Broker>>,
    pub controllers: BTreeMap<NodeId, Arc<ControllerNode>>,
    pub topics: Map<Uuid, Arc<Topic>>,
    pub topic_ids: Map<Arc<str>, Uuid>,
    /// Counted as they come and go, so that nobody walks all topics to know.
    pub partition_count: u64,
    pub configs: Map<ConfigResource, Arc<ConfigOverrides>>,
    /// The first producer id that was never given out.
    pub producer_id_next: i64,
    pub kept: Kept,
}

pub type ConfigOverrides = BTreeMap<Arc<str>, Arc<str>>;

/// Where in the log an image stands. It is not part of what the image says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The first offset that is not contained.
    pub end: Offset,
    /// Of the last contained record.
    pub epoch: LeaderEpoch,
    /// Of the last contained record's batch, milliseconds since 1970.
    pub timestamp_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: NodeId,
    pub epoch: BrokerEpoch,
    /// Drawn anew by every start of the process.
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: BTreeMap<Arc<str>, FeatureRange>,
    pub rack: Option<Arc<str>>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub is_migrating_zk: bool,
    pub directories: Vec<Uuid>,
    /// `None`: the broker is of a version that does not say.
    pub cordoned_directories: Option<Vec<Uuid>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerNode {
    pub id: NodeId,
    pub incarnation: Uuid,
    pub zk_migration_ready: bool,
    pub endpoints: Vec<Endpoint>,
    pub features: BTreeMap<Arc<str>, FeatureRange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub name: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    pub min: i16,
    pub max: i16,
}

/// What a configuration is about. Types that are not named here are stored all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    pub kind: i8,
    pub name: Arc<str>,
}

impl ConfigResource {
    pub const TOPIC: i8 = 2;
    pub const BROKER: i8 = 4;
    pub const BROKER_LOGGER: i8 = 8;
    pub const CLIENT_METRICS: i8 = 16;
    pub const GROUP: i8 = 32;

    pub fn new(kind: i8, name: &str) -> ConfigResource {
        ConfigResource { kind, name: name.into() }
    }

    pub fn topic(name: &str) -> ConfigResource {
        ConfigResource::new(ConfigResource::TOPIC, name)
    }

    pub fn broker(id: NodeId) -> ConfigResource {
        ConfigResource::new(ConfigResource::BROKER, &id.0.to_string())
    }

    /// The default of all brokers: the empty name.
    pub fn all_brokers() -> ConfigResource {
        ConfigResource::new(ConfigResource::BROKER, "")
    }
}

impl Image {
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        let id = self.topic_ids.get(name)?;
        Some(self.topics.get(id).expect("every name points at a topic"))
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    pub fn partition(&self, id: Uuid, index: i32) -> Option<&Arc<Partition>> {
        self.topics.get(&id)?.partition(index)
    }

    /// Topics in the order of their names, from `start` on.
    pub fn topics_by_name(&self, start: Bound<&str>) -> impl Iterator<Item = &Arc<Topic>> {
        let topic = |id| self.topics.get(id).expect("every name points at a topic");
        self.topic_ids.range_from(start).map(move |(_, id)| topic(id))
    }

    pub fn broker(&self, id: NodeId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// Brokers that clients may be sent to.
    pub fn brokers_alive(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// The overrides set on exactly this resource; empty when there are none.
    pub fn config(&self, resource: &ConfigResource) -> &ConfigOverrides {
        static NONE: ConfigOverrides = BTreeMap::new();
        self.configs.get(resource).map_or(&NONE, |overrides| overrides)
    }

    /// One override of a topic.
    pub fn topic_config(&self, topic: &str, key: &str) -> Option<&str> {
        self.config(&ConfigResource::topic(topic)).get(key).map(|value| &**value)
    }

    /// What was set dynamically for `broker`: its own override, else that of all brokers.
    pub fn broker_config(&self, broker: NodeId, key: &str) -> Option<&str> {
        let own = self.config(&ConfigResource::broker(broker)).get(key);
        own.or_else(|| self.config(&ConfigResource::all_brokers()).get(key)).map(|value| &**value)
    }

    /// 0 when the feature is not finalized.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Whether eligible leader replicas are tracked (KIP-966).
    pub fn elr_enabled(&self) -> bool {
        self.feature("eligible.leader.replicas.version") >= 1
    }

    /// Says the same about the cluster, perhaps at another place in the log.
    pub fn says_the_same(&self, other: &Image) -> bool {
        Image { provenance: other.provenance, ..self.clone() } == *other
    }
}

impl Broker {
    /// May lead and be in sync: registered, caught up, not leaving.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| &*endpoint.name == listener)
    }
}
