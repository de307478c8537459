//! How far each log got, as the broker said it: step lines for the page.

use std::collections::BTreeMap;

use ottla::env::probe::Event;
use ottla::types::{Offset, Uuid};
use serde::Serialize;

use super::{Source, micros};
use crate::trace::What;

/// Points of a line; more cannot be seen.
const POINTS_MAX: usize = 6000;

/// Logs that get a lane, those that moved most. One that stayed empty gets none.
const SERIES_MAX: usize = 24;

/// One log on one node.
#[derive(Serialize)]
pub struct Series {
    pub node: String,
    name: String,
    lines: Vec<Line>,
}

/// `None` while nobody knows: no process runs.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    at: Vec<u64>,
    value: Vec<Option<i64>>,
}

const LINES: [&str; 3] = ["log end", "durable", "high watermark"];

type Points = Vec<(u64, Option<i64>)>;

pub fn series(source: &Source) -> Vec<Series> {
    let mut logs: BTreeMap<(&str, Uuid, i32), [Points; 3]> = BTreeMap::new();
    for entry in source.trace {
        let at = micros(entry.at);
        match &entry.what {
            What::Kill(_) | What::Exit(_) => {
                let of_node = logs.iter_mut().filter(|((node, ..), _)| *node == &*entry.place);
                of_node.flat_map(|(_, lines)| lines).for_each(|line| line.push((at, None)));
            }
            What::Probe(event) => {
                let Some((topic, partition)) = log_of(event) else { continue };
                let lines = logs.entry((&entry.place, topic, partition)).or_default();
                for (line, value) in lines.iter_mut().zip(values(event)) {
                    line.extend(value.map(|offset| (at, Some(offset.0))));
                }
            }
            _ => {}
        }
    }
    // Topics come and go by the dozen, and most of their logs stay as they were.
    let moved =
        |lines: &[Points; 3]| lines.iter().flatten().any(|(_, value)| value.is_some_and(|v| v > 0));
    let mut busiest: Vec<_> = logs.into_iter().filter(|(_, lines)| moved(lines)).collect();
    busiest.sort_by_key(|(_, lines)| std::cmp::Reverse(lines[0].len()));
    busiest.truncate(SERIES_MAX);
    let mut series: Vec<Series> = busiest
        .into_iter()
        .map(|((node, topic, partition), lines)| Series {
            node: node.to_string(),
            name: name(source, topic, partition),
            lines: LINES.into_iter().zip(lines).map(|(name, points)| line(name, points)).collect(),
        })
        .collect();
    series.sort_by(|a, b| (&a.node, &a.name).cmp(&(&b.node, &b.name)));
    series
}

/// What an event says of log end, durable end and high watermark.
fn values(event: &Event) -> [Option<Offset>; 3] {
    match event {
        Event::Recovered { end, .. } => [Some(*end), Some(*end), None],
        Event::Appended { end, .. } => [Some(*end), None, None],
        Event::Durable { end, .. } => [None, Some(*end), None],
        Event::HighWatermark { offset, .. } => [None, None, Some(*offset)],
        Event::MetadataCommitted { offset, .. } => [None, None, Some(*offset)],
        _ => [None; 3],
    }
}

pub fn log_of(event: &Event) -> Option<(Uuid, i32)> {
    match event {
        Event::MetadataCommitted { .. } => Some((Uuid::METADATA_TOPIC, 0)),
        Event::Recovered { topic, partition, .. }
        | Event::Appended { topic, partition, .. }
        | Event::Durable { topic, partition, .. }
        | Event::HighWatermark { topic, partition, .. }
        | Event::Acknowledged { topic, partition, .. }
        | Event::SegmentsExpired { topic, partition, .. }
        | Event::StartMoved { topic, partition, .. }
        | Event::Refused { topic, partition, .. }
        | Event::Configured { topic, partition, .. }
        | Event::Duplicate { topic, partition, .. }
        | Event::OutOfSequence { topic, partition, .. }
        | Event::ProducersKnown { topic, partition, .. }
        | Event::RecordsDeleted { topic, partition, .. }
        | Event::Fetched { topic, partition, .. }
        | Event::Deleted { topic, partition } => Some((*topic, *partition)),
        _ => None,
    }
}

pub fn name(source: &Source, topic: Uuid, partition: i32) -> String {
    match source.topics.get(&topic.to_string()) {
        Some(name) => format!("{name}-{partition}"),
        None if topic == Uuid::METADATA_TOPIC => "metadata".to_string(),
        None => format!("{topic}-{partition}"),
    }
}

/// Of the points that fall into one step of time the last one counts, and every gap.
fn line(name: &'static str, points: Points) -> Line {
    let last = points.last().map_or(0, |(at, _)| *at);
    let step = if points.len() > POINTS_MAX { last / POINTS_MAX as u64 + 1 } else { 1 };
    let mut line = Line { name, at: vec![], value: vec![] };
    for (index, (at, value)) in points.iter().enumerate() {
        let next = points.get(index + 1);
        let is_last = next.is_none_or(|(next, value)| next / step != at / step || value.is_none());
        if is_last || value.is_none() {
            line.at.push(*at);
            line.value.push(*value);
        }
    }
    line
}
