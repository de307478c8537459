//! Records of the metadata log: made from what the image holds, at the version that the cluster's
//! metadata.version allows.

use bytes::Bytes;

use crate::metadata::image::{Broker, ControllerNode, Endpoint, FeatureRange, Image};
use crate::metadata::topic::Partition;
use crate::protocol::messages::broker_registration_change_record::BrokerRegistrationChangeRecord;
use crate::protocol::messages::partition_record::PartitionRecord;
use crate::protocol::messages::register_broker_record::{
    BrokerEndpoint, BrokerFeature, RegisterBrokerRecord,
};
use crate::protocol::messages::register_controller_record::{
    ControllerEndpoint, ControllerFeature, RegisterControllerRecord,
};
use crate::protocol::messages::{MetadataRecord, encode_metadata_record};
use crate::protocol::wire::{EncodeError, Text};
use crate::types::{NodeId, Uuid};

pub const METADATA_VERSION: &str = "metadata.version";

/// A level of metadata.version, as far as it decides about records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataVersion(pub i16);

impl MetadataVersion {
    /// The lowest that Kafka 4 opens: 3.3-IV3.
    pub const MINIMUM: MetadataVersion = MetadataVersion(7);
    const ZK_MIGRATION: MetadataVersion = MetadataVersion(8);
    const TRANSACTIONS: MetadataVersion = MetadataVersion(13);
    const CONTROLLER_REGISTRATION: MetadataVersion = MetadataVersion(15);
    const DIRECTORIES: MetadataVersion = MetadataVersion(17);
    const ELR: MetadataVersion = MetadataVersion(23);
    const CORDONED: MetadataVersion = MetadataVersion(30);

    pub fn of(image: &Image) -> MetadataVersion {
        MetadataVersion(image.feature(METADATA_VERSION)).max(MetadataVersion::MINIMUM)
    }

    pub fn has_transactions(self) -> bool {
        self >= MetadataVersion::TRANSACTIONS
    }

    pub fn has_controller_registration(self) -> bool {
        self >= MetadataVersion::CONTROLLER_REGISTRATION
    }

    fn registration(self) -> i16 {
        match self {
            version if version >= MetadataVersion::CORDONED => 4,
            version if version >= MetadataVersion::DIRECTORIES => 3,
            version if version >= MetadataVersion::ZK_MIGRATION => 2,
            _ => 1,
        }
    }

    fn partition(self) -> i16 {
        match self {
            version if version >= MetadataVersion::ELR => 2,
            version if version >= MetadataVersion::DIRECTORIES => 1,
            _ => 0,
        }
    }
}

/// The value of the record in the log. What the cluster's version cannot say is left out.
pub fn encode(record: &MetadataRecord, level: MetadataVersion) -> Result<Bytes, EncodeError> {
    match record {
        MetadataRecord::RegisterBroker(m) => {
            let version = level.registration();
            let mut m = m.clone();
            if version < 4 {
                m.cordoned_log_dirs = None;
            }
            if version < 3 {
                m.log_dirs.clear();
            }
            if version < 2 {
                m.is_migrating_zk_broker = false;
            }
            encode_metadata_record(&m.into(), version)
        }
        MetadataRecord::BrokerRegistrationChange(m) => {
            encode_metadata_record(record, change_version(m))
        }
        MetadataRecord::Partition(m) => {
            let version = level.partition();
            let mut m = m.clone();
            if version < 2 {
                (m.eligible_leader_replicas, m.last_known_elr) = (None, None);
            }
            if version < 1 {
                m.directories.clear();
            }
            encode_metadata_record(&m.into(), version)
        }
        MetadataRecord::PartitionChange(m) => {
            let version = level.partition();
            let mut m = m.clone();
            if version < 2 {
                (m.eligible_leader_replicas, m.last_known_elr) = (None, None);
            }
            if version < 1 {
                m.directories = None;
            }
            encode_metadata_record(&m.into(), version)
        }
        _ => encode_metadata_record(record, 0),
    }
}

/// The lowest version that can say it.
fn change_version(m: &BrokerRegistrationChangeRecord) -> i16 {
    match m {
        _ if m.cordoned_log_dirs.is_some() => 3,
        _ if !m.log_dirs.is_empty() => 2,
        _ if m.in_controlled_shutdown != 0 => 1,
        _ => 0,
    }
}

pub fn register_record(broker: &Broker) -> RegisterBrokerRecord {
    let end_point = |e: &Endpoint| BrokerEndpoint {
        name: Text::new(&e.name),
        host: Text::new(&e.host),
        port: e.port,
        security_protocol: e.security_protocol,
    };
    let feature = |(name, range): (&_, &FeatureRange)| BrokerFeature {
        name: Text::new(name),
        min_supported_version: range.min,
        max_supported_version: range.max,
    };
    RegisterBrokerRecord {
        broker_id: broker.id.0,
        is_migrating_zk_broker: broker.is_migrating_zk,
        incarnation_id: broker.incarnation,
        broker_epoch: broker.epoch.0,
        end_points: broker.endpoints.iter().map(end_point).collect(),
        features: broker.features.iter().map(|(name, range)| feature((name, range))).collect(),
        rack: broker.rack.as_deref().map(Text::new),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.directories.clone(),
        cordoned_log_dirs: broker.cordoned_directories.clone(),
    }
}

pub fn controller_record(controller: &ControllerNode) -> RegisterControllerRecord {
    let end_point = |e: &Endpoint| ControllerEndpoint {
        name: Text::new(&e.name),
        host: Text::new(&e.host),
        port: e.port,
        security_protocol: e.security_protocol,
    };
    let features = controller.features.iter().map(|(name, range)| ControllerFeature {
        name: Text::new(name),
        min_supported_version: range.min,
        max_supported_version: range.max,
    });
    RegisterControllerRecord {
        controller_id: controller.id.0,
        incarnation_id: controller.incarnation,
        zk_migration_ready: controller.zk_migration_ready,
        end_points: controller.endpoints.iter().map(end_point).collect(),
        features: features.collect(),
    }
}

pub fn partition_record(topic_id: Uuid, index: i32, partition: &Partition) -> PartitionRecord {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<i32>>();
    let some = |nodes: &[NodeId]| (!nodes.is_empty()).then(|| ids(nodes));
    PartitionRecord {
        partition_id: index,
        topic_id,
        replicas: ids(&partition.replicas),
        isr: ids(&partition.isr),
        removing_replicas: ids(&partition.removing),
        adding_replicas: ids(&partition.adding),
        leader: partition.leader.map_or(-1, |leader| leader.0),
        leader_recovery_state: partition.recovery.to_wire(),
        leader_epoch: partition.leader_epoch.0,
        partition_epoch: partition.partition_epoch,
        directories: partition.directories.clone(),
        eligible_leader_replicas: some(&partition.elr),
        last_known_elr: some(&partition.last_known_elr),
    }
}
