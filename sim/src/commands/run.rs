//! Many seeds, each in a process of its own.

use super::batch::{self, Batch};
use super::summary::{self, Summary};
use super::{process, remains};
use crate::run::{Kind, Report};

pub type Arguments = batch::Arguments;

pub fn run(arguments: &Arguments) -> i32 {
    let batch = Batch::over(arguments, |seed| {
        let plan = arguments.plan(seed);
        process::run(&plan, Some(&remains::dir_of(&plan)), process::limit_of(&plan))
    });
    println!("{}", batch.line());
    let never_reached = summary::never_reached(&batch.reports);
    if !never_reached.is_empty() {
        println!("a vacuous batch, which never reached: {}", never_reached.join(", "));
    }
    let overdone = overdone(&batch.reports);
    if overdone > 0 {
        println!("{overdone} runs with so many faults that nothing was acknowledged or read");
    }
    let is_vacuous = !never_reached.is_empty() || overdone * OVERDONE_SHARE > batch.reports.len();
    let exit_code = exit_code(&batch.reports, is_vacuous);
    if let Some(path) = &arguments.json
        && let Err(error) = Summary::of(&batch, arguments, exit_code).write(path)
    {
        eprintln!("{} is not written: {error}", path.display());
    }
    for report in batch.reports.iter().filter(|report| report.is_bad()) {
        let plan = arguments.plan(report.seed);
        let dir = remains::dir_of(&plan);
        let command = remains::replay_command(&plan, &dir.join(remains::PLAN_FILE));
        println!("{}", remains::story(report, &command, &dir));
    }
    exit_code
}

/// One run in so many may be left by its faults with nothing to check.
const OVERDONE_SHARE: usize = 50;

fn overdone(reports: &[Report]) -> usize {
    let failures = reports.iter().filter_map(|report| report.failure.as_ref());
    failures.filter(|failure| failure.is_vacuous()).count()
}

/// That of the gravest failure.
pub fn exit_code(reports: &[Report], is_vacuous: bool) -> i32 {
    let bad = reports.iter().filter(|report| report.is_bad());
    let kinds = bad.flat_map(|report| &report.failure).map(|failure| failure.kind);
    kinds.chain(is_vacuous.then_some(Kind::Harness)).min().map_or(0, |kind| kind as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Failure;

    fn failed(kind: Kind) -> Report {
        let failure = Failure { kind, invariant: None, evidence: String::new(), events: vec![] };
        Report { failure: Some(failure), ..Report::default() }
    }

    #[test]
    fn the_gravest_kind_is_the_exit_code() {
        let sound = Report::default;
        assert_eq!(exit_code(&[sound(), sound()], false), 0);
        assert_eq!(exit_code(&[sound(), failed(Kind::Harness)], false), 24);
        assert_eq!(exit_code(&[failed(Kind::Panic), failed(Kind::Liveness)], false), 21);
        assert_eq!(exit_code(&[failed(Kind::Panic), failed(Kind::Safety)], true), 20);
        assert_eq!(exit_code(&[failed(Kind::NonDeterminism), failed(Kind::Panic)], false), 22);
        assert_eq!(exit_code(&[failed(Kind::NonDeterminism)], true), 23);
        assert_eq!(exit_code(&[sound()], true), 24);
    }
}
