//! What clients did, as bars: from the call to what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Source, thousands};
use crate::history::{Entry, What};

/// More operations than these make the page slow.
const OPERATIONS_MAX: usize = 60_000;

/// What came of an operation, the worst last: it is drawn on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Read,
    Acknowledged,
    Other,
    Unknown,
    Refused,
}

pub const OUTCOMES: [Outcome; 5] =
    [Outcome::Read, Outcome::Acknowledged, Outcome::Other, Outcome::Unknown, Outcome::Refused];

impl Outcome {
    /// Also the name of its colour.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Read => "read",
            Outcome::Acknowledged => "ack",
            Outcome::Other => "admin",
            Outcome::Unknown => "unknown",
            Outcome::Refused => "refused",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Outcome::Read => "read",
            Outcome::Acknowledged => "acknowledged",
            Outcome::Other => "administration",
            Outcome::Unknown => "unknown",
            Outcome::Refused => "refused",
        }
    }

    fn is_usual(self) -> bool {
        matches!(self, Outcome::Read | Outcome::Acknowledged)
    }
}

#[derive(Serialize)]
pub struct Client {
    name: String,
    /// The node it ran on, where its lane stands.
    node: Option<String>,
    /// From, to, outcome, words, whether the evidence speaks of it.
    operations: Vec<(u64, u64, usize, String, bool)>,
}

/// How many records were acknowledged, have an unknown fate, were refused.
pub fn records(history: &[Entry]) -> [u64; 3] {
    let mut sent: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    let mut records = [0; 3];
    for entry in history {
        let mut settle = |batch: &u64, fate: usize| {
            records[fate] += sent.remove(&(&entry.process, *batch)).unwrap_or_default();
        };
        match &entry.what {
            What::Produce { batch, records, .. } => {
                sent.insert((&entry.process, *batch), records.len() as u64);
            }
            What::Produced { batch, .. } => settle(batch, 0),
            What::Unknown { batch, .. } => settle(batch, 1),
            What::Refused { batch, .. } => settle(batch, 2),
            _ => {}
        }
    }
    records[1] += sent.values().sum::<u64>();
    records
}

/// What one process began and has not ended yet.
type Begun = BTreeMap<(Kind, u64), (u64, String)>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Batch,
    Resend,
    Request,
}

/// What an entry of the history means for its process's lane.
enum Step {
    Begins(Kind, u64, String),
    Ends(Kind, u64, Outcome, String),
    /// Began at that time, in nanoseconds.
    Whole(u64, Outcome, String),
}

/// And what had to be left out.
pub fn clients(source: &Source) -> (Vec<Client>, Option<String>) {
    let evidence = source.report.failure.as_ref().map_or("", |failure| &failure.evidence);
    let mut clients: BTreeMap<&str, (Begun, Client)> = BTreeMap::new();
    for entry in source.history {
        let Some(step) = step(&entry.what) else { continue };
        let (begun, client) = clients.entry(&entry.process).or_insert_with(|| {
            let (name, node) = (entry.process.clone(), node_of(source, &entry.process));
            (Begun::new(), Client { name, node, operations: vec![] })
        });
        let at = entry.at / 1000;
        match step {
            Step::Begins(kind, number, words) => {
                begun.insert((kind, number), (at, words));
            }
            Step::Ends(kind, number, outcome, end) => {
                let Some((from, words)) = begun.remove(&(kind, number)) else { continue };
                client.add(from, at, outcome, format!("{words}: {end}"), evidence);
            }
            Step::Whole(asked_ns, outcome, words) => {
                client.add(asked_ns / 1000, at, outcome, words, evidence);
            }
        }
    }
    let end = source.trace.last().map_or(0, |entry| super::micros(entry.at));
    let close = |(begun, mut client): (Begun, Client)| {
        for (from, words) in begun.into_values() {
            client.add(from, end, Outcome::Unknown, format!("{words}: no answer"), evidence);
        }
        client.operations.sort();
        client
    };
    let mut clients: Vec<Client> = clients.into_values().map(close).collect();
    let capped = thin(&mut clients);
    (clients, capped)
}

impl Client {
    fn add(&mut self, from: u64, to: u64, outcome: Outcome, words: String, evidence: &str) {
        let name = words.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let marked = evidence.contains(&format!("{name} of {}", self.name));
        let outcome = OUTCOMES.iter().position(|known| *known == outcome).expect("it is listed");
        self.operations.push((from, to.max(from), outcome, words, marked));
    }
}

/// The node that a process runs on has its name.
fn node_of(source: &Source, process: &str) -> Option<String> {
    let mut starts =
        source.trace.iter().filter(|entry| matches!(entry.what, crate::trace::What::Start { .. }));
    starts.any(|entry| *entry.place == *process).then(|| process.to_string())
}

fn step(what: &What) -> Option<Step> {
    let step = match what {
        What::Produce { topic, partition, batch, records, .. } => {
            let words = format!(
                "batch {batch} of {} to {}-{partition}",
                records_of(records),
                name_of(topic)
            );
            Step::Begins(Kind::Batch, *batch, words)
        }
        What::Produced { batch, base, .. } => {
            let at = base.map_or("somewhere".to_string(), |base| format!("at offset {base}"));
            Step::Ends(Kind::Batch, *batch, Outcome::Acknowledged, format!("acknowledged {at}"))
        }
        What::Refused { batch, code, .. } => {
            Step::Ends(Kind::Batch, *batch, Outcome::Refused, format!("refused, code {code}"))
        }
        What::Unknown { batch, .. } => {
            Step::Ends(Kind::Batch, *batch, Outcome::Unknown, "unknown".to_string())
        }
        What::Resend { batch } => {
            Step::Begins(Kind::Resend, *batch, format!("batch {batch} is sent once more"))
        }
        What::Resent { batch, code, base, .. } => {
            let words = format!("code {code}, offset {base:?}");
            Step::Ends(Kind::Resend, *batch, Outcome::Other, words)
        }
        What::Ask { op, operation } => Step::Begins(Kind::Request, *op, format!("{operation:?}")),
        What::Answered { op, answer } => {
            Step::Ends(Kind::Request, *op, Outcome::Other, format!("{answer:?}"))
        }
        What::Denied { op, code } => {
            Step::Ends(Kind::Request, *op, Outcome::Refused, format!("denied, code {code}"))
        }
        What::Unanswered { op, .. } => {
            Step::Ends(Kind::Request, *op, Outcome::Unknown, "no answer".to_string())
        }
        What::Read { topic, partition, base, records, asked, .. } => {
            let words = format!(
                "reads {} of {}-{partition} from {base} on",
                records_of(records),
                name_of(topic)
            );
            Step::Whole(*asked, Outcome::Read, words)
        }
        What::OutOfRange { topic, partition, offset, asked, .. } => {
            let words =
                format!("offset {offset} of {}-{partition} is out of range", name_of(topic));
            Step::Whole(*asked, Outcome::Other, words)
        }
        What::Listed { topic, partition, timestamp, offset, asked, .. } => {
            let words =
                format!("offset of {}-{partition} at time {timestamp}: {offset:?}", name_of(topic));
            Step::Whole(*asked, Outcome::Other, words)
        }
        // Troubles and notes stand in the trace, too.
        _ => return None,
    };
    Some(step)
}

/// Without the id behind it.
fn name_of(topic: &str) -> &str {
    topic.split_once('#').map_or(topic, |(name, _)| name)
}

fn records_of(records: &[u64]) -> String {
    if records.len() == 1 { "1 record".to_string() } else { format!("{} records", records.len()) }
}

/// Leaves out some of the usual ones, evenly.
fn thin(clients: &mut [Client]) -> Option<String> {
    let all: usize = clients.iter().map(|client| client.operations.len()).sum();
    let every = all.div_ceil(OPERATIONS_MAX);
    if every < 2 {
        return None;
    }
    for client in &mut *clients {
        let mut number = 0;
        client.operations.retain(|(.., outcome, _, marked)| {
            number += 1;
            *marked || !OUTCOMES[*outcome].is_usual() || number % every == 0
        });
    }
    let shown: usize = clients.iter().map(|client| client.operations.len()).sum();
    Some(format!(
        "Of {} operations {} are shown: one of {every} that went as usual, and all others.",
        thousands(all as u64),
        thousands(shown as u64)
    ))
}
