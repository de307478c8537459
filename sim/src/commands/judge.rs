//! Judging a recorded history, of any broker.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::check::Violation;
use crate::check::history::{self as checkers, Excuse, Rules};
use crate::history;
use crate::run::Kind;

#[derive(Args, Clone)]
pub struct Arguments {
    /// A recorded history
    history: PathBuf,
    /// Nothing was broken: then nothing may have gone wrong
    #[arg(long)]
    calm: bool,
    /// Power failed, or may have
    #[arg(long)]
    power_failed: bool,
    /// The broker's wall clock jumped, or may have
    #[arg(long)]
    clock_jumped: bool,
    /// What this broker is known not to promise
    #[arg(long, value_enum)]
    excuse: Vec<Excuse>,
}

pub fn judge(arguments: &Arguments) -> i32 {
    let rules = Rules {
        calm: arguments.calm,
        power_failed: arguments.power_failed,
        clock_jumped: arguments.clock_jumped,
        excuses: arguments.excuse.iter().copied().collect(),
    };
    let entries = fs::read_to_string(&arguments.history)
        .and_then(|text| history::parse(&text).map_err(io::Error::from));
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            eprintln!("{} is no history: {error}", arguments.history.display());
            return Kind::Harness as i32;
        }
    };
    match checkers::check(&entries, &rules) {
        Ok(summary) if summary.acknowledged == 0 || summary.read + summary.consumed == 0 => {
            eprintln!("a vacuous history: nothing was acknowledged or read");
            Kind::Harness as i32
        }
        Ok(summary) => {
            println!("{}", serde_json::to_string(&summary).expect("a summary is plain data"));
            0
        }
        Err(violation) => tell(&violation),
    }
}

pub fn tell(violation: &Violation) -> i32 {
    println!("{}\n{}", violation.invariant, violation.evidence);
    if violation.invariant.is_liveness() { Kind::Liveness as i32 } else { Kind::Safety as i32 }
}
