//! One run in this process, told in full.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{process, remains};
use crate::plan::Plan;
use crate::run;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    pub which: Which,
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
    let (report, entries) = run::run(plan.clone());
    let Some(failure) = &report.failure else {
        println!("{}", remains::headline(&report));
        return 0;
    };
    let dir = remains::dir_of(&plan);
    if let Err(error) = remains::keep(&dir, &plan, &report, &entries) {
        eprintln!("the remains of the run are not kept: {error}");
    }
    let kept = dir.join(remains::PLAN_FILE);
    let command = remains::replay_command(&plan, arguments.which.file().unwrap_or(&kept));
    println!("{}", remains::story(&report, &command, &dir));
    failure.kind as i32
}
