//! What this node owns: its log directories, its partitions, its settings, and the ways to the
//! controller and the metadata.
//!
//! `replicas` makes the partitions follow the metadata, `upkeep` writes checkpoints and deletes
//! what is too old, `lifecycle` starts and stops it all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use arc_swap::ArcSwap;
use tracing::{debug, warn};

use crate::config::broker::BrokerConfig;
use crate::config::layers::Layers;
use crate::controller::handle::ControllerHandle;
use crate::env::Env;
use crate::metadata::handle::MetadataHandle;
use crate::metadata::image::Image;
use crate::metadata::topic::Topic;
use crate::partition::Partition;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::wire::Text;
use crate::quorum::driver::Quorum;
use crate::types::{BrokerEpoch, NodeId, Uuid};

use self::data_directory::DataDirectory;
use self::fetch_sessions::Sessions;
use self::producer_ids::ProducerIds;

pub mod data_directory;
pub mod fetch_sessions;
pub mod lifecycle;
pub mod membership;
mod producer_ids;
mod replicas;
mod upkeep;

/// The log of the metadata quorum: in a log directory like any other, and no partition of ours.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// Topics that are created on demand at a time. A request may name as many as fit its frame.
const CREATING_MAX: usize = 1000;
/// Of topics that are created on demand by one operation, which the controller takes or refuses as
/// a whole.
const CREATED_PARTITIONS_MAX: usize = 5000;

pub struct Broker<E: Env> {
    env: E,
    node: NodeId,
    epoch: BrokerEpoch,
    cluster_id: String,
    directories: Vec<Arc<DataDirectory<E>>>,
    metadata: MetadataHandle,
    controller: ControllerHandle<E>,
    quorum: Quorum<E>,
    settings: ArcSwap<Settings>,
    partitions: RwLock<Partitions<E>>,
    sessions: Mutex<Sessions>,
    producer_ids: ProducerIds,
    /// Topics that clients' requests are creating right now.
    creating: Mutex<BTreeSet<String>>,
    tasks: Mutex<Vec<E::Task>>,
    /// Held for reading by a task that writes to the disk. A stop takes it for writing before it
    /// aborts the tasks: none is cut off in a checkpoint, whose files nobody else would sync.
    working: tokio::sync::RwLock<()>,
    /// A task that waits for room while it works gives up then.
    stopping: AtomicBool,
}

/// The options as they stand: the dynamic ones follow the metadata log.
pub struct Settings {
    pub layers: Layers,
    pub config: BrokerConfig,
}

struct Partitions<E: Env> {
    hosted: BTreeMap<(Uuid, i32), Hosted<E>>,
    /// Ours, and not to be served, with where they are: why is in the log.
    failed: BTreeMap<(Uuid, i32), Arc<DataDirectory<E>>>,
}

/// An open partition, and where its files are.
pub struct Hosted<E: Env> {
    pub partition: Arc<Partition<E>>,
    pub directory: Arc<DataDirectory<E>>,
}

impl<E: Env> Clone for Hosted<E> {
    fn clone(&self) -> Hosted<E> {
        Hosted { partition: self.partition.clone(), directory: self.directory.clone() }
    }
}

impl<E: Env> Broker<E> {
    pub fn env(&self) -> &E {
        &self.env
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The cluster as this broker serves it: partitions named here are open.
    pub fn image(&self) -> Arc<Image> {
        self.metadata.image()
    }

    pub fn controller(&self) -> &ControllerHandle<E> {
        &self.controller
    }

    pub fn quorum(&self) -> &Quorum<E> {
        &self.quorum
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub fn directories(&self) -> &[Arc<DataDirectory<E>>] {
        &self.directories
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().expect("nobody panics while holding the sessions")
    }

    pub fn producer_ids(&self) -> &ProducerIds {
        &self.producer_ids
    }

    pub fn epoch(&self) -> BrokerEpoch {
        self.epoch
    }

    /// A partition of a topic that the image holds, as far as it is here.
    pub fn partition(&self, topic: &Topic, index: i32) -> Result<Arc<Partition<E>>, ErrorCode> {
        if topic.partition(index).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let partitions = self.read_partitions();
        match partitions.hosted.get(&(topic.id, index)) {
            Some(hosted) => Ok(hosted.partition.clone()),
            None if partitions.failed.contains_key(&(topic.id, index)) => {
                Err(ErrorCode::KafkaStorageError)
            }
            None => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Every open partition, in the order of topic ids.
    pub fn hosted(&self) -> Vec<Hosted<E>> {
        self.read_partitions().hosted.values().cloned().collect()
    }

    fn read_partitions(&self) -> std::sync::RwLockReadGuard<'_, Partitions<E>> {
        self.partitions.read().expect("nobody panics while holding the partitions")
    }

    fn write_partitions(&self) -> std::sync::RwLockWriteGuard<'_, Partitions<E>> {
        self.partitions.write().expect("nobody panics while holding the partitions")
    }

    /// Asks for topics that a client named and nobody has. Does not wait: the client asks again,
    /// and gets then what was too much now.
    pub fn create_missing_topics<'a>(self: &Arc<Self>, missing: impl Iterator<Item = &'a str>) {
        let mut names = Vec::new();
        let mut creating = self.creating.lock().expect("nobody panics while holding it");
        for name in missing {
            if creating.len() >= CREATING_MAX {
                break;
            }
            if creating.insert(name.to_owned()) {
                names.push(name.to_owned());
            }
        }
        drop(creating);
        if names.is_empty() {
            return;
        }
        let broker = self.clone();
        self.env.spawn("create-topics", async move {
            let partitions_each = broker.settings().config.num_partitions.max(1) as usize;
            for some in names.chunks((CREATED_PARTITIONS_MAX / partitions_each).max(1)) {
                broker.create_on_demand(some).await;
                let mut creating = broker.creating.lock().expect("nobody panics while holding it");
                creating.retain(|name| !some.contains(name));
            }
        });
    }

    async fn create_on_demand(&self, names: &[String]) {
        let topics = names.iter().map(|name| CreatableTopic {
            name: Text::new(name),
            num_partitions: -1,
            replication_factor: -1,
            ..CreatableTopic::default()
        });
        let request =
            CreateTopicsRequest { topics: topics.collect(), ..CreateTopicsRequest::default() };
        for topic in self.controller.create_topics(request).await.topics {
            let code = ErrorCode::from_code(topic.error_code);
            match code.unwrap_or(ErrorCode::UnknownServerError) {
                ErrorCode::None => debug!(topic = %topic.name, "created on demand"),
                ErrorCode::TopicAlreadyExists => {}
                code => {
                    let message = topic.error_message.as_deref();
                    warn!(topic = %topic.name, %code, message, "not created on demand");
                }
            }
        }
    }
}
