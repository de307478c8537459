//! The black-box checkers: what clients were told, against what a broker promises.
//!
//! They need nothing but the history, so they also judge one that was recorded from a real process,
//! of any broker that speaks the protocol. Each takes time in proportion to the history, but for
//! sorting; only the order of administrators' requests has to be searched for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::gather::{Fate, Tables};
use super::Violation;
use crate::history::Entry;

mod admin;
mod calm;
mod ends;
mod gather;
mod linear;
mod lives;
mod order;
mod producers;
mod records;
#[cfg(test)]
mod story;
mod times;

/// What was true around the history and is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Nothing was broken, so nothing may go wrong.
    pub calm: bool,
    /// Power failed: what was acknowledged with acks=1 and never read may be gone.
    pub power_failed: bool,
    /// The broker's wall clock may have jumped.
    pub clock_jumped: bool,
    pub excuses: BTreeSet<Excuse>,
}

/// Holes that a broker documents, or is known for. Ours has none.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Excuse {
    /// What is said of topics may be some seconds old: brokers answer from what they know already.
    StaleMetadata,
    /// The start of a log is written down only now and then, and falls back when the process dies.
    StartForgotten,
    /// The high watermark that an answer names is from just before its records were read.
    WatermarkBehind,
}

/// What a sound history holds, for the report and against vacuity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Records, by their fate.
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    /// Records in the last reading, and in all others.
    pub read: u64,
    pub consumed: u64,
    /// Requests of administrators whose answers have a common order.
    pub administered: u64,
    /// Names whose requests have too many orders to try.
    pub undecided: u64,
    /// Searches by time that were compared with the records.
    pub looked_up: u64,
    /// Batches that were sent once more and known again.
    pub known_again: u64,
}

pub fn check(history: &[Entry], rules: &Rules) -> Result<Summary, Violation> {
    let mut summary = Summary::default();
    let tables = Tables::gather(history)?;
    calm::check(&tables, rules)?;
    producers::check(&tables, rules, &mut summary)?;
    for log in 0..tables.logs.len() {
        let shown = records::shown(&tables, &tables.logs[log])?;
        let copies = records::check(&tables, rules, log, &shown)?;
        order::check(&tables, log, &copies)?;
        ends::check(&tables, rules, log)?;
        times::check(&tables, rules, log, &shown, &mut summary)?;
    }
    lives::check(&tables, rules)?;
    admin::check(&tables, rules, &mut summary)?;
    count(&tables, &mut summary);
    Ok(summary)
}

fn count(tables: &Tables, summary: &mut Summary) {
    for batch in &tables.batches {
        let records = batch.records.len() as u64;
        match batch.fate {
            Fate::Acknowledged { .. } => summary.acknowledged += records,
            Fate::Unknown => summary.unknown += records,
            Fate::Refused { .. } => summary.refused += records,
        }
    }
    for log in &tables.logs {
        summary.read += log.read_last;
        summary.consumed += log.read - log.read_last;
    }
}
