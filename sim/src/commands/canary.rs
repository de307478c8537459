//! Runs that must fail, to prove that the alarm works.

use super::batch::{Arguments, Batch};
use super::{process, remains};
use crate::plan::Plan;
use crate::run::{Kind, Report};

pub fn run(arguments: &Arguments) -> i32 {
    let arguments = Arguments { keep_going: true, ..arguments.clone() };
    let lying = |seed| Plan { canary: true, ..arguments.plan(seed) };
    let batch = Batch::over(&arguments, |seed| {
        let plan = lying(seed);
        process::run(&plan, Some(&remains::dir_of(&plan)), process::limit_of(&plan))
    });
    let missed: Vec<&Report> = batch.reports.iter().filter(|report| !is_caught(report)).collect();
    for report in &missed {
        let plan = lying(report.seed);
        let command = remains::replay_command(&plan, &remains::dir_of(&plan));
        println!("{}\n  {command}", remains::headline(report));
    }
    println!("{} of {} lies were caught", batch.reports.len() - missed.len(), arguments.seeds);
    if missed.is_empty() { 0 } else { Kind::Harness as i32 }
}

fn is_caught(report: &Report) -> bool {
    report.failure.as_ref().is_some_and(|failure| failure.kind == Kind::Safety)
}
