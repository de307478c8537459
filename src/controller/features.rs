//! The features that this version can live with, and what a new cluster starts with.
//!
//! The ranges say which clusters this node may join: those that Kafka 4.4 formats are among them,
//! and every record they need is read and written back. A new cluster claims less: the levels of
//! what works here today.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::image::{FeatureRange, Image};
use crate::metadata::record::METADATA_VERSION;

pub const ELR_VERSION: &str = "eligible.leader.replicas.version";

pub struct Feature {
    pub name: &'static str,
    pub range: FeatureRange,
    /// In a new cluster. 0 is off.
    pub fresh: i16,
}

const fn feature(name: &'static str, min: i16, max: i16, fresh: i16) -> Feature {
    Feature { name, range: FeatureRange { min, max }, fresh }
}

/// metadata.version comes first: it decides how the others are written. 27 is 4.1-IV1, the last
/// before levels that bring records of share groups and cordoned directories.
pub const FEATURES: &[Feature] = &[
    feature(METADATA_VERSION, 7, 33, 27),
    feature(ELR_VERSION, 0, 1, 1),
    feature("group.version", 0, 1, 0),
    feature("kraft.version", 0, 1, 1),
    feature("share.version", 0, 2, 0),
    feature("streams.version", 0, 1, 0),
    feature("transaction.version", 0, 2, 0),
];

pub fn supported() -> BTreeMap<Arc<str>, FeatureRange> {
    FEATURES.iter().map(|feature| (feature.name.into(), feature.range)).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster has {name} at {level}, this version supports {min} to {max}")]
pub struct Unsupported {
    pub name: Arc<str>,
    pub level: i16,
    pub min: i16,
    pub max: i16,
}

/// Whether this version may open what `image` describes.
pub fn check(image: &Image) -> Result<(), Unsupported> {
    for (name, &level) in &image.features {
        let range = FEATURES.iter().find(|feature| *feature.name == **name);
        let FeatureRange { min, max } =
            range.map_or(FeatureRange { min: 0, max: 0 }, |feature| feature.range);
        if !(min..=max).contains(&level) {
            return Err(Unsupported { name: name.clone(), level, min, max });
        }
    }
    Ok(())
}
