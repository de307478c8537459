//! An image as records: what a snapshot holds. Reading them back gives the same image.
//!
//! Features come first, metadata.version before the others: it decides how the rest is written.

use std::sync::Arc;

use crate::metadata::image::Image;
use crate::metadata::record::{
    METADATA_VERSION, MetadataVersion, controller_record, partition_record, register_record,
};
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::client_quota_record::{ClientQuotaRecord, EntityData};
use crate::protocol::messages::config_record::ConfigRecord;
use crate::protocol::messages::feature_level_record::FeatureLevelRecord;
use crate::protocol::messages::producer_ids_record::ProducerIdsRecord;
use crate::protocol::messages::topic_record::TopicRecord;
use crate::protocol::messages::zk_migration_state_record::ZkMigrationStateRecord;
use crate::protocol::wire::Text;

pub fn records(image: &Image) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let first = image.features.get_key_value(METADATA_VERSION);
    let others = image.features.iter().filter(|(name, _)| ***name != *METADATA_VERSION);
    for (name, &feature_level) in first.into_iter().chain(others) {
        records.push(FeatureLevelRecord { name: Text::new(name), feature_level }.into());
    }
    for broker in image.brokers.values() {
        records.push(register_record(broker).into());
    }
    if MetadataVersion::of(image).has_controller_registration() {
        records.extend(image.controllers.values().map(|node| controller_record(node).into()));
    }
    for topic in image.topics.values() {
        records.push(TopicRecord { name: Text::new(&topic.name), topic_id: topic.id }.into());
        let partitions = topic.partitions.iter();
        records.extend(partitions.map(|(&index, p)| partition_record(topic.id, index, p).into()));
    }
    for (resource, overrides) in image.configs.iter() {
        let config = |(name, value): (&Arc<str>, &Arc<str>)| ConfigRecord {
            resource_type: resource.kind,
            resource_name: Text::new(&resource.name),
            name: Text::new(name),
            value: Some(Text::new(value)),
        };
        records.extend(overrides.iter().map(|entry| config(entry).into()));
    }
    kept(image, &mut records);
    if image.producer_id_next > 0 {
        let (broker_id, broker_epoch) = (-1, -1);
        let next_producer_id = image.producer_id_next;
        records.push(ProducerIdsRecord { broker_id, broker_epoch, next_producer_id }.into());
    }
    records
}

fn kept(image: &Image, records: &mut Vec<MetadataRecord>) {
    let kept = &image.kept;
    records.extend(kept.credentials.values().map(|record| (**record).clone().into()));
    for (entity, rates) in kept.quotas.iter() {
        let part = |(kind, name): (&Arc<str>, &Option<Arc<str>>)| EntityData {
            entity_type: Text::new(kind),
            entity_name: name.as_deref().map(Text::new),
        };
        for (key, rate) in rates.iter() {
            let record = ClientQuotaRecord {
                entity: entity.0.iter().map(part).collect(),
                key: Text::new(key),
                value: rate.0,
                remove: false,
            };
            records.push(record.into());
        }
    }
    records.extend(kept.tokens.values().map(|record| (**record).clone().into()));
    records.extend(kept.access.values().map(|record| (**record).clone().into()));
    let state = kept.zk_migration_state;
    records.extend(state.map(|state| ZkMigrationStateRecord { zk_migration_state: state }.into()));
}
