//! The command line: many seeds in processes of their own, one seed in this one.
//!
//! This file stands in the real world, around the simulated one.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use crate::check::Invariant;
use crate::history;
use crate::plan::Plan;
use crate::plan::fault::Class;
use crate::run::{self, Kind, Report};

/// Where the remains of failed runs go.
const FAILURES_DIR: &str = "target/sim-failures";

/// Of the last events of a failed run. More of them are kept in a file.
const EVENTS_SHOWN: usize = 60;

#[derive(Parser)]
#[command(name = "cargo sim", about = "Ottla's broker under a seed, with every fault")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run seeds, each in a process of its own
    Run(RunArguments),
    /// Run one seed here, and tell all about it
    Replay(ReplayArguments),
    /// Run each seed in two processes and compare everything that happened
    Determinism(RunArguments),
    /// Run seeds whose disk lies: each must fail, or the alarm is broken
    Canary(RunArguments),
    /// Show the invariants and the classes of faults
    List,
    /// Run one seed and print its report as JSON
    #[command(hide = true)]
    One(ReplayArguments),
}

#[derive(Args, Clone)]
struct RunArguments {
    /// How many seeds
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first of them; drawn when it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Simulated seconds of faults per seed
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Processes at once
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Write a summary to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
}

#[derive(Args, Clone)]
struct ReplayArguments {
    seed: Option<u64>,
    /// Simulated seconds of faults
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Run this plan instead of a seed's own
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Let the disk lose what was synced
    #[arg(long)]
    canary: bool,
    /// Print the broker's log, in simulated time
    #[arg(long)]
    log: bool,
}

pub fn main() -> i32 {
    match Cli::parse().command {
        Verb::Run(arguments) => run_seeds(&arguments),
        Verb::Replay(arguments) => replay(&arguments),
        Verb::Determinism(arguments) => determinism(&arguments),
        Verb::Canary(arguments) => canary(&arguments),
        Verb::List => list(),
        Verb::One(arguments) => one(&arguments),
    }
}

fn list() -> i32 {
    println!("invariants");
    for invariant in Invariant::ALL {
        println!("  {:<5} {}", format!("{invariant:?}"), invariant.describe());
    }
    println!("classes of faults");
    for class in Class::ALL {
        println!("  {:<12} {}", format!("{class:?}"), class.describe());
    }
    0
}

fn plan(arguments: &ReplayArguments) -> Result<Plan, String> {
    match (&arguments.plan, arguments.seed) {
        (Some(path), _) => {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            serde_json::from_str(&text)
                .map_err(|error| format!("{} is no plan: {error}", path.display()))
        }
        (None, Some(seed)) => {
            Ok(Plan { canary: arguments.canary, ..Plan::draw(seed, arguments.time * 1000) })
        }
        (None, None) => Err("give a seed, or a plan with --plan FILE".to_string()),
    }
}

fn one(arguments: &ReplayArguments) -> i32 {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(error) => return complain(&error),
    };
    let (report, entries) = run::run(plan.clone());
    if report.failure.is_some()
        && let Err(error) = keep(&plan, &report, &entries)
    {
        eprintln!("the remains of the run are not kept: {error}");
    }
    println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    0
}

fn replay(arguments: &ReplayArguments) -> i32 {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(error) => return complain(&error),
    };
    if arguments.log {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(std::io::stderr)
            .init();
    }
    let (report, entries) = run::run(plan.clone());
    println!("{}", headline(&report));
    let Some(failure) = &report.failure else { return 0 };
    if let Err(error) = keep(&plan, &report, &entries) {
        eprintln!("the remains of the run are not kept: {error}");
    }
    tell(&report, plan.lasts_ms / 1000);
    failure.kind as i32
}

fn complain(error: &str) -> i32 {
    eprintln!("{error}");
    2
}

/// Plan, history and report of a failed run.
fn keep(plan: &Plan, report: &Report, entries: &[history::Entry]) -> std::io::Result<()> {
    let dir = Path::new(FAILURES_DIR).join(format!("seed-{}", plan.seed));
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("plan.json"), serde_json::to_string_pretty(plan)?)?;
    let events = report.failure.iter().flat_map(|failure| &failure.events);
    let events: String = events.map(|event| format!("{event}\n")).collect();
    fs::write(dir.join("events.txt"), events)?;
    fs::write(dir.join("report.json"), serde_json::to_string_pretty(report)?)?;
    let mut file = std::io::BufWriter::new(fs::File::create(dir.join("history.jsonl"))?);
    history::write(entries, &mut file)?;
    file.flush()
}

fn headline(report: &Report) -> String {
    let faults: u64 = report.faults.values().sum();
    let verdict = match &report.failure {
        None => "ok".to_string(),
        Some(failure) => format!("FAILED ({:?})", failure.kind),
    };
    format!(
        "seed {} {verdict}: {:.1} s simulated, {} events, {faults} faults, {} records \
         acknowledged, {} unknown, trace {:016x}",
        report.seed,
        report.simulated_ms as f64 / 1000.0,
        report.events,
        report.acknowledged,
        report.unknown,
        report.hash
    )
}

/// The command that replays comes first and last.
fn tell(report: &Report, time: u64) {
    let Some(failure) = &report.failure else { return };
    let command =
        format!("cargo sim replay {} --time {time}   # at commit {}", report.seed, commit());
    println!("{command}");
    println!();
    println!("  {:?}", failure.kind);
    if let Some(invariant) = failure.invariant {
        println!("  {invariant}");
    }
    for line in failure.evidence.lines() {
        println!("  {line}");
    }
    println!();
    let skipped = failure.events.len().saturating_sub(EVENTS_SHOWN);
    for event in &failure.events[skipped..] {
        println!("  {event}");
    }
    println!();
    println!("  plan, history and report are in {FAILURES_DIR}/seed-{}", report.seed);
    println!("{command}");
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_string())
}

/// Runs a seed in a process of its own.
fn in_process(seed: u64, arguments: &RunArguments) -> Result<Report, String> {
    process(seed, arguments, &[])
}

fn process(seed: u64, arguments: &RunArguments, more: &[&str]) -> Result<Report, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["one", &seed.to_string(), "--time", &arguments.time.to_string()])
        .args(more)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("no process for seed {seed}: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("seed {seed} gave no report ({}): {error}", output.status))
}

/// What a batch of seeds came to.
struct Batch {
    begun: Instant,
    next: AtomicU64,
    stopped: AtomicU64,
    done: Mutex<Vec<Report>>,
    broken: Mutex<Vec<String>>,
}

impl Batch {
    /// Runs `each` for every seed, on so many threads.
    fn over(
        arguments: &RunArguments,
        each: impl Fn(u64) -> Result<Report, String> + Sync,
    ) -> Batch {
        let first = arguments.seed.unwrap_or_else(draw_seed);
        let batch = Batch {
            begun: Instant::now(),
            next: AtomicU64::new(first),
            stopped: AtomicU64::new(0),
            done: Mutex::default(),
            broken: Mutex::default(),
        };
        let end = first.saturating_add(arguments.seeds);
        eprintln!("seeds {first} to {} of {} simulated seconds each", end - 1, arguments.time);
        std::thread::scope(|scope| {
            for _ in 0..arguments.jobs.max(1) {
                scope.spawn(|| batch.work(end, arguments.keep_going, &each));
            }
        });
        eprintln!();
        batch.done.lock().unwrap().sort_by_key(|report| report.seed);
        batch
    }

    fn work(&self, end: u64, keep_going: bool, each: impl Fn(u64) -> Result<Report, String>) {
        while self.stopped.load(Ordering::Relaxed) == 0 {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let failed = match each(seed) {
                Ok(report) => {
                    let failed = report.failure.is_some();
                    self.done.lock().unwrap().push(report);
                    failed
                }
                Err(error) => {
                    self.broken.lock().unwrap().push(error);
                    true
                }
            };
            self.progress();
            if failed && !keep_going {
                self.stopped.store(1, Ordering::Relaxed);
            }
        }
    }

    fn progress(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r{}", self.line());
        }
    }

    fn line(&self) -> String {
        let done = self.done.lock().unwrap();
        let seconds = self.begun.elapsed().as_secs_f64();
        let simulated: u64 = done.iter().map(|report| report.simulated_ms).sum();
        let faults: u64 = done.iter().flat_map(|report| report.faults.values()).sum();
        let failures = done.iter().filter(|report| report.failure.is_some()).count();
        format!(
            "{} seeds, {:.1} seeds/s, {:.0}x real time, {faults} faults, {failures} failures",
            done.len(),
            done.len() as f64 / seconds,
            simulated as f64 / 1000.0 / seconds,
        )
    }
}

/// A batch that nobody asked for by number is a new one each time, and says which.
fn draw_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_millis() as u64 % 1_000_000_000)
}

fn run_seeds(arguments: &RunArguments) -> i32 {
    let batch = Batch::over(arguments, |seed| in_process(seed, arguments));
    let done = batch.done.lock().unwrap();
    for failed in done.iter().filter(|report| report.failure.is_some()) {
        tell(failed, arguments.time);
    }
    for error in batch.broken.lock().unwrap().iter() {
        println!("{error}");
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&*done).expect("reports are plain data");
        if let Err(error) = fs::write(path, text) {
            eprintln!("{} is not written: {error}", path.display());
        }
    }
    let kinds =
        done.iter().filter_map(|report| report.failure.as_ref()).map(|failure| failure.kind);
    let harness = (!batch.broken.lock().unwrap().is_empty()).then_some(Kind::Harness);
    let kind = kinds.chain(harness).min();
    drop(done);
    println!("{}", batch.line());
    kind.map_or(0, |kind| kind as i32)
}

fn canary(arguments: &RunArguments) -> i32 {
    let arguments = RunArguments { keep_going: true, ..arguments.clone() };
    let batch = Batch::over(&arguments, |seed| process(seed, &arguments, &["--canary"]));
    let done = batch.done.lock().unwrap();
    let is_safety = |report: &&Report| {
        report.failure.as_ref().is_some_and(|failure| failure.kind == Kind::Safety)
    };
    let caught = done.iter().filter(is_safety).count();
    println!("{caught} of {} lies were caught", arguments.seeds);
    if caught as u64 == arguments.seeds { 0 } else { Kind::Harness as i32 }
}

fn determinism(arguments: &RunArguments) -> i32 {
    let differing = Mutex::new(vec![]);
    let batch = Batch::over(arguments, |seed| {
        let (first, second) = (in_process(seed, arguments)?, in_process(seed, arguments)?);
        if (first.hash, first.events) != (second.hash, second.events) {
            differing.lock().unwrap().push((headline(&first), headline(&second)));
        }
        // Whether the run is sound is not the question here.
        Ok(Report { failure: None, ..first })
    });
    let differing = differing.into_inner().expect("nobody panicked with it");
    for (first, second) in &differing {
        println!("not the same:\n  {first}\n  {second}");
    }
    for error in batch.broken.lock().unwrap().iter() {
        println!("{error}");
    }
    println!("{}; {} of them differ between two processes", batch.line(), differing.len());
    match (differing.len(), batch.broken.lock().unwrap().len()) {
        (0, 0) => 0,
        (0, _) => Kind::Harness as i32,
        _ => Kind::NonDeterminism as i32,
    }
}
