//! The option tables against the facts of a real Kafka, the docs, and the code that reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ottla::config::broker::BROKER_OPTIONS;
use ottla::config::docs;
use ottla::config::layers::Layers;
use ottla::config::option::{Opt, find};
use ottla::config::topic::{STORED_OPTIONS, TOPIC_OPTIONS, fallbacks};
use ottla::config::unhonoured;
use ottla::config::{describe, option};

/// Every key that Kafka 4.4.0 describes: entity, name, type, dynamic, sensitive, default, synonyms.
const FACTS: &str = include_str!("golden/configs-4.4.0.tsv");

/// Where our default is not Kafka's, on purpose; `docs/configuration.md` shows each.
const OTHER_DEFAULTS: &[&str] = &[
    "controller.listener.names",
    "flush.messages",
    "listeners",
    "log.dir",
    "log.flush.interval.messages",
    "node.id",
    "process.roles",
    "queued.max.request.bytes",
];

/// Dynamic in Kafka, and here only at the start.
const NOT_DYNAMIC: &[&str] = &["listener.security.protocol.map", "listeners"];

struct Fact<'a> {
    kind: &'a str,
    is_dynamic: bool,
    default: &'a str,
    synonyms: &'a str,
}

fn facts(entity: &str) -> BTreeMap<&'static str, Fact<'static>> {
    let rows = FACTS.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let of_entity = rows.filter(|row| row[0] == entity);
    of_entity
        .map(|row| {
            let is_dynamic = row[3] == "yes";
            let (kind, default, synonyms) = (row[2], row[5], row.get(6).copied().unwrap_or(""));
            (row[1], Fact { kind, is_dynamic, default, synonyms })
        })
        .collect()
}

fn agrees(option: &Opt, fact: &Fact<'_>) {
    let name = option.name;
    assert_eq!(option.kind.to_string().to_lowercase(), fact.kind, "{name}: type");
    let is_dynamic = fact.is_dynamic && !NOT_DYNAMIC.contains(&name);
    assert_eq!(!option.is_read_only(), is_dynamic, "{name}: dynamic");
    let kafka = option.kafka_default_text();
    assert_eq!(kafka.is_some(), OTHER_DEFAULTS.contains(&name), "{name}: a default of our own");
    match kafka.or(option.default_text()) {
        Some("none") => assert_eq!(fact.default, "(set by the test)", "{name}: default"),
        Some(text) => assert_eq!(text, fact.default, "{name}: default"),
        None => assert!(["null", "(set by the test)"].contains(&fact.default), "{name}: default"),
    }
}

#[test]
fn broker_options_are_kafkas() {
    let facts = facts("broker");
    for option in BROKER_OPTIONS {
        agrees(option, facts.get(option.name).expect("Kafka has the option"));
    }
}

#[test]
fn topic_options_are_kafkas_all_of_them() {
    let mut facts = facts("topic");
    let stored = STORED_OPTIONS.iter().map(|stored| &stored.option);
    for option in TOPIC_OPTIONS {
        let fact = facts.remove(option.name).expect("Kafka has the option");
        agrees(option, &fact);
        if !fact.synonyms.is_empty() {
            assert_eq!(option.broker_name, Some(fact.synonyms), "{}: synonym", option.name);
        }
    }
    for option in stored {
        let fact = facts.remove(option.name).expect("Kafka has the option");
        assert_eq!(option.kind.to_string().to_lowercase(), fact.kind, "{}", option.name);
        assert_eq!(option.default_text(), Some(fact.default), "{}", option.name);
    }
    assert_eq!(facts.keys().collect::<Vec<_>>(), Vec::<&&str>::new(), "options of Kafka not known");
}

#[test]
fn every_broker_key_of_kafka_is_honoured_or_answered() {
    // Taken as the old name of node.id.
    const ALIAS: &str = "broker.id";
    for name in facts("broker").into_keys().filter(|name| *name != ALIAS) {
        let is_known = find(BROKER_OPTIONS, name).is_some() || unhonoured::find(name).is_some();
        assert!(is_known, "{name}: honour it, or say in unhonoured.rs why not");
    }
}

#[test]
fn descriptions_of_a_fresh_broker_agree_with_kafka() {
    let layers = Layers::default();
    let facts = facts("topic");
    for entry in describe::describe_topic(&BTreeMap::new(), &layers) {
        let fact = &facts[entry.name.as_str()];
        if !OTHER_DEFAULTS.contains(&entry.name.as_str()) {
            assert_eq!(entry.value.as_deref(), Some(fact.default), "{}", entry.name);
        }
        // Where Kafka names no synonym, the broker's option of the same name may still be one.
        let own = entry.synonyms.first().map_or("", |synonym| synonym.name.as_str());
        let expected = if own == entry.name { "" } else { own };
        assert_eq!(expected, fact.synonyms, "{}: synonyms", entry.name);
    }
    assert_eq!(describe::describe_broker(&layers).len(), BROKER_OPTIONS.len());
}

#[test]
fn names_are_unique_and_documented() {
    for table in [BROKER_OPTIONS, TOPIC_OPTIONS] {
        let names: BTreeSet<_> = table.iter().map(|option| option.name).collect();
        assert_eq!(names.len(), table.len());
        for option in table {
            assert!(option.doc_text().ends_with('.'), "{}: a sentence for people", option.name);
        }
    }
}

/// `OTTLA_WRITE_DOCS=1` writes the page instead.
#[test]
fn docs_of_the_options_are_current() {
    let path = "docs/configuration.md";
    if std::env::var_os("OTTLA_WRITE_DOCS").is_some() {
        fs::write(path, docs::page()).unwrap();
    }
    let page = fs::read_to_string(path).unwrap_or_default();
    assert!(page == docs::page(), "{path} is stale: OTTLA_WRITE_DOCS=1 cargo test docs");
}

/// An option that is listed is honoured: its field is read somewhere outside the tests.
#[test]
fn every_option_is_read_by_the_code() {
    let code = code();
    let is_read = |name: &str| code.contains(&name.replace('.', "_"));
    let mut unread = BTreeSet::new();
    let mut served_by_topics = BTreeSet::new();
    for option in TOPIC_OPTIONS {
        if is_read(option.name) {
            let brokers = fallbacks(option.broker_name.unwrap_or(option.name));
            served_by_topics.extend(brokers.into_iter().map(|(name, _)| name));
        } else {
            unread.insert(option.name);
        }
    }
    for option in BROKER_OPTIONS {
        if !is_read(option.name) && !served_by_topics.contains(option.name) {
            unread.insert(option.name);
        }
    }
    assert!(unread.is_empty(), "declared, but no code reads them: {unread:?}");
}

/// Every `.name` in `src`, without the tests at the end of files.
fn code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![Path::new("src").to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
            for rest in code.split('.').skip(1) {
                names.insert(
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect(),
                );
            }
        }
    }
    names
}

#[test]
fn lists_are_split_as_kafka_splits_them() {
    assert_eq!(option::split_list(" a , b,c "), ["a", "b", "c"]);
    assert!(option::split_list("  ").is_empty());
}
