//! Where a value comes from: the layers, and who wins.
//!
//! default < file < environment < `-D` < dynamic for the cluster < dynamic for this broker; over
//! them all, for topics, the topic's own override. The first four are fixed while the process
//! lives; the dynamic ones follow the metadata log.

use std::collections::BTreeMap;
use std::fmt;

use super::option::{InvalidValue, Opt};

/// Kafka's name for a layer, with the number that DescribeConfigs sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicCluster = 3,
    StaticBroker = 4,
    Default = 5,
}

/// Which of the static layers set a value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File { path: String, line: Option<u32> },
    Environment { variable: String },
    CommandLine,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub origin: Origin,
}

/// All layers of one broker, by Kafka's names.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    fixed: BTreeMap<String, Setting>,
    cluster: BTreeMap<String, String>,
    broker: BTreeMap<String, String>,
}

/// A value that cannot be used, with where it was set and what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{invalid} (set by {place}; allowed: {allowed}; default: {default})")]
pub struct ConfigError {
    pub invalid: Box<InvalidValue>,
    pub place: String,
    pub allowed: String,
    pub default: &'static str,
}

impl Layers {
    pub fn new(fixed: BTreeMap<String, Setting>) -> Layers {
        Layers { fixed, cluster: BTreeMap::new(), broker: BTreeMap::new() }
    }

    /// Replaces what the metadata log holds for all brokers.
    pub fn set_cluster(&mut self, values: BTreeMap<String, String>) {
        self.cluster = values;
    }

    /// Replaces what the metadata log holds for this broker.
    pub fn set_broker(&mut self, values: BTreeMap<String, String>) {
        self.broker = values;
    }

    pub fn cluster(&self) -> &BTreeMap<String, String> {
        &self.cluster
    }

    pub fn broker(&self) -> &BTreeMap<String, String> {
        &self.broker
    }

    pub fn fixed(&self, name: &str) -> Option<&Setting> {
        self.fixed.get(name)
    }

    /// What the layers say of `option`, strongest first, the default last. A read-only option is
    /// deaf to the dynamic layers.
    pub fn values(&self, option: &Opt) -> Vec<(Source, &str)> {
        let mut found = Vec::new();
        if !option.is_read_only() {
            found.extend(self.broker.get(option.name).map(|v| (Source::DynamicBroker, v.as_str())));
            found.extend(
                self.cluster.get(option.name).map(|v| (Source::DynamicCluster, v.as_str())),
            );
        }
        found.extend(
            self.fixed.get(option.name).map(|set| (Source::StaticBroker, set.value.as_str())),
        );
        found.extend(option.default_text().map(|text| (Source::Default, text)));
        found
    }

    /// The value that counts, checked; `None` is Kafka's null.
    pub fn effective(&self, option: &'static Opt) -> Result<Option<String>, ConfigError> {
        let Some((source, text)) = self.values(option).into_iter().next() else { return Ok(None) };
        let checked = option.check(text).map_err(|invalid| ConfigError {
            invalid: Box::new(invalid),
            place: self.place(option, source),
            allowed: option.allowed(),
            default: option.default_text().unwrap_or("not set"),
        })?;
        Ok(Some(checked))
    }

    fn place(&self, option: &Opt, source: Source) -> String {
        match self.fixed.get(option.name) {
            Some(setting) if source == Source::StaticBroker => setting.origin.to_string(),
            _ => source.to_string(),
        }
    }
}

impl From<InvalidValue> for ConfigError {
    fn from(invalid: InvalidValue) -> ConfigError {
        ConfigError {
            invalid: Box::new(invalid),
            place: "an unknown place".to_owned(),
            allowed: "see docs/configuration.md".to_owned(),
            default: "see docs/configuration.md",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Topic => "the topic",
            Source::DynamicBroker => "dynamic configuration of this broker",
            Source::DynamicCluster => "dynamic configuration of all brokers",
            Source::StaticBroker => "the start-up configuration",
            Source::Default => "the default",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line: Some(line) } => write!(f, "{path} line {line}"),
            Origin::File { path, line: None } => f.write_str(path),
            Origin::Environment { variable } => write!(f, "environment variable {variable}"),
            Origin::CommandLine => f.write_str("the command line"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::option::{Dynamic, Kind, at_least};
    use super::*;

    const SIZE: Opt = Opt::new("message.max.bytes", Kind::Int, "1048588")
        .range(at_least(0))
        .dynamic(Dynamic::ClusterWide);
    const COUNT: Opt = Opt::new("num.partitions", Kind::Int, "1").range(at_least(1));

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    fn fixed(name: &str, value: &str, origin: Origin) -> Layers {
        let setting = Setting { value: value.to_owned(), origin };
        Layers::new(BTreeMap::from([(name.to_owned(), setting)]))
    }

    #[test]
    fn the_strongest_layer_that_speaks_wins() {
        let mut layers = Layers::default();
        assert_eq!(layers.effective(&SIZE).unwrap().unwrap(), "1048588");
        layers = fixed("message.max.bytes", "1", Origin::CommandLine);
        assert_eq!(layers.effective(&SIZE).unwrap().unwrap(), "1");
        layers.set_cluster(one("message.max.bytes", "2"));
        assert_eq!(layers.effective(&SIZE).unwrap().unwrap(), "2");
        layers.set_broker(one("message.max.bytes", "3"));
        assert_eq!(layers.effective(&SIZE).unwrap().unwrap(), "3");
        let sources: Vec<_> = layers.values(&SIZE).into_iter().map(|(source, _)| source).collect();
        use Source::*;
        assert_eq!(sources, [DynamicBroker, DynamicCluster, StaticBroker, Default]);
    }

    #[test]
    fn a_read_only_option_is_deaf_to_the_dynamic_layers() {
        let mut layers = Layers::default();
        layers.set_broker(one("num.partitions", "9"));
        assert_eq!(layers.effective(&COUNT).unwrap().unwrap(), "1");
    }

    #[test]
    fn a_bad_value_is_named_with_its_place_and_what_is_allowed() {
        let origin = Origin::File { path: "server.properties".to_owned(), line: Some(12) };
        let error = fixed("num.partitions", "0", origin).effective(&COUNT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid value 0 for configuration num.partitions: Value must be at least 1 \
             (set by server.properties line 12; allowed: 1 or more; default: 1)"
        );
    }
}
