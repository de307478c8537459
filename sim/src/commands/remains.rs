//! What a failed run leaves behind: the files that hold it, and the command that replays it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::history;
use crate::plan::Plan;
use crate::run::Report;

const FAILURES_DIR: &str = "target/sim-failures";

pub const PLAN_FILE: &str = "plan.json";

/// Of the last events of a failed run. More of them are kept in a file.
pub const EVENTS_SHOWN: usize = 60;

/// What a run depends on beside its plan.
#[derive(Serialize)]
pub struct Surroundings {
    pub commit: String,
    /// Something differs from the commit.
    pub changed: bool,
    /// As git names the file's content.
    pub lock_file: String,
    pub compiler: String,
}

impl Surroundings {
    pub fn look() -> Surroundings {
        Surroundings {
            commit: said("git", &["rev-parse", "--short=10", "HEAD"]),
            changed: !matches!(
                &said("git", &["status", "--porcelain", "--untracked-files=no"])[..],
                "" | UNKNOWN
            ),
            lock_file: said("git", &["hash-object", "Cargo.lock"]),
            compiler: said("rustc", &["--version"]),
        }
    }
}

const UNKNOWN: &str = "unknown";

fn said(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_string()
        }
        _ => UNKNOWN.to_string(),
    }
}

/// Where the remains of a plan's run go.
pub fn dir_of(plan: &Plan) -> PathBuf {
    let kind = match (is_drawn(plan), plan.canary) {
        (true, false) => "seed",
        (true, true) => "canary",
        (false, _) => "plan",
    };
    Path::new(FAILURES_DIR).join(format!("{kind}-{}", plan.seed))
}

/// Whether seed and time say it all.
fn is_drawn(plan: &Plan) -> bool {
    let drawn = Plan { canary: plan.canary, ..Plan::draw(plan.seed, plan.lasts_ms) };
    plan.lasts_ms.is_multiple_of(1000) && drawn == *plan
}

/// The one command that shows the run again; `file` holds the plan.
pub fn replay_command(plan: &Plan, file: &Path) -> String {
    let what = if is_drawn(plan) {
        let canary = if plan.canary { " --canary" } else { "" };
        format!("{} --time {}{canary}", plan.seed, plan.lasts_ms / 1000)
    } else {
        format!("--plan {}", file.display())
    };
    let Surroundings { commit, changed, .. } = Surroundings::look();
    let changed = if changed { ", with changes" } else { "" };
    format!("cargo sim replay {what}   # at commit {commit}{changed}")
}

pub fn keep(
    dir: &Path,
    plan: &Plan,
    report: &Report,
    entries: &[history::Entry],
) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(PLAN_FILE), serde_json::to_string_pretty(plan)?)?;
    fs::write(dir.join("report.json"), serde_json::to_string_pretty(report)?)?;
    let surroundings = serde_json::to_string_pretty(&Surroundings::look())?;
    fs::write(dir.join("environment.json"), surroundings)?;
    let events = report.failure.iter().flat_map(|failure| &failure.events);
    let events: String = events.map(|event| format!("{event}\n")).collect();
    fs::write(dir.join("events.txt"), events)?;
    let mut file = io::BufWriter::new(fs::File::create(dir.join("history.jsonl"))?);
    history::write(entries, &mut file)?;
    file.flush()
}

pub fn headline(report: &Report) -> String {
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

/// The story of a failure. The command that replays it comes first and last.
pub fn story(report: &Report, command: &str, dir: &Path) -> String {
    let Some(failure) = &report.failure else { return String::new() };
    let mut lines = vec![command.to_string(), String::new(), format!("  {}", headline(report))];
    lines.extend(failure.invariant.map(|invariant| format!("  {invariant}")));
    lines.extend(failure.evidence.lines().map(|line| format!("  {line}")));
    lines.push(String::new());
    let skipped = failure.events.len().saturating_sub(EVENTS_SHOWN);
    lines.extend(failure.events[skipped..].iter().map(|event| format!("  {event}")));
    lines.push(String::new());
    lines.push(format!("  plan, history, events and report are in {}", dir.display()));
    lines.push(command.to_string());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Invariant;
    use crate::run::{Failure, Kind};

    const FILE: &str = "target/x/plan.json";

    fn command(plan: &Plan) -> String {
        let command = replay_command(plan, Path::new(FILE));
        command.split_once("   # at commit ").expect("it names the commit").0.to_string()
    }

    #[test]
    fn the_command_has_all_that_the_run_needs() {
        let plan = Plan::draw(17, 60_000);
        assert_eq!(command(&plan), "cargo sim replay 17 --time 60");
        let canary = Plan { canary: true, ..plan.clone() };
        assert_eq!(command(&canary), "cargo sim replay 17 --time 60 --canary");
        let shorter = Plan { lasts_ms: 12_345, ..plan.clone() };
        assert_eq!(command(&shorter), format!("cargo sim replay --plan {FILE}"));
        let other = Plan { faults: vec![], producers: vec![], ..plan };
        assert_eq!(command(&other), format!("cargo sim replay --plan {FILE}"));
    }

    #[test]
    fn a_story_begins_and_ends_with_the_command() {
        let evidence = "it is gone\nfor good".to_string();
        let invariant = Some(Invariant::I10);
        let failure =
            Failure { kind: Kind::Safety, invariant, evidence, events: vec!["event".to_string()] };
        let report = Report { failure: Some(failure), ..Report::default() };
        let story = story(&report, "cargo sim replay 17", Path::new("target/x"));
        let lines: Vec<_> = story.lines().collect();
        assert_eq!(lines[0], "cargo sim replay 17");
        assert_eq!(lines[lines.len() - 1], "cargo sim replay 17");
        for part in ["Safety", "I10 (", "  it is gone", "  for good", "  event", "target/x"] {
            assert!(story.contains(part), "{part} is not told");
        }
    }
}
