//! A run as one page for the browser: what was planned, what happened, what broke.
//!
//! Pure: from the plan, the report, the history and the trace to text. The page holds everything it
//! needs, asks nothing of any network, and is built of the files in `report/`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::history;
use crate::plan::Plan;
use crate::plan::clients::TopicPlan;
use crate::plan::fault::Class;
use crate::run::{Kind, Report};
use crate::trace;

pub mod clients;
pub mod events;
pub mod nodes;
pub mod series;

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPTS: [&str; 5] = [
    include_str!("report/page.js"),
    include_str!("report/events.js"),
    include_str!("report/lanes.js"),
    include_str!("report/timeline.js"),
    include_str!("report/begin.js"),
];

/// Trace entries that are worth keeping for a page. What is older is not shown.
pub const TRACE_KEPT_MAX: usize = 2_000_000;

/// What a page is made of.
pub struct Source<'a> {
    pub plan: &'a Plan,
    pub report: &'a Report,
    pub history: &'a [history::Entry],
    pub trace: &'a [trace::Entry],
    pub topics: &'a BTreeMap<String, String>,
    /// What replays it.
    pub command: &'a str,
    pub commit: &'a str,
}

/// What the page's scripts read, times in microseconds of the run.
#[derive(Serialize)]
struct Page<'a> {
    sound: bool,
    title: String,
    over: Vec<(&'static str, String)>,
    sentence: String,
    evidence: String,
    facts: Vec<(&'static str, String)>,
    summary: Vec<String>,
    commands: Vec<(&'static str, String)>,
    end_us: u64,
    calm_us: u64,
    violation_us: Option<u64>,
    /// What stands at the violation.
    flag: String,
    classes: Vec<FaultClass>,
    places: Vec<String>,
    kinds: [&'static str; events::KINDS.len()],
    /// Kinds whose events deserve a second look.
    seldom: Vec<usize>,
    nodes: Vec<nodes::Node>,
    series: Vec<series::Series>,
    operations: [&'static str; clients::OUTCOMES.len()],
    operation_words: BTreeMap<&'static str, &'static str>,
    clients: Vec<clients::Client>,
    events: events::Columns,
    /// Ordinals of the events that broke the invariant.
    marked: Vec<u64>,
    capped: Vec<String>,
    options: Vec<(String, String, String)>,
    planned: Vec<(String, String, String)>,
    /// What else came about, and how often.
    coverage: Vec<(String, String)>,
    plan: &'a Plan,
}

#[derive(Serialize)]
struct FaultClass {
    name: String,
    text: &'static str,
    count: u64,
}

pub fn page(source: &Source) -> String {
    let Source { plan, report, trace, .. } = *source;
    let places = events::places(trace);
    let (clients, clients_capped) = clients::clients(source);
    let (columns, events_capped) = events::columns(source, &places);
    let last_us = trace.last().map_or(0, |entry| micros(entry.at));
    let failure = report.failure.as_ref();
    let page = Page {
        sound: failure.is_none(),
        title: title(report),
        over: vec![
            ("Ottla's simulator, seed", plan.seed.to_string()),
            ("commit", source.commit.to_string()),
            ("trace", format!("{:016x}", report.hash)),
        ],
        sentence: sentence(report),
        evidence: failure.map_or(String::new(), |failure| named(source, &failure.evidence)),
        facts: facts(source),
        summary: summary(source),
        commands: commands(source),
        end_us: last_us.max(1),
        calm_us: plan.lasts_ms * 1000,
        violation_us: failure.map(|_| last_us),
        flag: failure.map_or(String::new(), |failure| match failure.invariant {
            Some(invariant) => format!("{invariant:?}"),
            None => format!("{:?}", failure.kind).to_lowercase(),
        }),
        classes: classes(report),
        kinds: events::KINDS.map(|kind| kind.name()),
        seldom: events::seldom(),
        nodes: nodes::nodes(source, &places),
        series: series::series(source),
        operations: clients::OUTCOMES.map(|outcome| outcome.name()),
        operation_words: clients::OUTCOMES.iter().map(|o| (o.name(), o.words())).collect(),
        clients,
        events: columns,
        marked: events::marked(source),
        capped: [clients_capped, events_capped].into_iter().flatten().collect(),
        options: options(plan),
        planned: nodes::planned(plan),
        coverage: report.coverage.iter().map(|(what, n)| (what.clone(), thousands(*n))).collect(),
        places,
        plan,
    };
    // `<` would end the script that the data stands in.
    let data = serde_json::to_string(&page).expect("a page is plain data").replace('<', "\\u003c");
    let title = page.title.replace('<', "&lt;");
    let parts = [("style", STYLE), ("script", &SCRIPTS.join("\n")), ("title", &title)];
    let html = parts.iter().fold(PAGE.to_string(), |html, (name, text)| {
        html.replacen(&format!("{{{{{name}}}}}"), text, 1)
    });
    // Last, because it may hold anything.
    html.replacen("{{data}}", &data, 1)
}

pub fn micros(at: std::time::Duration) -> u64 {
    at.as_micros() as u64
}

/// The names of topics by their ids, as the clients came to know them.
pub fn topics(history: &[history::Entry]) -> BTreeMap<String, String> {
    let mut topics = BTreeMap::new();
    for entry in history {
        if let history::What::Topic { name, id, .. } = &entry.what {
            topics.insert(id.clone(), name.clone());
        }
    }
    topics
}

/// Topics by their names.
fn named(source: &Source, words: &str) -> String {
    let rename = |words: String, (id, name): (&String, &String)| words.replace(id, name);
    source.topics.iter().fold(words.to_string(), rename)
}

fn title(report: &Report) -> String {
    let seed = report.seed;
    match &report.failure {
        None => format!("Seed {seed} is sound"),
        Some(failure) => match (failure.invariant, failure.kind) {
            (Some(invariant), _) => format!("Seed {seed} breaks {invariant:?}"),
            (None, Kind::Panic) => format!("Seed {seed}: the broker panics"),
            (None, kind) => format!("Seed {seed} fails ({kind:?})"),
        },
    }
}

fn sentence(report: &Report) -> String {
    let struck: u64 = report.faults.values().sum();
    match &report.failure {
        None => format!(
            "Everything held: {} records were acknowledged under {} faults, and no promise was \
             broken.",
            thousands(report.acknowledged),
            thousands(struck),
        ),
        Some(failure) => match failure.invariant {
            Some(invariant) => format!(
                "{} {invariant:?} does not hold: {}.",
                if invariant.is_liveness() { "Liveness:" } else { "Safety:" },
                invariant.describe()
            ),
            None if failure.kind == Kind::Panic => {
                "The broker panicked, failed an assertion, or stopped by itself.".to_string()
            }
            None => "The simulator itself is at fault, or the run proved nothing.".to_string(),
        },
    }
}

fn facts(source: &Source) -> Vec<(&'static str, String)> {
    let (report, records) = (source.report, clients::records(source.history));
    vec![
        ("simulated", format!("{:.1} s", report.simulated_ms as f64 / 1000.0)),
        ("events", thousands(report.events)),
        ("faults", thousands(report.faults.values().sum())),
        ("acknowledged", thousands(records[0])),
        ("unknown", thousands(records[1])),
        ("refused", thousands(records[2])),
    ]
}

/// Who meets, over what; what befell them.
fn summary(source: &Source) -> Vec<String> {
    let Source { plan, report, .. } = source;
    let json = serde_json::to_value(plan).expect("a plan is plain data");
    let who: Vec<String> = ["broker", "producer", "consumer", "admin", "peer"]
        .iter()
        .map(|who| (who, json[format!("{who}s")].as_array().map_or(0, Vec::len)))
        .filter(|(_, count)| *count > 0)
        .map(|(who, count)| counted(count as u64, who))
        .collect();
    let topics: Vec<String> = plan.topics.iter().map(topic).collect();
    let struck: Vec<String> =
        report.faults.iter().map(|(class, count)| format!("{} {count}", name(*class))).collect();
    let struck = if struck.is_empty() { "none".to_string() } else { struck.join(", ") };
    let lasts = plan.lasts_ms as f64 / 1000.0;
    vec![
        format!("{} over {}.", who.join(", "), topics.join(", ")),
        match report.simulated_ms < plan.lasts_ms {
            true => format!("Faults were to strike for {lasts} s. Those that did: {struck}."),
            false => format!("Faults for {lasts} s: {struck}. Then everything healed."),
        },
    ]
}

fn topic(topic: &TopicPlan) -> String {
    let configs = topic.configs.iter().map(|(name, value)| format!(", {name}={value}"));
    let partitions = counted(topic.partitions.into(), "partition");
    format!("{} ({partitions}{})", topic.name, configs.collect::<String>())
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn commands(source: &Source) -> Vec<(&'static str, String)> {
    let mut commands = vec![("Replay", source.command.to_string())];
    if source.report.failure.is_some() {
        commands.push(("Shrink", source.command.replacen("replay", "shrink", 1)));
    }
    commands
}

fn classes(report: &Report) -> Vec<FaultClass> {
    let class = |class: Class| FaultClass {
        name: name(class),
        text: class.describe(),
        count: report.faults.get(&class).copied().unwrap_or_default(),
    };
    Class::ALL.map(class).into()
}

/// `PowerLoss` as people write it.
fn name(class: Class) -> String {
    let mut words = String::new();
    for letter in format!("{class:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn options(plan: &Plan) -> Vec<(String, String, String)> {
    let of = |index: usize| {
        let options = &plan.brokers[index].options;
        options
            .iter()
            .map(move |(name, value)| (format!("broker-{index}"), name.clone(), value.clone()))
    };
    (0..plan.brokers.len()).flat_map(of).collect()
}

pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ottla::env::probe::Event;
    use ottla::types::{Offset, Uuid};
    use serde_json::Value;

    use super::*;
    use crate::check::Invariant;
    use crate::run::Failure;
    use crate::trace::{Trace, What};

    const TOPIC: Uuid = Uuid([7; 16]);

    /// A process that starts and says that a log is durable, and a producer that knows it.
    fn trace() -> Vec<trace::Entry> {
        let trace = Trace::default();
        let durable = Event::Durable { topic: TOPIC, partition: 1, end: Offset(3) };
        trace.record(Duration::from_micros(5), "broker-0", What::Start { incarnation: 1 });
        trace.record(Duration::from_micros(7), "broker-0", What::Probe(durable));
        trace.kept()
    }

    fn history() -> Vec<history::Entry> {
        let topic = history::incarnation("orders", TOPIC);
        let lines = format!(
            r#"{{"at":1000,"what":"topic","topic":"{topic}","name":"orders","id":"{TOPIC}","partitions":2}}
               {{"at":2000,"what":"produce","topic":"{topic}","partition":1,"batch":0,"records":[1,2],"acks":-1,"idempotent":true,"once":true,"ordered":true,"bytes":0}}
               {{"at":9000,"what":"produced","batch":0,"base":1}}"#
        );
        history::parse(&lines.replace(r#""what""#, r#""process":"producer-0","what""#)).unwrap()
    }

    fn page_of(evidence: Option<&str>) -> String {
        let (plan, trace, history) = (Plan::draw(4, 60_000), trace(), history());
        let failure = evidence.map(|evidence| Failure {
            kind: Kind::Safety,
            invariant: Some(Invariant::I9),
            evidence: evidence.to_string(),
            events: vec![],
        });
        let report = Report { seed: 4, events: 2, failure, ..Report::default() };
        let topics = &topics(&history);
        let (command, commit) = ("cargo sim replay 4", "1a2b3c4");
        let source = Source {
            plan: &plan,
            report: &report,
            history: &history,
            trace: &trace,
            topics,
            command,
            commit,
        };
        page(&source)
    }

    fn data(page: &str) -> Value {
        let (_, after) = page.split_once("id=\"data\">").unwrap();
        let (json, _) = after.split_once("</script>").unwrap();
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_page_asks_nothing_of_any_network() {
        let page = page_of(None);
        for reference in
            ["http:", "https:", "//cdn", "src=", "<link", "@import", "url(", "fetch(", "{{"]
        {
            let (template, after) = page.split_once("id=\"data\">").unwrap();
            let scripts = after.split_once("</script>").unwrap().1;
            assert!(!template.contains(reference), "the head has {reference}");
            assert!(!scripts.contains(reference), "the scripts have {reference}");
        }
    }

    #[test]
    fn the_data_says_what_happened_whatever_is_in_it() {
        let evidence = format!("log {TOPIC}-1 </script><script>alert({{{{title}}}})");
        let page = page_of(Some(&evidence));
        assert_eq!(page.matches("<script").count(), 2);
        let data = data(&page);
        assert_eq!(data["evidence"], "log orders-1 </script><script>alert({{title}})");
        assert_eq!((&data["sound"], &data["flag"]), (&false.into(), &"I9".into()));
        assert_eq!(data["violation_us"], 7);
        assert_eq!(data["nodes"][0]["lives"][0][0], 5);
        assert_eq!(data["series"][0]["name"], "orders-1");
        assert_eq!(data["series"][0]["lines"][1]["value"][0], 3);
        assert_eq!(data["events"]["ordinal"].as_array().unwrap().len(), 2);
        let batch = &data["clients"][0]["operations"][0];
        assert_eq!((&batch[0], &batch[1]), (&2.into(), &9.into()));
        assert_eq!(batch[3], "batch 0 of 2 records to orders-1: acknowledged at offset 1");
    }

    #[test]
    fn the_event_that_broke_it_is_marked() {
        let data = data(&page_of(Some(&format!("broker-0: log {TOPIC}-1 is not durable"))));
        assert_eq!(data["marked"], Value::from(vec![2]));
    }
}
