//! One record of the metadata log, applied to an image.
//!
//! A record that this version does not know stops the replay: it may be a removal as well as an
//! addition, so neither serving on nor writing a snapshot without it would be right. Kafka refuses
//! it too; the log that holds it is not touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::image::{
    Broker, ConfigOverrides, ConfigResource, ControllerNode, Endpoint, FeatureRange, Image,
};
use crate::metadata::kept::detached;
use crate::metadata::topic::{DIRECTORY_MIGRATING, Partition, Recovery, Topic};
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use crate::protocol::messages::clear_elr_record::ClearElrRecord;
use crate::protocol::messages::config_record::ConfigRecord;
use crate::protocol::messages::feature_level_record::FeatureLevelRecord;
use crate::protocol::messages::partition_change_record::PartitionChangeRecord;
use crate::protocol::messages::partition_record::PartitionRecord;
use crate::protocol::messages::register_broker_record::RegisterBrokerRecord;
use crate::protocol::messages::register_controller_record::RegisterControllerRecord;
use crate::protocol::messages::topic_record::TopicRecord;
use crate::protocol::wire::EncodeError;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Uuid};

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    #[error(
        "record type {key}, version {version}, is not known to this broker: it was written by a \
         later version, which must be used to open this data"
    )]
    Unknown { key: u32, version: i16 },
    #[error("{record} names topic id {id}, which does not exist")]
    NoTopic { record: &'static str, id: Uuid },
    #[error("{record} names topic {name} ({id}), which exists as {existing}")]
    TopicExists { record: &'static str, name: Arc<str>, id: Uuid, existing: Uuid },
    #[error("{record} names partition {index} of topic id {id}, which does not exist")]
    NoPartition { record: &'static str, id: Uuid, index: i32 },
    #[error("{record} names broker {id} of epoch {epoch}, registered is {registered:?}")]
    NoBroker { record: &'static str, id: i32, epoch: i64, registered: Option<BrokerEpoch> },
    #[error("{record} has leader recovery state {state}")]
    RecoveryState { record: &'static str, state: i8 },
    #[error(transparent)]
    Malformed(#[from] EncodeError),
}

impl Image {
    /// The image with `record` applied. Transactions are the caller's: see `replay`.
    pub fn apply(&mut self, record: &MetadataRecord, version: i16) -> Result<(), ApplyError> {
        use MetadataRecord as R;
        match record {
            R::RegisterBroker(m) => self.register_broker(m, version),
            R::UnregisterBroker(m) => {
                self.registered("UnregisterBrokerRecord", m.broker_id, m.broker_epoch)?;
                self.brokers.remove(&NodeId(m.broker_id));
            }
            R::Topic(m) => self.add_topic(m)?,
            R::Partition(m) => self.set_partition(m)?,
            R::Config(m) => self.set_config(m),
            R::PartitionChange(m) => self.change_partition(m)?,
            R::FenceBroker(m) => {
                self.registered("FenceBrokerRecord", m.id, m.epoch)?.fenced = true;
            }
            R::UnfenceBroker(m) => {
                self.registered("UnfenceBrokerRecord", m.id, m.epoch)?.fenced = false;
            }
            R::RemoveTopic(m) => self.remove_topic(m.topic_id)?,
            R::DelegationToken(m) => {
                self.kept.tokens.insert((*m.token_id).into(), detached(m)?);
            }
            R::UserScramCredential(m) => {
                self.kept.credentials.insert(((*m.name).into(), m.mechanism), detached(m)?);
            }
            R::FeatureLevel(m) => self.set_feature(m),
            R::ClientQuota(m) => self.kept.set_quota(m),
            R::ProducerIds(m) => self.producer_id_next = m.next_producer_id,
            R::BrokerRegistrationChange(m) => self.change_broker(m)?,
            R::AccessControlEntry(m) => {
                self.kept.access.insert(m.id, detached(m)?);
            }
            R::RemoveAccessControlEntry(m) => {
                self.kept.access.remove(&m.id);
            }
            R::NoOp(_) => {}
            R::ZkMigrationState(m) => self.kept.zk_migration_state = Some(m.zk_migration_state),
            R::RemoveUserScramCredential(m) => {
                let user: Arc<str> = (*m.name).into();
                self.kept.credentials.remove(&(user, m.mechanism));
            }
            R::BeginTransaction(_) | R::EndTransaction(_) | R::AbortTransaction(_) => {}
            R::RemoveDelegationToken(m) => {
                self.kept.tokens.remove(&*m.token_id);
            }
            R::RegisterController(m) => self.register_controller(m),
            R::ClearElr(m) => self.clear_elr(m),
            R::UnregisterController(m) => {
                self.controllers.remove(&NodeId(m.controller_id));
            }
            R::Unknown { key, .. } => return Err(ApplyError::Unknown { key: *key, version }),
        }
        Ok(())
    }

    fn set_feature(&mut self, m: &FeatureLevelRecord) {
        if m.feature_level == 0 {
            self.features.remove(&*m.name);
        } else {
            self.features.insert((*m.name).into(), m.feature_level);
        }
    }

    fn register_broker(&mut self, m: &RegisterBrokerRecord, version: i16) {
        let endpoints = m.end_points.iter();
        let endpoints = endpoints.map(|e| endpoint(&e.name, &e.host, e.port, e.security_protocol));
        let features = m.features.iter();
        let features =
            features.map(|f| feature(&f.name, f.min_supported_version, f.max_supported_version));
        let cordoned = m.cordoned_log_dirs.clone();
        let broker = Broker {
            id: NodeId(m.broker_id),
            epoch: BrokerEpoch(m.broker_epoch),
            incarnation: m.incarnation_id,
            endpoints: endpoints.collect(),
            features: features.collect(),
            rack: m.rack.as_deref().map(Arc::from),
            fenced: m.fenced,
            in_controlled_shutdown: m.in_controlled_shutdown,
            is_migrating_zk: m.is_migrating_zk_broker,
            directories: m.log_dirs.clone(),
            cordoned_directories: if version >= 4 { cordoned } else { None },
        };
        self.brokers.insert(broker.id, Arc::new(broker));
    }

    fn change_broker(&mut self, m: &BrokerRegistrationChangeRecord) -> Result<(), ApplyError> {
        let broker =
            self.registered("BrokerRegistrationChangeRecord", m.broker_id, m.broker_epoch)?;
        match m.fenced {
            1 => broker.fenced = true,
            -1 => broker.fenced = false,
            _ => {}
        }
        match m.in_controlled_shutdown {
            1 => broker.in_controlled_shutdown = true,
            -1 => broker.in_controlled_shutdown = false,
            _ => {}
        }
        if !m.log_dirs.is_empty() {
            broker.directories = m.log_dirs.clone();
        }
        if m.cordoned_log_dirs.is_some() {
            broker.cordoned_directories = m.cordoned_log_dirs.clone();
        }
        Ok(())
    }

    fn registered(
        &mut self,
        record: &'static str,
        id: i32,
        epoch: i64,
    ) -> Result<&mut Broker, ApplyError> {
        let registered = self.brokers.get(&NodeId(id)).map(|broker| broker.epoch);
        match self.brokers.get_mut(&NodeId(id)) {
            Some(broker) if broker.epoch == BrokerEpoch(epoch) => Ok(Arc::make_mut(broker)),
            _ => Err(ApplyError::NoBroker { record, id, epoch, registered }),
        }
    }

    fn register_controller(&mut self, m: &RegisterControllerRecord) {
        let endpoints = m.end_points.iter();
        let endpoints = endpoints.map(|e| endpoint(&e.name, &e.host, e.port, e.security_protocol));
        let features = m.features.iter();
        let features =
            features.map(|f| feature(&f.name, f.min_supported_version, f.max_supported_version));
        let controller = ControllerNode {
            id: NodeId(m.controller_id),
            incarnation: m.incarnation_id,
            zk_migration_ready: m.zk_migration_ready,
            endpoints: endpoints.collect(),
            features: features.collect(),
        };
        self.controllers.insert(controller.id, Arc::new(controller));
    }

    fn add_topic(&mut self, m: &TopicRecord) -> Result<(), ApplyError> {
        let (name, id): (Arc<str>, Uuid) = ((*m.name).into(), m.topic_id);
        let record = "TopicRecord";
        if let Some(&existing) = self.topic_ids.get(&*name) {
            return Err(ApplyError::TopicExists { record, name, id, existing });
        }
        let topic = Topic { id, name: name.clone(), partitions: Default::default() };
        if let Some(other) = self.topics.insert(id, Arc::new(topic)) {
            return Err(ApplyError::TopicExists { record, name, id, existing: other.id });
        }
        self.topic_ids.insert(name, id);
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), ApplyError> {
        let record = "RemoveTopicRecord";
        let topic = self.topics.remove(&id).ok_or(ApplyError::NoTopic { record, id })?;
        self.topic_ids.remove(&*topic.name);
        self.partition_count -= topic.partitions.len() as u64;
        self.configs.remove(&ConfigResource::topic(&topic.name));
        Ok(())
    }

    fn set_partition(&mut self, m: &PartitionRecord) -> Result<(), ApplyError> {
        let (record, state) = ("PartitionRecord", m.leader_recovery_state);
        let recovery = Recovery::from_wire(state);
        let replicas = nodes(&m.replicas);
        let partition = Partition {
            directories: fitted(m.directories.clone(), replicas.len()),
            replicas,
            isr: nodes(&m.isr),
            removing: nodes(&m.removing_replicas),
            adding: nodes(&m.adding_replicas),
            elr: nodes(m.eligible_leader_replicas.as_deref().unwrap_or_default()),
            last_known_elr: nodes(m.last_known_elr.as_deref().unwrap_or_default()),
            leader: node(m.leader),
            recovery: recovery.ok_or(ApplyError::RecoveryState { record, state })?,
            leader_epoch: LeaderEpoch(m.leader_epoch),
            partition_epoch: m.partition_epoch,
        };
        let topic = self.topics.get_mut(&m.topic_id);
        let topic = topic.ok_or(ApplyError::NoTopic { record, id: m.topic_id })?;
        let partitions = &mut Arc::make_mut(topic).partitions;
        if partitions.insert(m.partition_id, Arc::new(partition)).is_none() {
            self.partition_count += 1;
        }
        Ok(())
    }

    fn change_partition(&mut self, m: &PartitionChangeRecord) -> Result<(), ApplyError> {
        let (record, id, index) = ("PartitionChangeRecord", m.topic_id, m.partition_id);
        let topic = self.topics.get_mut(&id).ok_or(ApplyError::NoTopic { record, id })?;
        let partition = Arc::make_mut(topic).partitions.get_mut(&index);
        let partition = partition.ok_or(ApplyError::NoPartition { record, id, index })?;
        let partition = Arc::make_mut(partition);
        let set = |field: &mut Vec<NodeId>, value: &Option<Vec<i32>>| {
            if let Some(value) = value {
                *field = nodes(value);
            }
        };
        set(&mut partition.isr, &m.isr);
        set(&mut partition.replicas, &m.replicas);
        set(&mut partition.removing, &m.removing_replicas);
        set(&mut partition.adding, &m.adding_replicas);
        set(&mut partition.elr, &m.eligible_leader_replicas);
        set(&mut partition.last_known_elr, &m.last_known_elr);
        let directories = match &m.directories {
            Some(directories) => directories.clone(),
            None => std::mem::take(&mut partition.directories),
        };
        partition.directories = fitted(directories, partition.replicas.len());
        if m.leader != NO_LEADER_CHANGE {
            partition.leader = node(m.leader);
            partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0.saturating_add(1));
        }
        if m.leader_recovery_state != -1 {
            let state = m.leader_recovery_state;
            let recovery = Recovery::from_wire(state);
            partition.recovery = recovery.ok_or(ApplyError::RecoveryState { record, state })?;
        }
        partition.partition_epoch = partition.partition_epoch.saturating_add(1);
        Ok(())
    }

    fn set_config(&mut self, m: &ConfigRecord) {
        let resource = ConfigResource::new(m.resource_type, &m.resource_name);
        let mut overrides = match self.configs.get(&resource) {
            Some(held) => ConfigOverrides::clone(held),
            None => BTreeMap::new(),
        };
        match &m.value {
            Some(value) => overrides.insert((*m.name).into(), (**value).into()),
            None => overrides.remove(&*m.name),
        };
        if overrides.is_empty() {
            self.configs.remove(&resource);
        } else {
            self.configs.insert(resource, Arc::new(overrides));
        }
    }

    /// The empty name clears every topic.
    fn clear_elr(&mut self, m: &ClearElrRecord) {
        let ids: Vec<Uuid> = match &*m.topic_name {
            "" => self.topics.keys().copied().collect(),
            name => self.topic_ids.get(name).copied().into_iter().collect(),
        };
        for id in ids {
            let topic = &self.topics.get(&id).expect("the id was just read").partitions;
            let indexes =
                topic.iter().filter(|(_, p)| !(p.elr.is_empty() && p.last_known_elr.is_empty()));
            let indexes: Vec<i32> = indexes.map(|(&index, _)| index).collect();
            for index in indexes {
                let topic = Arc::make_mut(self.topics.get_mut(&id).expect("the id was just read"));
                let partition = topic.partitions.get_mut(&index).expect("the index was just read");
                let partition = Arc::make_mut(partition);
                partition.elr.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch = partition.partition_epoch.saturating_add(1);
            }
        }
    }
}

/// In a PartitionChange: the leader stays, and so does its epoch.
pub const NO_LEADER_CHANGE: i32 = -2;

fn node(id: i32) -> Option<NodeId> {
    (id >= 0).then_some(NodeId(id))
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Records from before directories had ids name none.
fn fitted(mut directories: Vec<Uuid>, replicas: usize) -> Vec<Uuid> {
    if directories.len() != replicas {
        directories.clear();
        directories.resize(replicas, DIRECTORY_MIGRATING);
    }
    directories
}

fn endpoint(name: &str, host: &str, port: u16, security_protocol: i16) -> Endpoint {
    Endpoint { name: name.into(), host: host.into(), port, security_protocol }
}

fn feature(name: &str, min: i16, max: i16) -> (Arc<str>, FeatureRange) {
    (name.into(), FeatureRange { min, max })
}
