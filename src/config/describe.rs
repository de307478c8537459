//! What DescribeConfigs says of an option: value, where it comes from, and who else had a say.
//!
//! Synonyms stand in order of precedence, the effective one first. As in Kafka, a broker option
//! that is null has none, so a topic option whose milliseconds come from the broker's minutes or
//! hours shows none either.

use std::collections::BTreeMap;

use super::broker::BROKER_OPTIONS;
use super::layers::{Layers, Source};
use super::option::{Kind, Opt, find};
use super::topic::{TOPIC_OPTIONS, fallbacks, inherited, override_option};
use super::unhonoured;

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    /// `None` when null, or not to be shown.
    pub value: Option<String>,
    pub source: Source,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    pub kind: Kind,
    pub doc: String,
    pub synonyms: Vec<Synonym>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synonym {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// Every option of this broker, and what is set dynamically beside them; sorted by name.
pub fn describe_broker(layers: &Layers) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        BROKER_OPTIONS.iter().map(|option| broker_entry(option, layers)).collect();
    let dynamic =
        [(Source::DynamicBroker, layers.broker()), (Source::DynamicCluster, layers.cluster())];
    let mut strangers: BTreeMap<&str, Vec<Synonym>> = BTreeMap::new();
    for (source, values) in dynamic {
        for (name, value) in values {
            if find(BROKER_OPTIONS, name).is_none() {
                strangers.entry(name).or_default().push(shown(name, value, source));
            }
        }
    }
    entries.extend(strangers.into_iter().map(|(name, synonyms)| stranger(name, synonyms)));
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// What is set for all brokers at once: the resource with the empty name.
pub fn describe_cluster(layers: &Layers) -> Vec<Entry> {
    let entry = |(name, value): (&String, &String)| {
        let synonyms = vec![shown(name, value, Source::DynamicCluster)];
        match find(BROKER_OPTIONS, name) {
            Some(option) => entry_of(option, Some(value.clone()), synonyms),
            None => stranger(name, synonyms),
        }
    };
    layers.cluster().iter().map(entry).collect()
}

/// Every option of a topic, and what it stores beside them; sorted by name.
pub fn describe_topic(overrides: &BTreeMap<String, String>, layers: &Layers) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        TOPIC_OPTIONS.iter().map(|option| topic_entry(option, overrides, layers)).collect();
    for (name, value) in overrides {
        if find(TOPIC_OPTIONS, name).is_some() {
            continue;
        }
        let synonyms =
            vec![Synonym { name: name.clone(), value: Some(value.clone()), source: Source::Topic }];
        entries.push(match override_option(name) {
            Some(option) => entry_of(option, Some(canonical(option, value)), synonyms),
            None => stranger(name, synonyms),
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn broker_entry(option: &'static Opt, layers: &Layers) -> Entry {
    let value = layers.values(option).first().map(|(_, text)| canonical(option, text));
    entry_of(option, value, broker_synonyms(option.name, layers))
}

fn topic_entry(
    option: &'static Opt,
    overrides: &BTreeMap<String, String>,
    layers: &Layers,
) -> Entry {
    let own = overrides.get(option.name).map(|text| canonical(option, text));
    let mut synonyms = Vec::new();
    if let Some(value) = &own {
        let (name, value) = (option.name.to_owned(), Some(value.clone()));
        synonyms.push(Synonym { name, value, source: Source::Topic });
    }
    if let Some(name) = option.broker_name {
        synonyms.extend(broker_synonyms(name, layers));
    }
    let value = own.or_else(|| match inherited(option, layers) {
        Ok(value) => value,
        Err(_) => option.default_text().map(str::to_owned),
    });
    entry_of(option, value, synonyms)
}

/// The layers of a broker option, then those of the options it falls back on.
fn broker_synonyms(name: &'static str, layers: &Layers) -> Vec<Synonym> {
    let mut synonyms = Vec::new();
    for (name, _) in fallbacks(name) {
        let Some(option) = find(BROKER_OPTIONS, name) else { continue };
        let values = layers.values(option);
        if values.is_empty() && synonyms.is_empty() {
            return synonyms;
        }
        synonyms.extend(values.into_iter().map(|(source, text)| Synonym {
            name: name.to_owned(),
            value: (!option.is_sensitive()).then(|| canonical(option, text)),
            source,
        }));
    }
    synonyms
}

fn entry_of(option: &Opt, value: Option<String>, synonyms: Vec<Synonym>) -> Entry {
    Entry {
        name: option.name.to_owned(),
        value: if option.is_sensitive() { None } else { value },
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        is_read_only: option.is_read_only(),
        is_sensitive: option.is_sensitive(),
        kind: option.kind,
        doc: option.doc_text().to_owned(),
        synonyms,
    }
}

/// A key that is set but that no option of ours has. Of an unknown one we cannot tell whether its
/// value is a secret, so it is not shown.
fn stranger(name: &str, synonyms: Vec<Synonym>) -> Entry {
    let why = unhonoured::find(name).map(|key| key.why);
    Entry {
        name: name.to_owned(),
        value: synonyms.first().and_then(|synonym| synonym.value.clone()),
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        is_read_only: false,
        is_sensitive: synonyms.first().is_some_and(|synonym| synonym.value.is_none()),
        kind: Kind::String,
        doc: format!("Kept, but not honoured: {}.", why.unwrap_or("no option has this name")),
        synonyms,
    }
}

fn shown(name: &str, value: &str, source: Source) -> Synonym {
    let visible = find(BROKER_OPTIONS, name).is_some_and(|option| !option.is_sensitive())
        || unhonoured::find(name).is_some_and(|key| !key.is_secret());
    Synonym { name: name.to_owned(), value: visible.then(|| value.to_owned()), source }
}

/// As Kafka prints it; a stored value that is no longer valid is shown as it is.
fn canonical(option: &Opt, text: &str) -> String {
    option.check(text).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Origin, Setting};
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The settings of a real Kafka whose answers the tests below were compared with.
    fn layers() -> Layers {
        let fixed = map(&[
            ("log.retention.minutes", "600"),
            ("log.roll.ms", "7200000"),
            ("message.max.bytes", "2000000"),
        ]);
        let setting = |value| Setting { value, origin: Origin::CommandLine };
        let mut layers =
            Layers::new(fixed.into_iter().map(|(name, value)| (name, setting(value))).collect());
        layers.set_cluster(map(&[("message.max.bytes", "3000000"), ("log.cleaner.threads", "2")]));
        layers.set_broker(map(&[("log.segment.bytes", "2000000"), ("bogus", "1")]));
        layers
    }

    fn line(entries: &[Entry], name: &str) -> String {
        let entry = entries.iter().find(|entry| entry.name == name).unwrap();
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        let synonyms: Vec<_> = entry
            .synonyms
            .iter()
            .map(|synonym| {
                format!("{:?}:{}={}", synonym.source, synonym.name, show(&synonym.value))
            })
            .collect();
        format!("{} {{{}}}", show(&entry.value), synonyms.join(", "))
    }

    #[test]
    fn a_topic_shows_its_override_and_then_every_layer_of_the_broker() {
        let overrides = map(&[("retention.ms", "1000"), ("max.message.bytes", "5000")]);
        let entries = describe_topic(&overrides, &layers());
        assert_eq!(
            line(&entries, "max.message.bytes"),
            "5000 {Topic:max.message.bytes=5000, DynamicCluster:message.max.bytes=3000000, \
             StaticBroker:message.max.bytes=2000000, Default:message.max.bytes=1048588}"
        );
        assert_eq!(line(&entries, "retention.ms"), "1000 {Topic:retention.ms=1000}");
        assert_eq!(
            line(&entries, "segment.ms"),
            "7200000 {StaticBroker:log.roll.ms=7200000, Default:log.roll.hours=168}"
        );
        assert_eq!(
            line(&entries, "segment.bytes"),
            "2000000 {DynamicBroker:log.segment.bytes=2000000, \
             Default:log.segment.bytes=1073741824}"
        );
        assert_eq!(line(&entries, "flush.ms"), "9223372036854775807 {}");
        assert_eq!(
            line(&describe_topic(&BTreeMap::new(), &layers()), "retention.ms"),
            "36000000 {}",
            "the value comes from the minutes, which Kafka does not name"
        );
    }

    #[test]
    fn a_broker_shows_coarser_units_as_synonyms() {
        let entries = describe_broker(&layers());
        assert_eq!(line(&entries, "log.retention.ms"), "null {}");
        assert_eq!(
            line(&entries, "log.retention.minutes"),
            "600 {StaticBroker:log.retention.minutes=600, Default:log.retention.hours=168}"
        );
        assert_eq!(line(&entries, "log.retention.hours"), "168 {Default:log.retention.hours=168}");
        assert!(entries.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn what_no_option_honours_is_shown_only_when_it_cannot_be_a_secret() {
        let entries = describe_broker(&layers());
        assert_eq!(
            line(&entries, "log.cleaner.threads"),
            "2 {DynamicCluster:log.cleaner.threads=2}"
        );
        assert_eq!(line(&entries, "bogus"), "null {DynamicBroker:bogus=null}");
        let bogus = entries.iter().find(|entry| entry.name == "bogus").unwrap();
        assert!(bogus.is_sensitive);
        let names: Vec<_> =
            describe_cluster(&layers()).into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["log.cleaner.threads", "message.max.bytes"]);
    }

    #[test]
    fn a_topic_shows_what_it_stores_for_kafkas_sake() {
        let entries = describe_topic(&map(&[("delete.retention.ms", "100")]), &layers());
        let entry = entries.iter().find(|entry| entry.name == "delete.retention.ms").unwrap();
        assert_eq!((entry.kind, entry.value.as_deref()), (Kind::Long, Some("100")));
        assert!(!entries.iter().any(|entry| entry.name == "min.compaction.lag.ms"));
    }
}
