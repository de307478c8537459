//! The page that lists every option, written from the tables themselves.

use std::fmt::Write;

use super::broker::BROKER_OPTIONS;
use super::option::{Dynamic, Opt};
use super::topic::{STORED_OPTIONS, TOPIC_OPTIONS};
use super::unhonoured::{UNHONOURED, Unhonoured, Verdict};

const HEAD: &str = "\
# Configuration

Generated from the option tables in `src/config`; `OTTLA_WRITE_DOCS=1 cargo test docs` writes it.

Keys are Kafka's. Each layer wins over those before it: default, file (`--config FILE`),
environment (`KAFKA_NUM_PARTITIONS=3` or `OTTLA_NUM_PARTITIONS=3`), command line
(`-D num.partitions=3`), dynamic for all brokers, dynamic for this broker. A topic's own options win
over the broker's.

A file named `*.properties` is read by Java's rules, any other as TOML, where
`log.retention.ms = 5`, `\"log.retention.ms\" = 5` and `[log.retention]` with `ms = 5` are the same.
In both, `${env:NAME}` and `${file:PATH:KEY}` stand for an environment variable and a key of another
properties file.

Where the name of a key ends in its unit, a value may name another one of the same kind: `\"7d\"`,
`\"10s\"`, `\"500ms\"` (ms, s, min, h, d, w) for times, `\"1GiB\"` (B, KiB, MiB, GiB, TiB) for bytes.
What could mean two things (`5m`, `1GB`) is refused. Kafka's own tools, and Kafka where it reads the
same file, take plain numbers alone.

An unknown key is warned of, with the nearest known one; `--strict-config` makes it an error.
";

const BROKER_HEAD: &str = "
## Options of a broker

Dynamic options change while the broker runs (`kafka-configs`), the others need a restart.

";

const TOPIC_HEAD: &str = "
## Options of a topic

What a topic does not set, the broker's option decides.

";

const STORED_HEAD: &str = "
### Kept for Kafka's sake

Checked and stored with the topic; a line in the log says that they change nothing.

| key | why |
|---|---|
";

const UNHONOURED_HEAD: &str = "
## Keys of Kafka that are not honoured

They are noticed at the start in one line, or refused where ignoring them would be dangerous.

| key | what happens | why |
|---|---|---|
";

/// The whole page, in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(BROKER_HEAD);
    table(&mut page, BROKER_OPTIONS, |option| match option.dynamic {
        Dynamic::ReadOnly => "no".to_owned(),
        Dynamic::ClusterWide | Dynamic::Topic => "yes".to_owned(),
    });
    page.push_str(TOPIC_HEAD);
    table(&mut page, TOPIC_OPTIONS, |option| {
        option.broker_name.map_or_else(String::new, |name| format!("`{name}`"))
    });
    page.push_str(STORED_HEAD);
    for stored in STORED_OPTIONS {
        row(&mut page, &[&format!("`{}`", stored.option.name), stored.why]);
    }
    page.push_str(UNHONOURED_HEAD);
    for key in UNHONOURED {
        row(&mut page, &[&format!("`{}`", key.pattern), &what_happens(key), key.why]);
    }
    page
}

fn table(page: &mut String, options: &[Opt], last: impl Fn(&Opt) -> String) {
    let is_topic = options.iter().all(|option| option.dynamic == Dynamic::Topic);
    let last_title = if is_topic { "otherwise" } else { "dynamic" };
    row(page, &["key", "type", "allowed", "default", last_title, "what it does"]);
    page.push_str("|---|---|---|---|---|---|\n");
    let mut sorted: Vec<_> = options.iter().collect();
    sorted.sort_by_key(|option| option.name);
    for option in sorted {
        let cells = [
            format!("`{}`", option.name),
            option.kind.to_string().to_lowercase(),
            option.allowed(),
            default(option),
            last(option),
            option.doc_text().to_owned(),
        ];
        row(page, &cells.each_ref().map(String::as_str));
    }
}

fn default(option: &Opt) -> String {
    let ours = match option.default_text() {
        None => "not set".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    match option.kafka_default_text() {
        None => ours,
        Some(kafka) => format!("{ours} (Kafka: {kafka})"),
    }
}

fn what_happens(key: &Unhonoured) -> String {
    match key.verdict {
        Verdict::Notice => "noticed".to_owned(),
        Verdict::RefuseUnless("") => "refused unless empty".to_owned(),
        Verdict::RefuseUnless(value) => format!("refused unless {value}"),
        Verdict::RefuseMany => "refused when it names more than one".to_owned(),
    }
}

fn row(page: &mut String, cells: &[&str]) {
    writeln!(page, "| {} |", cells.join(" | ").replace("  |", " |"))
        .expect("writing to a string does not fail");
}
