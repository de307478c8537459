//! The trace for the page's table and strips.

use std::collections::BTreeMap;

use ottla::env::probe::Event;
use serde::Serialize;

use super::{Source, micros, thousands};
use crate::net::host_of;
use crate::trace::{Entry, What};

/// More events than these make the page slow.
const SHOWN_MAX: usize = 100_000;

/// Of those, the last ones that are shown without a gap.
const LAST_SHOWN: usize = 30_000;

/// Probes of the log that broke that are marked.
const MARKED_MAX: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Process,
    Fault,
    Probe,
    Disk,
    Net,
    Words,
}

pub const KINDS: [Kind; 6] =
    [Kind::Process, Kind::Fault, Kind::Probe, Kind::Disk, Kind::Net, Kind::Words];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Process => "process",
            Kind::Fault => "fault",
            Kind::Probe => "probe",
            Kind::Disk => "disk",
            Kind::Net => "network",
            Kind::Words => "other",
        }
    }

    fn of(entry: &Entry) -> Kind {
        match &entry.what {
            What::Start { .. }
            | What::Kill(_)
            | What::AskToStop
            | What::Exit(_)
            | What::Pause
            | What::Resume => Kind::Process,
            What::Probe(_) => Kind::Probe,
            What::Write { .. } | What::SetLen { .. } | What::Sync { .. } => Kind::Disk,
            What::Arrive { .. } => Kind::Net,
            What::Said(_) if &*entry.place == "nemesis" => Kind::Fault,
            What::Said(_) if &*entry.place == "net" => Kind::Net,
            What::Said(words) if words.starts_with("is told") => Kind::Words,
            What::Said(_) => Kind::Disk,
        }
    }

    fn is_seldom(self) -> bool {
        matches!(self, Kind::Process | Kind::Fault)
    }
}

pub fn seldom() -> Vec<usize> {
    (0..KINDS.len()).filter(|kind| KINDS[*kind].is_seldom()).collect()
}

/// One list for each property: a hundred thousand small objects would be slow to read.
#[derive(Serialize, Default)]
pub struct Columns {
    at: Vec<u64>,
    ordinal: Vec<u64>,
    place: Vec<usize>,
    kind: Vec<usize>,
    words: Vec<String>,
}

/// In the order of their first event.
pub fn places(trace: &[Entry]) -> Vec<String> {
    let mut places: Vec<String> = vec![];
    for entry in trace {
        if !places.iter().any(|place| **place == *entry.place) {
            places.push(entry.place.to_string());
        }
    }
    places
}

/// In the order of their addresses, which is that in which they start.
fn hosts(trace: &[Entry]) -> Vec<&str> {
    let mut hosts: Vec<&str> = vec![];
    for entry in trace {
        if matches!(entry.what, What::Start { .. }) && !hosts.contains(&&*entry.place) {
            hosts.push(&entry.place);
        }
    }
    hosts
}

/// And what had to be left out.
pub fn columns(source: &Source, places: &[String]) -> (Columns, Option<String>) {
    let trace = source.trace;
    let gapless = trace.len().saturating_sub(LAST_SHOWN);
    let seldom = trace[..gapless].iter().filter(|entry| Kind::of(entry).is_seldom()).count();
    let room = SHOWN_MAX.saturating_sub(LAST_SHOWN + seldom).max(1);
    let every = gapless.saturating_sub(seldom).div_ceil(room).max(1);
    let numbers: BTreeMap<&str, usize> = places.iter().map(String::as_str).zip(0..).collect();
    let hosts = hosts(trace);
    let mut columns = Columns::default();
    for (index, entry) in trace.iter().enumerate() {
        let kind = Kind::of(entry);
        if index < gapless && !kind.is_seldom() && !index.is_multiple_of(every) {
            continue;
        }
        columns.at.push(micros(entry.at));
        columns.ordinal.push(entry.ordinal);
        columns.place.push(numbers[&*entry.place]);
        columns.kind.push(KINDS.iter().position(|known| *known == kind).expect("listed above"));
        columns.words.push(words(source, &hosts, &entry.what));
    }
    let all = source.report.events;
    let capped = (columns.at.len() as u64) < all;
    let words = format!(
        "Of {} events {} are shown: the last {}, and of what was before one in {every}, with every \
         fault and every start and end of a process.",
        thousands(all),
        thousands(columns.at.len() as u64),
        thousands(LAST_SHOWN as u64)
    );
    (columns, capped.then_some(words))
}

/// For people: names of topics and nodes, and numbers without their types.
fn words(source: &Source, hosts: &[&str], what: &What) -> String {
    match what {
        What::Arrive { connection, to, bytes } => {
            let host = host_of(to.ip(), usize::MAX).and_then(|host| hosts.get(host));
            let to = host.map_or(to.to_string(), |host| format!("{host}:{}", to.port()));
            format!("{bytes} bytes to {to} on connection {connection}")
        }
        What::Probe(event) => {
            let mut words = format!("{event:?}");
            if let Some((topic, partition)) = super::series::log_of(event) {
                let fields = format!("topic: {topic}, partition: {partition}");
                words = words.replace(&fields, &super::series::name(source, topic, partition));
            }
            bare(&words)
        }
        other => other.to_string(),
    }
}

/// Numbers that stand in a type of their own.
const WRAPPED: [&str; 3] = ["Offset(", "LeaderEpoch(", "ProducerId("];

/// `Offset(12)` is `12`.
fn bare(words: &str) -> String {
    let mut bare = String::with_capacity(words.len());
    let mut rest = words;
    while let Some((at, wrapped)) =
        WRAPPED.iter().filter_map(|wrapped| Some((rest.find(wrapped)?, wrapped))).min()
    {
        bare += &rest[..at];
        rest = &rest[at + wrapped.len()..];
        let (number, behind) = rest.split_once(')').unwrap_or((rest, ""));
        bare += number;
        rest = behind;
    }
    bare + rest
}

/// The last event, when it is what the evidence speaks of, and what was said of that log before.
pub fn marked(source: &Source) -> Vec<u64> {
    let Some(failure) = &source.report.failure else { return vec![] };
    let log = |event: &Event| super::series::log_of(event).map(|(t, p)| format!("{t}-{p}"));
    let Some(last) = source.trace.last() else { return vec![] };
    match &last.what {
        What::Probe(event) => {
            let Some(wanted) = log(event).filter(|log| failure.evidence.contains(log)) else {
                return vec![last.ordinal];
            };
            let probes = source.trace.iter().rev().filter(|entry| match &entry.what {
                What::Probe(event) => log(event).as_ref() == Some(&wanted),
                _ => false,
            });
            probes.take(MARKED_MAX).map(|entry| entry.ordinal).collect()
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_their_types() {
        let words =
            "Fetched { from: Offset(12), at: 7, first: Some(Offset(3)), id: ProducerId(-1) }";
        assert_eq!(bare(words), "Fetched { from: 12, at: 7, first: Some(3), id: -1 }");
        assert_eq!(bare("kept"), "kept");
    }
}
