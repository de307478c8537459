//! One run in this process, told in full.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{process, remains};
use crate::plan::Plan;
use crate::run::{self, Told};
use crate::{report, trace};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    pub which: Which,
    /// Write a page that shows the run to this file
    #[arg(long)]
    html: Option<PathBuf>,
    /// Print the broker's log, in simulated time
    #[arg(long)]
    log: bool,
}

/// One plan: that of a seed, or one that was kept.
#[derive(Args)]
pub struct Which {
    #[arg(required_unless_present = "plan")]
    seed: Option<u64>,
    /// Simulated seconds of faults
    #[arg(long, default_value_t = 60)]
    time: u64,
    /// Let the disk lose what was synced
    #[arg(long)]
    canary: bool,
    /// This plan instead of a seed's own
    #[arg(long, conflicts_with_all = ["seed", "time", "canary"])]
    plan: Option<PathBuf>,
}

impl Which {
    pub fn plan(&self) -> Result<Plan, String> {
        match (&self.plan, self.seed) {
            (Some(path), _) => process::read(path),
            (None, Some(seed)) => {
                Ok(Plan { canary: self.canary, ..Plan::draw(seed, self.time * 1000) })
            }
            (None, None) => Err("give a seed, or a plan with --plan FILE".to_string()),
        }
    }

    /// The file that the plan was read from.
    pub fn file(&self) -> Option<&Path> {
        self.plan.as_deref()
    }
}

pub fn replay(arguments: &Arguments) -> i32 {
    let plan = match arguments.which.plan() {
        Ok(plan) => plan,
        Err(error) => return super::complain(&error),
    };
    if arguments.log {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(std::io::stderr)
            .init();
    }
    let kept_max = if arguments.html.is_some() { report::TRACE_KEPT_MAX } else { trace::KEPT_MAX };
    let told = run::run_keeping(plan.clone(), kept_max);
    if let Some(path) = &arguments.html
        && let Err(error) = std::fs::write(path, page(&plan, &told))
    {
        eprintln!("{} is not written: {error}", path.display());
    }
    let Told { report, history, .. } = told;
    let Some(failure) = &report.failure else {
        println!("{}", remains::headline(&report));
        return 0;
    };
    let dir = remains::dir_of(&plan);
    if let Err(error) = remains::keep(&dir, &plan, &report, &history) {
        eprintln!("the remains of the run are not kept: {error}");
    }
    let kept = dir.join(remains::PLAN_FILE);
    let command = remains::replay_command(&plan, arguments.which.file().unwrap_or(&kept));
    println!("{}", remains::story(&report, &command, &dir));
    failure.kind as i32
}

fn page(plan: &Plan, told: &Told) -> String {
    let command = remains::replay_command(plan, &remains::dir_of(plan).join(remains::PLAN_FILE));
    let (command, commit) = command.split_once("   # at commit ").unwrap_or((&command, "unknown"));
    let Told { report, history, trace } = told;
    let topics = &report::topics(history);
    report::page(&report::Source { plan, report, history, trace, topics, command, commit })
}
