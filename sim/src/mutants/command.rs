//! `cargo sim mutants`: makes each mutant, runs it, and says whether the right alarm rang.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::table::{Row, Summary};
use super::trial::{self, Effort};
use super::workshop::{PATCHES_DIR, Workshop, read_all, read_bare};
use super::{Mutant, Outcome, Share, Verdict, share_of};
use crate::run::Kind;

/// Somebody's words are wrong: a patch, a name, an option.
const MISUSED: i32 = 2;

/// Of the evidence, where the right alarm rang.
const LINES_IF_GOOD: usize = 3;
const LINE_CHARS_MAX: usize = 300;

#[derive(Args, Clone)]
pub struct Arguments {
    /// Only these, by their names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Every third one, beginning with this; any number will do
    #[arg(long, conflicts_with = "share")]
    third: Option<u64>,
    /// Share I of N, from 0: I/N
    #[arg(long)]
    share: Option<Share>,
    /// A patch from elsewhere: which invariant catches it?
    #[arg(long, conflicts_with_all = ["only", "third", "share"])]
    patch: Option<PathBuf>,
    /// The first seed; drawn when it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds for each, instead of what it says itself
    #[arg(long)]
    seeds_max: Option<u64>,
    /// Simulated seconds of faults per seed, instead of what it says itself
    #[arg(long)]
    time: Option<u64>,
    /// Minutes for the seeds of each
    #[arg(long, default_value_t = 10)]
    minutes_max: u64,
    /// Processes at once
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Write a summary to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, first_seed: u64) -> i32 {
    let first_seed = arguments.seed.unwrap_or(first_seed);
    let (mutants, workshop) = match chosen(arguments).and_then(|all| Ok((all, Workshop::open()?))) {
        Ok(ready) => ready,
        Err(error) => {
            eprintln!("{error}");
            return MISUSED;
        }
    };
    println!("{} mutants, seeds from {first_seed} on", mutants.len());
    let mut rows = vec![];
    for mutant in &mutants {
        let row = try_out(mutant, &workshop, arguments, first_seed);
        tell(&row);
        rows.push(row);
    }
    let summary = Summary::new(first_seed, rows);
    println!("\n{}", summary.text());
    if let Some(path) = &arguments.json
        && let Err(error) = write(path, &summary)
    {
        eprintln!("{}: {error}", path.display());
        return MISUSED;
    }
    match &summary.rows[..] {
        [only] if arguments.patch.is_some() && only.outcome == Outcome::Broken => MISUSED,
        rows if rows.iter().all(|row| row.outcome.is_good()) => 0,
        _ => Kind::Harness as i32,
    }
}

fn chosen(arguments: &Arguments) -> Result<Vec<Mutant>, String> {
    if let Some(path) = &arguments.patch {
        return Ok(vec![read_bare(path)?]);
    }
    let mut all = read_all(Path::new(PATCHES_DIR))?;
    if let Some(stranger) =
        arguments.only.iter().find(|name| all.iter().all(|mutant| mutant.name != **name))
    {
        return Err(format!("no mutant is called {stranger}; see {PATCHES_DIR}"));
    }
    if !arguments.only.is_empty() {
        all.retain(|mutant| arguments.only.contains(&mutant.name));
    }
    let third = arguments.third.map(|third| Share { index: third % 3, count: 3 });
    Ok(match third.or(arguments.share) {
        Some(share) => share_of(all, share),
        None => all,
    })
}

fn try_out(mutant: &Mutant, workshop: &Workshop, arguments: &Arguments, first_seed: u64) -> Row {
    let begun = Instant::now();
    let mut row = Row {
        name: mutant.name.clone(),
        expected: mutant.expected(),
        outcome: Outcome::Broken,
        by: None,
        seeds: 0,
        seen_by_others: 0,
        unsound: 0,
        seed: None,
        cpu_seconds: 0.0,
        build_seconds: 0.0,
        evidence: String::new(),
    };
    let program = match workshop.build(&mutant.patch) {
        Ok(program) => program,
        Err(evidence) => return Row { evidence, ..row },
    };
    row.build_seconds = begun.elapsed().as_secs_f64();
    let effort = Effort {
        first_seed,
        seeds_max: arguments.seeds_max.unwrap_or(mutant.seeds_max),
        seconds: arguments.time.unwrap_or(mutant.seconds),
        minutes_max: arguments.minutes_max,
        jobs: arguments.jobs,
    };
    let trial = trial::run(mutant, &program, &workshop.runs(), effort);
    row.outcome = mutant.outcome(trial.alarm.as_ref().map(|alarm| &alarm.verdict));
    (row.seeds, row.seen_by_others) = (trial.seeds, trial.seen_by_others);
    (row.unsound, row.cpu_seconds) = (trial.unsound, trial.cpu_seconds);
    if let Some(alarm) = trial.alarm {
        row.seed = Some(alarm.seed);
        row.evidence = alarm.evidence;
        row.by = match alarm.verdict {
            Verdict::Caught(by) | Verdict::Wrong(by) => Some(by),
            Verdict::Green => None,
        };
    }
    row
}

/// One line for each, and all about what should not be.
fn tell(row: &Row) {
    let Row { name, seeds, cpu_seconds, build_seconds, .. } = row;
    let by = row.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let seed = row.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
    println!(
        "{name}: {}{by} after {seeds} seeds{seed}, {cpu_seconds:.1} s; built in {build_seconds:.1} s",
        row.outcome.describe()
    );
    if row.unsound > 0 {
        println!("    {} of the seeds fail without it, too: they do not count", row.unsound);
    }
    let lines_max = if row.outcome.is_good() { LINES_IF_GOOD } else { usize::MAX };
    for line in row.evidence.lines().take(lines_max) {
        let line: String = line.chars().take(LINE_CHARS_MAX).collect();
        println!("    {line}");
    }
}

fn write(path: &Path, summary: &Summary) -> std::io::Result<()> {
    fs::write(path, serde_json::to_string_pretty(summary)?)
}
