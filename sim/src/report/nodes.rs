//! What became of each node: its processes, their pauses and recoveries, and the faults that hit it.

use ottla::env::probe::Event;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Source, micros};
use crate::plan::Plan;
use crate::plan::fault::{Class, Fault, Planned};
use crate::trace::What;

#[derive(Serialize)]
pub struct Node {
    name: String,
    /// Its number among the page's places.
    place: usize,
    /// From, to, and what to say of it.
    lives: Vec<(u64, u64, String)>,
    pauses: Vec<(u64, u64)>,
    /// Recoveries.
    marks: Vec<(u64, String)>,
    /// From, to, class, words.
    faults: Vec<(u64, u64, usize, String)>,
}

/// The nodes of a run in the order of their host numbers: the order in which they started.
pub fn nodes(source: &Source, places: &[String]) -> Vec<Node> {
    let mut nodes: Vec<Node> = vec![];
    let end = source.trace.last().map_or(0, |entry| micros(entry.at));
    for entry in source.trace {
        let at = micros(entry.at);
        let known = nodes.iter().position(|node| node.name == *entry.place);
        if let (None, What::Start { .. }) = (known, &entry.what) {
            let name = entry.place.to_string();
            let place = places.iter().position(|place| *place == name).expect("it is listed");
            let (lives, pauses, marks, faults) = (vec![], vec![], vec![], vec![]);
            nodes.push(Node { name, place, lives, pauses, marks, faults });
        }
        let index = known.unwrap_or(nodes.len().saturating_sub(1));
        let Some(node) = nodes.get_mut(index).filter(|node| node.name == *entry.place) else {
            continue;
        };
        match &entry.what {
            What::Start { incarnation } => node.start(at, end, *incarnation),
            What::Kill(how) => node.end(at, end, &format!("killed: {how}")),
            What::Exit(exit) => node.end(at, end, &format!("ended: {exit:?}")),
            What::AskToStop => node.marks.push((at, "asked to stop".to_string())),
            What::Pause => node.pause(at, end),
            What::Resume => node.resume(at, end),
            What::Probe(Event::Recovered { topic, partition, start, end, .. }) => {
                let log = super::series::name(source, *topic, *partition);
                node.marks.push((at, format!("{log} recovered from {start} to {end}")));
            }
            _ => {}
        }
    }
    for planned in &source.plan.faults {
        let class = Class::ALL.iter().position(|class| *class == planned.fault.class());
        let told = Told::of(&planned.fault);
        let (from, class) = (planned.at_ms * 1000, class.expect("all are listed"));
        // Healing ends what still lasts, and a kill is over when its moment is.
        let calm = source.plan.lasts_ms * 1000;
        let until = (from + told.lasts_ms * 1000).min(calm.max(from)).min(end);
        for host in &told.hosts {
            if let Some(node) = nodes.get_mut(*host).filter(|_| from <= end) {
                node.faults.push((from, until, class, told.words.clone()));
            }
        }
    }
    nodes
}

impl Node {
    fn start(&mut self, at: u64, end: u64, incarnation: u64) {
        self.lives.push((at, end, format!("process {incarnation}")));
    }

    fn end(&mut self, at: u64, end: u64, why: &str) {
        if let Some((from, until, words)) = self.lives.last_mut()
            && !words.contains(", ")
        {
            let lived = (at - *from) as f64 / 1e6;
            *until = at;
            *words = format!("{words}, lived {lived:.3} s, {why}");
        }
        self.resume(at, end);
    }

    /// One that lasts is not begun again.
    fn pause(&mut self, at: u64, end: u64) {
        if self.pauses.last().is_none_or(|(_, until)| *until < end) {
            self.pauses.push((at, end));
        }
    }

    fn resume(&mut self, at: u64, end: u64) {
        if let Some((_, until)) = self.pauses.last_mut().filter(|(_, until)| *until == end) {
            *until = at;
        }
    }
}

/// Every fault of a plan: when, which class, what.
pub fn planned(plan: &Plan) -> Vec<(String, String, String)> {
    let row = |planned: &Planned| {
        let at = format!("{:.3}", planned.at_ms as f64 / 1000.0);
        let told = Told::of(&planned.fault);
        let hosts: Vec<String> = told.hosts.iter().map(|host| format!("host {host}")).collect();
        let words = format!("{} ({})", told.words, hosts.join(", "));
        (at, super::name(planned.fault.class()), words)
    };
    plan.faults.iter().map(row).collect()
}

/// A fault as its JSON tells it, so that a new kind of fault needs nothing here.
struct Told {
    hosts: Vec<usize>,
    lasts_ms: u64,
    words: String,
}

const HOSTS: [&str; 6] = ["broker", "host", "node", "client", "from", "to"];
const LENGTHS: [&str; 4] = ["ms", "down_ms", "lasts_ms", "hold_ms"];

impl Told {
    fn of(fault: &Fault) -> Told {
        let (name, fields) = match serde_json::to_value(fault).expect("a fault is plain data") {
            Value::Object(map) => match map.into_iter().next() {
                Some((name, Value::Object(fields))) => (name, fields),
                Some((name, _)) => (name, Map::new()),
                None => (String::new(), Map::new()),
            },
            other => (plain(&other), Map::new()),
        };
        let number = |key: &&str| fields.get(*key).and_then(Value::as_u64);
        let hosts = HOSTS.iter().filter_map(number).map(|host| host as usize).collect();
        let lasts_ms = LENGTHS.iter().find_map(number).unwrap_or_default();
        let mut words = name.replace('_', " ");
        for (key, value) in fields.iter().filter(|(key, _)| !HOSTS.contains(&key.as_str())) {
            words += &match key.strip_suffix("ms") {
                Some(what) => {
                    let seconds = value.as_f64().unwrap_or_default() / 1000.0;
                    format!(", {}{seconds} s", what.replace('_', " "))
                }
                None => format!(", {} {}", key.replace('_', " "), plain(value)),
            };
        }
        Told { hosts, lasts_ms, words }
    }
}

/// A value in words: `{"power":"in_order"}` is `power in order`.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('_', " "),
        Value::Object(fields) => {
            let parts: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{} {}", key.replace('_', " "), plain(value)))
                .collect();
            parts.join(", ")
        }
        other => other.to_string(),
    }
}
