//! Each seed in two processes: whatever happened must have happened twice (I57).

use super::batch::{Arguments, Batch};
use super::{process, remains, run};
use crate::run::{Failure, Kind, Report};

pub fn compare(arguments: &Arguments) -> i32 {
    let batch = Batch::over(arguments, |seed| {
        let plan = arguments.plan(seed);
        let run = || process::run(&plan, None, process::limit_of(&plan));
        verdict(run(), run())
    });
    let failures = batch.reports.iter().flat_map(|report| &report.failure);
    for failure in failures.clone() {
        println!("{}", failure.evidence);
    }
    let differing = failures.filter(|failure| failure.kind == Kind::NonDeterminism).count();
    println!("{}; {differing} of them differ between two processes", batch.line());
    run::exit_code(&batch.reports, false)
}

/// Whether the runs are sound is not the question here.
fn verdict(first: Report, second: Report) -> Report {
    if let Some(lost) = [&first, &second].into_iter().find(|report| is_lost(report)) {
        return lost.clone();
    }
    let is_same = (first.hash, first.events) == (second.hash, second.events);
    let failure = (!is_same).then(|| {
        let [one, other] = [&first, &second].map(remains::headline);
        let evidence = format!("not the same:\n  {one}\n  {other}");
        Failure { kind: Kind::NonDeterminism, invariant: None, evidence, events: vec![] }
    });
    Report { failure, ..first }
}

/// Nothing happened that could be compared.
fn is_lost(report: &Report) -> bool {
    report.failure.is_some() && report.events == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(hash: u64, kind: Option<Kind>) -> Report {
        let failure =
            |kind| Failure { kind, invariant: None, evidence: String::new(), events: vec![] };
        Report { hash, events: 10, failure: kind.map(failure), ..Report::default() }
    }

    fn kind(first: Report, second: Report) -> Option<Kind> {
        verdict(first, second).failure.map(|failure| failure.kind)
    }

    #[test]
    fn only_a_difference_counts_and_a_run_without_a_report() {
        assert_eq!(kind(report(1, None), report(1, None)), None);
        assert_eq!(kind(report(1, Some(Kind::Safety)), report(1, Some(Kind::Safety))), None);
        assert_eq!(kind(report(1, None), report(2, None)), Some(Kind::NonDeterminism));
        let lost = Report { events: 0, ..report(0, Some(Kind::Harness)) };
        assert_eq!(kind(report(1, None), lost), Some(Kind::Harness));
    }
}
