//! The first records of a cluster.
//!
//! Formatting puts the feature levels into the bootstrap snapshot; the first controller writes them
//! into the log, in one transaction, with what they imply.

use crate::controller::features::{ELR_VERSION, FEATURES};
use crate::metadata::image::ConfigResource;
use crate::metadata::record::{METADATA_VERSION, MetadataVersion};
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::abort_transaction_record::AbortTransactionRecord;
use crate::protocol::messages::begin_transaction_record::BeginTransactionRecord;
use crate::protocol::messages::config_record::ConfigRecord;
use crate::protocol::messages::end_transaction_record::EndTransactionRecord;
use crate::protocol::messages::feature_level_record::FeatureLevelRecord;
use crate::protocol::wire::Text;

pub fn fresh_version() -> MetadataVersion {
    let version = FEATURES.iter().find(|feature| feature.name == METADATA_VERSION);
    MetadataVersion(version.expect("the table begins with it").fresh)
}

/// What the bootstrap snapshot of a new cluster holds. kraft.version stands in a control record.
pub fn format_records() -> Vec<MetadataRecord> {
    let claimed = FEATURES.iter().filter(|feature| feature.fresh > 0);
    let stored = claimed.filter(|feature| feature.name != "kraft.version");
    let record = |name, feature_level| FeatureLevelRecord { name: Text::new(name), feature_level };
    stored.map(|feature| record(feature.name, feature.fresh).into()).collect()
}

/// What the first controller of a cluster writes, given the records of the bootstrap snapshot.
pub fn log_records(bootstrap: &[MetadataRecord]) -> Vec<MetadataRecord> {
    let mut records = bootstrap.to_vec();
    let level = bootstrap.iter().find_map(|record| match record {
        MetadataRecord::FeatureLevel(feature) if &*feature.name == METADATA_VERSION => {
            Some(MetadataVersion(feature.feature_level))
        }
        _ => None,
    });
    let elr = |record: &MetadataRecord| match record {
        MetadataRecord::FeatureLevel(feature) => &*feature.name == ELR_VERSION,
        _ => false,
    };
    if bootstrap.iter().any(elr) {
        // Eligible leader replicas rest on one minimum that everybody agrees on.
        let minimum = ConfigRecord {
            resource_type: ConfigResource::BROKER,
            resource_name: Text::new(""),
            name: Text::new("min.insync.replicas"),
            value: Some(Text::new("1")),
        };
        records.push(minimum.into());
    }
    if level.is_some_and(MetadataVersion::has_transactions) {
        let name = Some(Text::new("Bootstrap records"));
        records.insert(0, BeginTransactionRecord { name }.into());
        records.push(EndTransactionRecord::default().into());
    }
    records
}

/// Ends a transaction that a controller left open when it died.
pub fn abort_record() -> MetadataRecord {
    let reason = Some(Text::new("the controller changed before the transaction ended"));
    AbortTransactionRecord { reason }.into()
}
