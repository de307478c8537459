//! One run in a process of its own: the plan goes in at one end, the report comes out at the other.
//!
//! Whatever the run does, its parent gets a report within a limit of real time: one that dies or
//! hangs is a failure of the harness, until somebody has looked.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::remains;
use crate::plan::Plan;
use crate::run::{self, Failure, Kind, Report};

#[derive(Args)]
pub struct Arguments {
    /// The plan, or - to read it from the standard input
    #[arg(long)]
    plan: PathBuf,
    /// Where its remains go if it fails
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// The process's own side.
pub fn one(arguments: &Arguments) -> i32 {
    let plan = match read(&arguments.plan) {
        Ok(plan) => plan,
        Err(error) => return super::complain(&error),
    };
    let (mut report, entries) = run::run(plan.clone());
    if report.failure.is_some()
        && let Some(dir) = &arguments.keep
        && let Err(error) = remains::keep(dir, &plan, &report, &entries)
    {
        eprintln!("the remains of the run are not kept: {error}");
    }
    if let Some(failure) = &mut report.failure {
        let silent = failure.events.len().saturating_sub(remains::EVENTS_SHOWN);
        failure.events.drain(..silent);
    }
    println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    0
}

/// A plan from a file, or from the standard input.
pub fn read(path: &Path) -> Result<Plan, String> {
    let name = path.display();
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| format!("{name} cannot be read: {error}"))?;
    Plan::parse(&text).map_err(|error| format!("{name} is no plan: {error}"))
}

/// As much as a run that is no faster than the real world would take.
pub fn limit_of(plan: &Plan) -> Duration {
    Duration::from_secs(60) + Duration::from_millis(plan.lasts_ms)
}

/// Runs a plan in a process of its own. The remains of a failure go to `keep`.
pub fn run(plan: &Plan, keep: Option<&Path>, limit: Duration) -> Report {
    let json = serde_json::to_string(plan).expect("a plan is plain data");
    run_json(json, keep, limit).unwrap_or_else(|evidence| {
        let failure = Failure { kind: Kind::Harness, invariant: None, evidence, events: vec![] };
        let report = Report { seed: plan.seed, failure: Some(failure), ..Report::default() };
        if let Some(dir) = keep
            && let Err(error) = remains::keep(dir, plan, &report, &[])
        {
            eprintln!("the remains of the run are not kept: {error}");
        }
        report
    })
}

/// The same for a plan that may be none. `Err` says why there is no report.
pub fn run_json(plan: String, keep: Option<&Path>, limit: Duration) -> Result<Report, String> {
    let program = std::env::current_exe().map_err(|error| format!("no program: {error}"))?;
    run_program(&program, plan, keep, limit)
}

/// The same in another simulator than this one.
pub fn run_program(
    program: &Path,
    plan: String,
    keep: Option<&Path>,
    limit: Duration,
) -> Result<Report, String> {
    let mut command = Command::new(program);
    command.args(["one", "--plan", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(dir) = keep {
        command.arg("--keep").arg(dir);
    }
    let mut child = command.spawn().map_err(|error| format!("no process: {error}"))?;
    let told = listen(&mut child, plan).recv_timeout(limit);
    if told.is_err() {
        // It may have ended between the two calls.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("its process is lost: {error}"))?;
    let told = told.map_err(|_| format!("no report within {limit:?}"))?;
    serde_json::from_slice(&told).map_err(|error| format!("no report ({status}): {error}"))
}

/// Tells the process its plan, and hears it to the end.
fn listen(child: &mut Child, plan: String) -> mpsc::Receiver<Vec<u8>> {
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut stdout = child.stdout.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // A process that does not listen will not give a report either.
        let _ = stdin.write_all(plan.as_bytes());
        drop(stdin);
        let mut told = vec![];
        if stdout.read_to_end(&mut told).is_ok() {
            // Nobody listens any more when the limit has passed.
            let _ = sender.send(told);
        }
    });
    receiver
}
