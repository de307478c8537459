//! Shrinks a failing plan, each candidate in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::{process, remains, replay};
use crate::disk::Temper;
use crate::net::link::Link;
use crate::plan::Plan;
use crate::run::{Failure, Report};
use crate::shrink::{self, Oracle};

/// Between two lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    which: replay::Which,
    /// Real time to spend on it
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Processes at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
}

pub fn shrink(arguments: &Arguments) -> i32 {
    let plan = match arguments.which.plan() {
        Ok(plan) => plan,
        Err(error) => return super::complain(&error),
    };
    let begun = Instant::now();
    let before = process::run(&plan, Some(&remains::dir_of(&plan)), process::limit_of(&plan));
    let Some(failure) = &before.failure else {
        return super::complain(&format!("{}: nothing to shrink", remains::headline(&before)));
    };
    let dir = remains::dir_of(&plan).join("shrunk");
    let value = json!(plan);
    let mut court = Court {
        sign: sign_of(failure),
        limit: Duration::from_secs(2) + begun.elapsed() * 2,
        until: begun + Duration::from_secs(arguments.minutes * 60),
        jobs: arguments.jobs,
        runs: AtomicUsize::new(0),
        begun,
        last_line: begun,
        events: shrink::events(&value),
        file: dir.join(remains::PLAN_FILE),
    };
    eprintln!("{}\n  {}", remains::headline(&before), court.sign);
    let defaults =
        [("link", json!(Link::default())), ("brokers/*/temper", json!(Temper::default()))];
    let small = shrink::shrink(value.clone(), before.simulated_ms, &defaults, &mut court);
    let runs = court.runs.into_inner();
    let plan: Plan = serde_json::from_value(small.clone()).expect("it has been run");
    let after = process::run(&plan, Some(&dir), process::limit_of(&plan));
    let command = remains::replay_command(&plan, &dir.join(remains::PLAN_FILE));
    eprintln!("{}", figures([&value, &small], [&before, &after], runs, begun.elapsed()));
    println!("{}", remains::story(&after, &command, &dir));
    0
}

fn figures(plans: [&Value; 2], reports: [&Report; 2], runs: usize, took: Duration) -> String {
    let [events_before, events_after] = plans.map(shrink::events);
    let [before, after] = reports;
    format!(
        "shrunk from {events_before} to {events_after} events of the plan ({:.1} %), from {} to {} \
         events of the trace, from {:.1} to {:.1} simulated seconds, by {runs} runs in {:.0} s",
        100.0 * events_after as f64 / events_before.max(1) as f64,
        before.events,
        after.events,
        before.simulated_ms as f64 / 1000.0,
        after.simulated_ms as f64 / 1000.0,
        took.as_secs_f64(),
    )
}

/// What two failures have in common that are the same: the invariant, and of liveness who waited in
/// vain; or the place of the panic; or the words but for their numbers.
fn sign_of(failure: &Failure) -> String {
    let first = failure.evidence.lines().next().unwrap_or_default();
    let words = first.split(|c: char| c.is_ascii_digit()).filter(|word| !word.is_empty());
    let words = words.collect::<Vec<_>>().join("#");
    match failure.invariant {
        Some(invariant) if invariant.is_liveness() => format!("{invariant}: {words}"),
        Some(invariant) => invariant.to_string(),
        None if first.starts_with("panicked at ") => first.to_string(),
        None => format!("{:?}: {words}", failure.kind),
    }
}

/// Decides by running.
struct Court {
    /// Of the failure that is to stay.
    sign: String,
    /// For one run.
    limit: Duration,
    until: Instant,
    jobs: u64,
    runs: AtomicUsize,
    begun: Instant,
    last_line: Instant,
    /// Of the plan, before.
    events: usize,
    file: PathBuf,
}

impl Court {
    fn fails(&self, plan: &Value) -> bool {
        // What is no plan needs no process to say so.
        if serde_json::from_value::<Plan>(plan.clone()).is_err() {
            return false;
        }
        self.runs.fetch_add(1, Ordering::Relaxed);
        let report = process::run_json(plan.to_string(), None, self.limit);
        report.is_ok_and(|report| {
            report.failure.is_some_and(|failure| sign_of(&failure) == self.sign)
        })
    }
}

impl Oracle for Court {
    /// Looks at several at once, and beyond the answer, which is the first all the same.
    fn first(
        &mut self,
        count: usize,
        candidate: &(dyn Fn(usize) -> Value + Sync),
    ) -> Option<usize> {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(None::<usize>));
        let look = || {
            while !self.is_over() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let is_late = found.lock().expect("nobody panics with it").is_some();
                if index >= count || is_late {
                    return;
                }
                if self.fails(&candidate(index)) {
                    let mut found = found.lock().expect("nobody panics with it");
                    *found = Some(found.map_or(index, |found| found.min(index)));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(count as u64) {
                scope.spawn(look);
            }
        });
        found.into_inner().expect("nobody panicked with it")
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn accept(&mut self, plan: &Value) {
        if let Err(error) = write(&self.file, plan) {
            eprintln!("{} is not written: {error}", self.file.display());
        }
        if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let (before, now) = (self.events, shrink::events(plan));
            let runs = self.runs.load(Ordering::Relaxed);
            let seconds = self.begun.elapsed().as_secs();
            eprintln!("  {seconds} s, {runs} runs: {now} of {before} events");
        }
    }
}

fn write(file: &Path, plan: &Value) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().expect("it is in a folder"))?;
    std::fs::write(file, serde_json::to_string_pretty(plan)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Invariant;
    use crate::run::Kind;

    fn sign(kind: Kind, invariant: Option<Invariant>, evidence: &str) -> String {
        sign_of(&Failure { kind, invariant, evidence: evidence.to_string(), events: vec![] })
    }

    #[test]
    fn failures_are_the_same_by_invariant_place_or_words() {
        let i9 = |evidence| sign(Kind::Safety, Some(Invariant::I9), evidence);
        assert_eq!(i9("offset 7"), i9("something else"));
        assert_ne!(i9("offset 7"), sign(Kind::Safety, Some(Invariant::I10), "offset 7"));
        let i50 = |evidence| sign(Kind::Liveness, Some(Invariant::I50), evidence);
        assert_eq!(i50("producer-1 waits"), i50("producer-0 waits"));
        assert_ne!(i50("producer-1 waits"), i50("consumer-1 waits"));
        let panic = |evidence| sign(Kind::Panic, None, evidence);
        assert_eq!(
            panic("panicked at src/log.rs:1:2:\noffset 7"),
            panic("panicked at src/log.rs:1:2:\noffset 8")
        );
        assert_ne!(panic("panicked at src/log.rs:1:2:"), panic("panicked at src/log.rs:3:4:"));
        assert_eq!(panic("broker-0 stopped: offset 7"), panic("broker-0 stopped: offset 11"));
        assert_ne!(panic("broker-0 stopped: offset 7"), panic("broker-0 stopped: epoch 7"));
    }
}
