//! Planted bugs: each patch in `sim/mutants/` breaks the broker in one way, and names the
//! invariants that must catch it. A simulator that finds nothing proves nothing.
//!
//! A patch begins with a few lines `Key: value`, which `git apply` passes over:
//!
//!     Mutant: ack-before-sync        the name of the file
//!     Bug: what is wrong with it, in a sentence
//!     Issue id: 6                    its number in the list of known defects; may be left out
//!     Seen in: KAFKA-1211            may be left out
//!     Catches: I9, I10               one of them must fire; what else fires does not count
//!     Seeds max: 1000                so many may pass unharmed before it counts as missed
//!     Seconds: 60                    of faults in each
//!     Harmless: yes                  instead of `Catches`: all seeds must stay green
//!
//! Pure: `workshop` builds what is decided here, `trial` runs it, `table` tells what came of it.

use serde::Serialize;

use crate::check::Invariant;
use crate::run::{Failure, Kind};

pub mod command;
mod table;
mod trial;
mod workshop;

const SEEDS_MAX: u64 = 1000;
const SECONDS: u64 = 60;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutant {
    pub name: String,
    pub bug: String,
    pub issue_id: Option<u32>,
    pub seen_in: Option<String>,
    /// Empty: whatever catches it will do.
    pub catches: Vec<Invariant>,
    pub seeds_max: u64,
    pub seconds: u64,
    pub harmless: bool,
    /// All of the file.
    pub patch: String,
}

/// What one seed says about a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Green,
    Caught(String),
    /// Something fired that the mutant does not name.
    Wrong(String),
}

/// What all seeds together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Caught,
    CaughtByTheWrongOne,
    Missed,
    StayedGreen,
    /// A harmless one that failed: a false alarm, or not so harmless.
    Alarmed,
    /// It does not apply, or what it makes does not compile.
    Broken,
}

impl Outcome {
    pub fn is_good(self) -> bool {
        matches!(self, Outcome::Caught | Outcome::StayedGreen)
    }

    pub fn describe(self) -> &'static str {
        match self {
            Outcome::Caught => "caught",
            Outcome::CaughtByTheWrongOne => "CAUGHT BY THE WRONG ONE",
            Outcome::Missed => "MISSED",
            Outcome::StayedGreen => "green",
            Outcome::Alarmed => "FALSE ALARM",
            Outcome::Broken => "BROKEN",
        }
    }
}

impl Mutant {
    /// Reads a patch of `sim/mutants/NAME.patch`.
    pub fn parse(name: &str, patch: &str) -> Result<Mutant, String> {
        let mut mutant = Mutant::bare(name, patch);
        let mut named = None;
        for line in header(patch).filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once(':').ok_or(format!("no `Key: value`: {line}"))?;
            let value = value.trim();
            match key {
                "Mutant" => named = Some(value.to_string()),
                "Bug" => mutant.bug = value.to_string(),
                "Issue id" => mutant.issue_id = Some(number(key, value)? as u32),
                "Seen in" => mutant.seen_in = Some(value.to_string()),
                "Catches" => mutant.catches = invariants(value)?,
                "Seeds max" => mutant.seeds_max = number(key, value)?,
                "Seconds" => mutant.seconds = number(key, value)?,
                "Harmless" => mutant.harmless = value == "yes",
                _ => return Err(format!("`{key}` means nothing here")),
            }
        }
        if named.as_deref() != Some(name) {
            return Err(format!("it calls itself {named:?}"));
        }
        if mutant.bug.is_empty() {
            return Err("it does not say what is wrong with it (`Bug:`)".to_string());
        }
        if mutant.catches.is_empty() != mutant.harmless {
            return Err("it must be harmless, or else name what catches it".to_string());
        }
        Ok(mutant)
    }

    /// A patch from elsewhere. Whatever stands before the diff is not read.
    pub fn bare(name: &str, patch: &str) -> Mutant {
        let (name, patch) = (name.to_string(), patch.to_string());
        Mutant { name, patch, seeds_max: SEEDS_MAX, seconds: SECONDS, ..Mutant::default() }
    }

    pub fn expected(&self) -> String {
        let names: Vec<String> = self.catches.iter().map(|each| format!("{each:?}")).collect();
        match (self.harmless, names.is_empty()) {
            (true, _) => "none".to_string(),
            (false, true) => "any".to_string(),
            (false, false) => names.join(" "),
        }
    }

    pub fn judge(&self, failure: Option<&Failure>) -> Verdict {
        // A run that proved nothing is no alarm.
        let Some(failure) = failure.filter(|failure| !failure.is_vacuous()) else {
            return Verdict::Green;
        };
        let by = name_of(failure);
        let (is_named, is_any) = match failure.invariant {
            Some(invariant) => (self.catches.contains(&invariant), self.catches.is_empty()),
            // The simulator's own trouble is nobody's proof.
            None => (false, self.catches.is_empty() && failure.kind != Kind::Harness),
        };
        match !self.harmless && (is_named || is_any) {
            true => Verdict::Caught(by),
            false => Verdict::Wrong(by),
        }
    }

    /// Whether no more seeds are needed. A bug has many consequences: when another invariant sees
    /// one of them in some seed, that says nothing about the invariant that is named.
    pub fn is_decided_by(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Green => false,
            Verdict::Caught(_) => true,
            Verdict::Wrong(_) => self.harmless,
        }
    }

    /// What the verdict that decided means, or else the last one that was not green; `None`: all
    /// were green.
    pub fn outcome(&self, verdict: Option<&Verdict>) -> Outcome {
        match verdict {
            Some(Verdict::Caught(_)) => Outcome::Caught,
            Some(Verdict::Wrong(_)) if self.harmless => Outcome::Alarmed,
            Some(Verdict::Wrong(_)) => Outcome::CaughtByTheWrongOne,
            Some(Verdict::Green) | None if self.harmless => Outcome::StayedGreen,
            Some(Verdict::Green) | None => Outcome::Missed,
        }
    }
}

/// One share of several: `index` of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub index: u64,
    pub count: u64,
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let (index, count) = text.split_once('/').ok_or("I/N is expected, as in 0/3")?;
        let (index, count) = (number("I", index)?, number("N", count)?);
        if index >= count {
            return Err(format!("shares of {count} go from 0 to {}", count.saturating_sub(1)));
        }
        Ok(Share { index, count })
    }
}

/// Every `count`-th of them. `all` are in the order of their names, so that like bugs, which have
/// like names, are in different shares.
pub fn share_of<T>(all: Vec<T>, share: Share) -> Vec<T> {
    let mine = |at: &usize| *at as u64 % share.count == share.index;
    all.into_iter().enumerate().filter(|(at, _)| mine(at)).map(|(_, each)| each).collect()
}

/// What stands before the diff.
fn header(patch: &str) -> impl Iterator<Item = &str> {
    let is_diff = |line: &&str| line.starts_with("diff ") || line.starts_with("--- ");
    patch.lines().take_while(move |line| !is_diff(line))
}

fn invariants(list: &str) -> Result<Vec<Invariant>, String> {
    let find = |name: &str| {
        let known = Invariant::ALL.into_iter().find(|known| format!("{known:?}") == name);
        known.ok_or(format!("no invariant is called {name}"))
    };
    list.split([',', ' ']).filter(|name| !name.is_empty()).map(find).collect()
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    value.trim().parse().map_err(|_| format!("{key}: {value} is no number"))
}

/// The invariant that fired, or what else ended the run.
fn name_of(failure: &Failure) -> String {
    match failure.invariant {
        Some(invariant) => format!("{invariant:?}"),
        None => format!("{:?}", failure.kind).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const GOOD: &str = "Mutant: early\nBug: answers too early\nIssue id: 6\nSeen in: X-1, X-2\n\
                        Catches: I9, I10\nSeeds max: 7\n\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n";

    fn fired(invariant: Option<Invariant>, kind: Kind) -> Failure {
        Failure { kind, invariant, evidence: String::new(), events: vec![] }
    }

    #[test]
    fn a_header_says_what_must_catch_the_bug() {
        let mutant = Mutant::parse("early", GOOD).unwrap();
        assert_eq!((mutant.issue_id, mutant.seeds_max, mutant.seconds), (Some(6), 7, SECONDS));
        assert_eq!(mutant.catches, [Invariant::I9, Invariant::I10]);
        assert_eq!((mutant.expected(), mutant.patch), ("I9 I10".to_string(), GOOD.to_string()));
    }

    #[test]
    fn a_header_that_says_too_little_or_nonsense_is_refused() {
        let refused = |from: &str, to: &str| Mutant::parse("early", &GOOD.replace(from, to));
        assert!(refused("Mutant: early", "Mutant: late").unwrap_err().contains("late"));
        assert!(refused("Bug: answers too early\n", "").is_err());
        assert!(refused("Catches: I9, I10\n", "").is_err());
        assert!(refused("Catches", "Harmless: yes\nCatches").is_err());
        assert!(refused("I10", "I999").unwrap_err().contains("I999"));
        assert!(refused("Seeds max: 7", "Seeds max: many").is_err());
        assert!(refused("Seen in", "Seen at").unwrap_err().contains("Seen at"));
        refused("Catches: I9, I10", "Harmless: yes").unwrap();
    }

    #[test]
    fn only_the_invariant_that_is_named_counts() {
        let mutant = Mutant::parse("early", GOOD).unwrap();
        let verdict = |invariant, kind| mutant.judge(Some(&fired(invariant, kind)));
        let caught = verdict(Some(Invariant::I10), Kind::Safety);
        assert_eq!(caught, Verdict::Caught("I10".to_string()));
        assert_eq!(mutant.outcome(Some(&caught)), Outcome::Caught);
        let wrong = verdict(Some(Invariant::I5), Kind::Safety);
        assert_eq!(wrong, Verdict::Wrong("I5".to_string()));
        assert_eq!(mutant.outcome(Some(&wrong)), Outcome::CaughtByTheWrongOne);
        assert!(mutant.is_decided_by(&caught) && !mutant.is_decided_by(&wrong));
        assert_eq!(verdict(None, Kind::Panic), Verdict::Wrong("panic".to_string()));
        assert_eq!(mutant.judge(None), Verdict::Green);
        assert_eq!(mutant.outcome(None), Outcome::Missed);
    }

    #[test]
    fn a_patch_from_elsewhere_is_caught_by_anything_but_the_simulators_own_trouble() {
        let bare = Mutant::bare("theirs", "diff --git a/x b/x\n");
        let caught = |failure| matches!(bare.judge(Some(&failure)), Verdict::Caught(_));
        assert!(caught(fired(Some(Invariant::I2), Kind::Safety)));
        assert!(caught(fired(None, Kind::Panic)));
        assert!(!caught(fired(None, Kind::Harness)));
    }

    #[test]
    fn a_harmless_one_must_stay_green() {
        let text = GOOD.replace("Catches: I9, I10", "Harmless: yes");
        let mutant = Mutant::parse("early", &text).unwrap();
        assert_eq!(mutant.outcome(None), Outcome::StayedGreen);
        let verdict = mutant.judge(Some(&fired(Some(Invariant::I9), Kind::Safety)));
        assert_eq!(mutant.outcome(Some(&verdict)), Outcome::Alarmed);
        assert!(mutant.is_decided_by(&verdict));
    }

    #[test]
    fn shares_are_disjoint_and_together_all() {
        let all: Vec<u32> = (0..31).collect();
        let share = |text: &str| share_of(all.clone(), text.parse().unwrap());
        let mut together = [share("0/3"), share("1/3"), share("2/3")].concat();
        assert!(together.len() == all.len() && share("1/3").len() <= 11);
        together.sort_unstable();
        assert_eq!(together, all);
        for bad in ["3/3", "1", "x/3", "0/0"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn every_patch_says_what_must_catch_it_and_no_known_defect_is_left_out() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
        let all = workshop::read_all(&dir).unwrap();
        let ids: BTreeSet<u32> = all.iter().filter_map(|mutant| mutant.issue_id).collect();
        assert_eq!(ids, BTreeSet::from([6, 18, 28, 30, 31, 32, 33, 34, 48]));
        let own = all.iter().filter(|m| m.issue_id.is_none() && !m.harmless).count();
        assert!(own >= 14, "{own} of our own");
        assert!(all.iter().filter(|mutant| mutant.harmless).count() >= 3);
    }
}
