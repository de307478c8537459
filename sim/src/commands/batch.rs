//! A batch of seeds: so many at once, and a line that says how far it is.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::plan::Plan;
use crate::run::Report;

/// Between two lines of progress where nobody looks on.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Args, Clone)]
pub struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first of them; drawn when it is not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Simulated seconds of faults per seed
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub time: u64,
    /// Processes at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub jobs: u64,
    /// Write a summary to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Go on after a failure
    #[arg(long)]
    pub keep_going: bool,
}

impl Arguments {
    pub fn plan(&self, seed: u64) -> Plan {
        Plan::draw(seed, self.time * 1000)
    }
}

/// What a batch of seeds came to.
pub struct Batch {
    pub first_seed: u64,
    /// In the order of their seeds.
    pub reports: Vec<Report>,
    pub took: Duration,
}

impl Batch {
    /// Runs `each` for every seed, so many at once.
    pub fn over(arguments: &Arguments, each: impl Fn(u64) -> Report + Sync) -> Batch {
        let first_seed = arguments.seed.unwrap_or_else(draw_seed);
        let end = first_seed.saturating_add(arguments.seeds);
        eprintln!("seeds {first_seed} to {} of {} simulated seconds each", end - 1, arguments.time);
        let work = Work {
            next: AtomicU64::new(first_seed),
            end,
            keep_going: arguments.keep_going,
            stopped: AtomicBool::new(false),
            progress: Mutex::new(Progress::default()),
        };
        std::thread::scope(|scope| {
            for _ in 0..arguments.jobs {
                scope.spawn(|| work.go_on(&each));
            }
        });
        let progress = work.progress.into_inner().expect("its threads are gone without a panic");
        let took = progress.begun.elapsed();
        progress.end_line();
        let mut reports = progress.reports;
        reports.sort_by_key(|report| report.seed);
        Batch { first_seed, reports, took }
    }

    pub fn line(&self) -> String {
        line(&self.reports, self.took)
    }

    pub fn simulated_ms(&self) -> u64 {
        self.reports.iter().map(|report| report.simulated_ms).sum()
    }
}

struct Work {
    next: AtomicU64,
    end: u64,
    keep_going: bool,
    stopped: AtomicBool,
    progress: Mutex<Progress>,
}

impl Work {
    fn go_on(&self, each: impl Fn(u64) -> Report) {
        while !self.stopped.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return;
            }
            let report = each(seed);
            if report.is_bad() && !self.keep_going {
                self.stopped.store(true, Ordering::Relaxed);
            }
            self.progress().add(report);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("nobody panics with it")
    }
}

struct Progress {
    begun: Instant,
    is_terminal: bool,
    last_line: Instant,
    reports: Vec<Report>,
}

impl Default for Progress {
    fn default() -> Progress {
        let (begun, is_terminal) = (Instant::now(), std::io::stderr().is_terminal());
        Progress { begun, is_terminal, last_line: begun, reports: vec![] }
    }
}

impl Progress {
    fn add(&mut self, report: Report) {
        self.reports.push(report);
        if self.is_terminal {
            eprint!("\r{}", line(&self.reports, self.begun.elapsed()));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            eprintln!("{}", line(&self.reports, self.begun.elapsed()));
        }
    }

    fn end_line(&self) {
        if self.is_terminal {
            eprintln!();
        }
    }
}

fn line(reports: &[Report], took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let simulated: u64 = reports.iter().map(|report| report.simulated_ms).sum();
    let faults: u64 = reports.iter().flat_map(|report| report.faults.values()).sum();
    let failures = reports.iter().filter(|report| report.is_bad()).count();
    format!(
        "{} seeds, {:.1} seeds/s, {:.0} simulated seconds/s, {faults} faults, {failures} failures",
        reports.len(),
        reports.len() as f64 / seconds,
        simulated as f64 / 1000.0 / seconds,
    )
}

/// A batch that nobody asked for by number is a new one each time, and says which.
pub fn draw_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| now.as_millis() as u64 % 1_000_000_000)
}
