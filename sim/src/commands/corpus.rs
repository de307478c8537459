//! Plans that once failed, each with what it failed with. All of them must pass, for ever.
//!
//! A plan says what is done to the broker; how its tasks and its disk's answers fall into place
//! changes with every change of the code. So a plan of the corpus does not reproduce its bug to the
//! byte, but goes where it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{process, remains, run};
use crate::check::Invariant;
use crate::plan::Plan;
use crate::run::{Kind, Report};

#[derive(Args)]
pub struct Arguments {
    /// Where the plans are
    #[arg(long, default_value = "sim/corpus")]
    dir: PathBuf,
    /// Processes at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
}

/// A file of the corpus.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What was wrong with the broker, in a sentence.
    bug: String,
    failed: Failed,
    /// The commit that mended it.
    mended_by: String,
    plan: Value,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Failed {
    kind: Kind,
    invariant: Option<Invariant>,
}

pub fn replay(arguments: &Arguments) -> i32 {
    let cases = match cases(&arguments.dir) {
        Ok(cases) => cases,
        Err(error) => return super::complain(&error),
    };
    let (next, reports) = (AtomicUsize::new(0), Mutex::new(vec![]));
    let work = || {
        while let Some(kept) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let dir = remains::dir_of(&kept.plan);
            let report = process::run(&kept.plan, Some(&dir), process::limit_of(&kept.plan));
            println!("{}: {}", kept.path.display(), remains::headline(&report));
            reports.lock().expect("nobody panics with it").push((kept, report));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(work);
        }
    });
    let reports = reports.into_inner().expect("nobody panicked with it");
    let (failed, passed): (Vec<_>, Vec<_>) =
        reports.into_iter().partition(|(_, report)| report.is_bad());
    println!("{} of {} plans of the corpus pass", passed.len(), cases.len());
    for (kept, report) in &failed {
        let Kept { path, case, plan } = kept;
        println!("{}, mended by {}: {}", path.display(), case.mended_by, case.bug);
        let dir = remains::dir_of(plan);
        // A case is no plan to replay; the plan that is kept is.
        let command = remains::replay_command(plan, &dir.join(remains::PLAN_FILE));
        println!("{}", remains::story(report, &command, &dir));
    }
    let failed: Vec<Report> = failed.into_iter().map(|(_, report)| report).collect();
    run::exit_code(&failed, false)
}

struct Kept {
    path: PathBuf,
    case: Case,
    plan: Plan,
}

fn cases(dir: &Path) -> Result<Vec<Kept>, String> {
    let cannot = |error| format!("{} cannot be read: {error}", dir.display());
    let mut paths = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .map_err(cannot)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let cases = paths.into_iter().map(|path| {
        let (case, plan) = fs::read_to_string(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Kept { path, case, plan })
    });
    cases.collect()
}

fn parse(text: &str) -> Result<(Case, Plan), String> {
    let case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let plan = Plan::parse(&case.plan.to_string())?;
    Ok((case, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_corpus_can_be_read() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let cases = cases(&dir).unwrap_or_else(|error| panic!("{error}"));
        assert!(!cases.is_empty());
    }

    #[test]
    fn a_case_of_an_older_format_or_without_its_story_is_refused() {
        let case = |plan: Plan| Case {
            bug: "It lost a record.".to_string(),
            failed: Failed { kind: Kind::Safety, invariant: Some(Invariant::I10) },
            mended_by: "1a2b3c4".to_string(),
            plan: serde_json::to_value(plan).unwrap(),
        };
        let plan = Plan::draw(7, 1000);
        let json = |plan: &Plan| serde_json::to_string(&case(plan.clone())).unwrap();
        assert!(parse(&json(&plan)).is_ok_and(|(_, read)| read == plan));
        let older = json(&Plan { format: 0, ..plan.clone() });
        assert!(parse(&older).is_err_and(|error| error.contains("format 0")));
        let silent = json(&plan).replace("\"bug\"", "\"gub\"");
        assert!(parse(&silent).is_err());
    }
}
