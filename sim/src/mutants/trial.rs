//! Runs seeds of a mutant until what must fire does, each in a process of its own.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Mutant, Verdict};
use crate::commands::process;
use crate::plan::Plan;

/// How long and how hard to try.
#[derive(Clone, Copy)]
pub struct Effort {
    pub first_seed: u64,
    pub seeds_max: u64,
    pub seconds: u64,
    pub minutes_max: u64,
    pub jobs: u64,
}

/// A seed that was not green.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    pub seed: u64,
    pub verdict: Verdict,
    pub evidence: String,
}

pub struct Trial {
    /// The first, in the order of seeds, that decides; without one, the first of any kind.
    pub alarm: Option<Alarm>,
    /// Up to the alarm that decides, with it; all that were run when there was none.
    pub seeds: u64,
    /// Of these, so many were seen by an invariant that is not named.
    pub seen_by_others: u64,
    /// Of these, so many fail without the mutant, too, and prove nothing.
    pub unsound: u64,
    pub cpu_seconds: f64,
}

pub fn run(mutant: &Mutant, program: &Path, runs: &Path, effort: Effort) -> Trial {
    let (begun, cpu_before) = (Instant::now(), cpu_of_children());
    let until = begun + Duration::from_secs(effort.minutes_max * 60);
    let (next, stopped) = (AtomicU64::new(effort.first_seed), AtomicBool::new(false));
    let end = effort.first_seed.saturating_add(effort.seeds_max);
    let alarms: Mutex<Vec<Alarm>> = Mutex::default();
    let (done, unsound) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while !stopped.load(Ordering::Relaxed) && Instant::now() < until {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let (verdict, evidence) = one(mutant, program, runs, seed, effort.seconds);
            done.fetch_add(1, Ordering::Relaxed);
            if verdict == Verdict::Green {
                continue;
            }
            let decided = mutant.is_decided_by(&verdict);
            if decided && fails_anyway(seed, effort.seconds) {
                unsound.fetch_add(1, Ordering::Relaxed);
            } else {
                alarms.lock().unwrap().push(Alarm { seed, verdict, evidence });
                stopped.fetch_or(decided, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..effort.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let alarms = alarms.into_inner().expect("nobody panicked with it");
    let (deciding, others): (Vec<Alarm>, Vec<Alarm>) =
        alarms.into_iter().partition(|alarm| mutant.is_decided_by(&alarm.verdict));
    let first = |alarms: Vec<Alarm>| alarms.into_iter().min_by_key(|alarm| alarm.seed);
    let decider = first(deciding);
    let seeds = match &decider {
        Some(alarm) => alarm.seed - effort.first_seed + 1,
        None => done.into_inner(),
    };
    let seen_by_others = others.len() as u64;
    let alarm = decider.or_else(|| first(others));
    let unsound = unsound.into_inner();
    let cpu_seconds = cpu_of_children() - cpu_before;
    Trial { alarm, seeds, seen_by_others, unsound, cpu_seconds }
}

fn one(mutant: &Mutant, program: &Path, runs: &Path, seed: u64, seconds: u64) -> (Verdict, String) {
    let plan = Plan::draw(seed, seconds * 1000);
    let json = serde_json::to_string(&plan).expect("a plan is plain data");
    let dir = runs.join(&mutant.name).join(format!("seed-{seed}"));
    match process::run_program(program, json, Some(&dir), process::limit_of(&plan)) {
        // It died without a word, or turns in circles.
        Err(error) => (Verdict::Wrong("harness".to_string()), error),
        Ok(report) => {
            let evidence = report.failure.as_ref().map(|failure| failure.evidence.clone());
            (mutant.judge(report.failure.as_ref()), evidence.unwrap_or_default())
        }
    }
}

/// Does the broker fall over this seed as it is? This very program runs it.
fn fails_anyway(seed: u64, seconds: u64) -> bool {
    let plan = Plan::draw(seed, seconds * 1000);
    let report = process::run(&plan, None, process::limit_of(&plan));
    report.is_bad()
}

/// Of all processes that we started and that have ended, with what they started.
pub fn cpu_of_children() -> f64 {
    fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| children_seconds(&stat))
        .unwrap_or(0.0)
}

/// The 16th and 17th field, in hundredths. The second is a name that may hold anything, in
/// parentheses.
fn children_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(13)? + ticks(14)?) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read_from_what_the_kernel_says() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 10 20 150 50 20 0 1 0 99 0 0";
        assert_eq!(children_seconds(stat), Some(2.0));
        assert_eq!(children_seconds("42 (cut"), None);
    }
}
