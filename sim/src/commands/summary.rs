//! A batch as JSON, and what it never reached.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::batch::{Arguments, Batch};
use super::remains::{self, Surroundings};
use crate::check::Invariant;
use crate::plan::fault::Class;
use crate::run::{Kind, Report};

/// Fewer seeds may well leave something out.
const SEEDS_THAT_REACH_ALL: usize = 20;

#[derive(Serialize)]
pub struct Summary<'a> {
    /// The first seed.
    batch: u64,
    seeds: u64,
    time_s: u64,
    took_ms: u64,
    simulated_ms: u64,
    exit_code: i32,
    never_reached: Vec<String>,
    surroundings: Surroundings,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    seed: u64,
    /// Hexadecimal: not every reader of JSON has 64 bits.
    hash: String,
    events: u64,
    simulated_ms: u64,
    acknowledged: u64,
    unknown: u64,
    refused: u64,
    faults: &'a BTreeMap<Class, u64>,
    coverage: &'a BTreeMap<String, u64>,
    kind: Option<Kind>,
    invariant: Option<Invariant>,
    evidence: Option<&'a str>,
    /// Of a failed run.
    plan: Option<PathBuf>,
    command: Option<String>,
}

impl<'a> Summary<'a> {
    pub fn of(batch: &'a Batch, arguments: &Arguments, exit_code: i32) -> Summary<'a> {
        Summary {
            batch: batch.first_seed,
            seeds: batch.reports.len() as u64,
            time_s: arguments.time,
            took_ms: batch.took.as_millis() as u64,
            simulated_ms: batch.simulated_ms(),
            exit_code,
            never_reached: never_reached(&batch.reports),
            surroundings: Surroundings::look(),
            runs: batch.reports.iter().map(|report| run(report, arguments)).collect(),
        }
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)?)
    }
}

fn run<'a>(report: &'a Report, arguments: &Arguments) -> Run<'a> {
    let Report { seed, hash, events, simulated_ms, acknowledged, unknown, refused, .. } = *report;
    let failure = report.failure.as_ref();
    let kept = failure.map(|_| {
        let plan = arguments.plan(seed);
        let file = remains::dir_of(&plan).join(remains::PLAN_FILE);
        (remains::replay_command(&plan, &file), file)
    });
    let (command, plan) = kept.unzip();
    Run {
        seed,
        hash: format!("{hash:016x}"),
        events,
        simulated_ms,
        acknowledged,
        unknown,
        refused,
        faults: &report.faults,
        coverage: &report.coverage,
        kind: failure.map(|failure| failure.kind),
        invariant: failure.and_then(|failure| failure.invariant),
        evidence: failure.map(|failure| &failure.evidence[..]),
        plan,
        command,
    }
}

/// Classes of faults and kinds of work that no run of a large batch came to: it tested less than it
/// seems. A run that failed came to nothing more, so that a batch is judged when all are sound.
pub fn never_reached(reports: &[Report]) -> Vec<String> {
    let is_sound = reports.iter().all(|report| report.failure.is_none());
    if reports.len() < SEEDS_THAT_REACH_ALL || !is_sound {
        return vec![];
    }
    let mut reached: BTreeMap<String, u64> =
        Class::ALL.iter().map(|class| (format!("{class:?}"), 0)).collect();
    for report in reports {
        let faults = report.faults.iter().map(|(class, count)| (format!("{class:?}"), count));
        let coverage = report.coverage.iter().map(|(name, count)| (name.clone(), count));
        for (name, count) in faults.chain(coverage) {
            *reached.entry(name).or_default() += count;
        }
    }
    reached.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Report {
        let coverage = [("produced", 3), ("deleted", 0)];
        Report {
            faults: Class::ALL.iter().map(|class| (*class, 1)).collect(),
            coverage: coverage.map(|(name, count)| (name.to_string(), count)).into(),
            ..Report::default()
        }
    }

    #[test]
    fn a_large_batch_that_left_something_out_is_vacuous() {
        let mut reports = vec![full(); SEEDS_THAT_REACH_ALL - 1];
        assert_eq!(never_reached(&reports), Vec::<String>::new(), "too few to say");
        reports.push(full());
        assert_eq!(never_reached(&reports), ["deleted"]);
        reports[7].coverage.insert("deleted".to_string(), 1);
        assert_eq!(never_reached(&reports), Vec::<String>::new());
        for report in &mut reports {
            report.faults.remove(&Class::Clock);
        }
        assert_eq!(never_reached(&reports), ["Clock"]);
    }
}
