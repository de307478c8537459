//! Makes a failing plan small: delta debugging over its JSON.
//!
//! It knows next to nothing of what a plan says. Lists have elements that may go, options are left
//! to their defaults, fields are left out, numbers become smaller; so a new part of the plan is
//! shrunk without a word here, and the tables below only say what must stay and what hangs
//! together. Whether what remains still fails in the same way is the oracle's to say.
//!
//! Pure: given the same answers, it takes the same steps.

use std::ops::Range;

use serde_json::{Value, json};

use self::tree::{Pattern, Tree};

mod tree;

/// Lists whose elements are not for us to drop.
const FIXED: &[&str] = &["brokers"];

/// Lists of what there is, not of what happens.
const STANDING: &[&str] = &["brokers", "topics", "partitions"];

/// Objects that are lists of names with values.
const MAPS: &[&str] = &["options", "configs", "changes"];

/// Numbers that are names, or the order of things.
const NAMES: &[&str] = &["format", "seed", "at_ms", "broker", "host", "from", "to"];

/// Numbers that would be too small for any broker: how wide the world is, how patient clients are.
const NEEDS: &[&str] = &[
    "link",
    "temper",
    "disk_bytes",
    "delivery_ms",
    "wait_ms",
    "pause_ms",
    "bytes_max",
    "bytes_per_second",
];

/// Numbers that mean nothing below one.
const COUNTS: &[&str] = &["partitions", "in_flight", "slowness", "batches"];

/// Strings that have a simplest value.
const SIMPLEST: &[(&str, &str)] = &[("compression", "none")];

const LASTS_MS: &str = "lasts_ms";

/// One element of a group is made smaller by itself only where there are few of them.
const ALONE_MAX: usize = 32;

/// How often a candidate is tried with other latencies, torn sectors and orders of tasks, once
/// nothing else helps: the smaller plan may need luck of its own.
const VARIANTS: [usize; 3] = [1, 2, 4];

/// Says which plans fail as the first one did.
pub trait Oracle {
    /// The first of `count` candidates that does, if there is still time to look.
    fn first(&mut self, count: usize, candidate: &(dyn Fn(usize) -> Value + Sync))
    -> Option<usize>;

    fn is_over(&self) -> bool;

    /// From now on this is the plan.
    fn accept(&mut self, plan: &Value);
}

/// Events of a plan: faults, bursts, batches, operations.
pub fn events(plan: &Value) -> usize {
    let counts = |pattern: &Pattern| !STANDING.contains(&pattern.last());
    let lists = plan.lists().into_iter().filter(counts);
    lists.map(|pattern| plan.elements(&pattern)).sum()
}

/// A smaller plan. `failed_ms` is when the failure showed, and `defaults` are worth a try where
/// their pattern leads.
pub fn shrink(
    plan: Value,
    failed_ms: u64,
    defaults: &[(&str, Value)],
    oracle: &mut impl Oracle,
) -> Value {
    let mut shrinking = Shrinking { plan, oracle, variants: 1 };
    shrinking.until(failed_ms);
    for variants in VARIANTS {
        shrinking.variants = variants;
        loop {
            let before = shrinking.plan.clone();
            shrinking.shorten();
            shrinking.drop_elements();
            shrinking.simplify(defaults);
            shrinking.lower();
            if shrinking.plan == before || shrinking.oracle.is_over() {
                break;
            }
        }
    }
    shrinking.plan
}

struct Shrinking<'a, O> {
    plan: Value,
    oracle: &'a mut O,
    variants: usize,
}

impl<O: Oracle> Shrinking<'_, O> {
    /// Goes on with the first of the candidates that fails, and says which it was.
    fn first(
        &mut self,
        count: usize,
        candidate: impl Fn(&Value, usize) -> Value + Sync,
    ) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let (plan, variants) = (&self.plan, self.variants);
        let varied = |index: usize| vary(candidate(plan, index / variants), index % variants);
        let found = self.oracle.first(count * variants, &varied)?;
        self.plan = varied(found);
        self.oracle.accept(&self.plan);
        Some(found / variants)
    }

    /// The run ends soon after the failure.
    fn until(&mut self, failed_ms: u64) {
        if failed_ms < lasts_ms(&self.plan) {
            self.first(1, |plan, _| cut(plan, failed_ms + 1));
        }
    }

    fn shorten(&mut self) {
        loop {
            let lasts = lasts_ms(&self.plan);
            let lengths = [lasts / 16, lasts / 4, lasts / 2, lasts - lasts / 4, lasts - lasts / 10];
            let lengths: Vec<u64> =
                lengths.into_iter().filter(|length| (1..lasts).contains(length)).collect();
            if self.first(lengths.len(), |plan, index| cut(plan, lengths[index])).is_none() {
                return;
            }
        }
    }

    /// Outer lists first: whole clients go before their bursts are looked at one by one.
    fn drop_elements(&mut self) {
        for pattern in self.plan.lists() {
            if !FIXED.contains(&pattern.last()) {
                self.drop_from(&pattern);
            }
        }
    }

    /// Large pieces first, all lists of the pattern being one.
    fn drop_from(&mut self, pattern: &Pattern) {
        let mut piece = self.plan.elements(pattern);
        while piece > 0 {
            let mut at = 0;
            loop {
                let left = self.plan.elements(pattern).saturating_sub(at);
                let from = |index: usize| at + index * piece;
                let dropped = self.first(left.div_ceil(piece), |plan, index| {
                    without(plan, pattern, from(index)..from(index + 1))
                });
                // What stands there now has not been tried.
                let Some(index) = dropped else { break };
                at += index * piece;
            }
            piece /= 2;
        }
    }

    fn simplify(&mut self, defaults: &[(&str, Value)]) {
        for (pattern, value) in defaults {
            self.set(&Pattern::parse(pattern), value.clone());
        }
        for pattern in self.plan.objects() {
            if MAPS.contains(&pattern.last()) {
                self.drop_from(&pattern);
            }
        }
        for pattern in self.plan.leaves() {
            let simplest = SIMPLEST.iter().find(|(name, _)| *name == pattern.last());
            if let Some((_, value)) = simplest {
                self.set(&pattern, json!(value));
            }
            self.set(&pattern, json!(false));
        }
        for pattern in self.plan.fields() {
            self.set(&pattern, Value::Null);
            let mut without = self.plan.clone();
            without.remove(&pattern);
            self.attempt(without);
        }
    }

    /// Everywhere at once.
    fn set(&mut self, pattern: &Pattern, value: Value) {
        let mut plan = self.plan.clone();
        plan.change(pattern, |old| {
            // A number is not true or false.
            if old.is_boolean() || !value.is_boolean() {
                old.clone_from(&value);
            }
        });
        self.attempt(plan);
    }

    fn attempt(&mut self, candidate: Value) {
        if candidate != self.plan {
            self.first(1, |_, _| candidate.clone());
        }
    }

    fn lower(&mut self) {
        for pattern in self.plan.leaves() {
            let stays = NEEDS.iter().any(|name| pattern.names(name));
            if stays || NAMES.contains(&pattern.last()) || pattern.last() == LASTS_MS {
                continue;
            }
            self.lower_all(&pattern, None);
            let count = self.plan.count(&pattern);
            if (2..=ALONE_MAX).contains(&count) {
                for index in 0..count {
                    self.lower_all(&pattern, Some(index));
                }
            }
        }
    }

    /// All numbers of a pattern, or one of them.
    fn lower_all(&mut self, pattern: &Pattern, only: Option<usize>) {
        let least = i128::from(COUNTS.contains(&pattern.last()));
        let lowered = |plan: &Value, quarters: i128| {
            let (mut plan, mut index) = (plan.clone(), 0);
            plan.change(pattern, |value| {
                if only.is_none_or(|only| only == index) {
                    lower(value, quarters, least);
                }
                index += 1;
            });
            plan
        };
        loop {
            let parts: Vec<i128> = [0, 2, 3]
                .into_iter()
                .filter(|part| lowered(&self.plan, *part) != self.plan)
                .collect();
            if self.first(parts.len(), |plan, index| lowered(plan, parts[index])).is_none() {
                return;
            }
        }
    }
}

/// To so many quarters of itself.
fn lower(value: &mut Value, quarters: i128, least: i128) {
    let lowered = |number: i128| {
        let lowered = number * quarters / 4;
        if number >= least { lowered.max(least) } else { lowered }
    };
    if let Some(number) = value.as_i64() {
        *value = json!(lowered(number.into()) as i64);
    } else if let Some(number) = value.as_u64() {
        *value = json!(lowered(number.into()) as u64);
    }
}

fn lasts_ms(plan: &Value) -> u64 {
    plan.get(LASTS_MS).and_then(Value::as_u64).unwrap_or(0)
}

/// A shorter run, without what would have come later.
fn cut(plan: &Value, lasts_ms: u64) -> Value {
    let mut plan = plan.clone();
    plan.retain(&|element| {
        element.get("at_ms").and_then(Value::as_u64).is_none_or(|at_ms| at_ms < lasts_ms)
    });
    plan[LASTS_MS] = json!(lasts_ms);
    plan
}

/// Who comes later comes when it came before: it waits for those who are gone, too.
fn without(plan: &Value, pattern: &Pattern, dropped: Range<usize>) -> Value {
    let mut plan = plan.clone();
    plan.drop_elements(pattern, dropped, |gone, next| {
        let waits = |element: &Value| element.get("after_ms").and_then(Value::as_u64);
        if let (Some(gone), Some(waited)) = (waits(gone), waits(next)) {
            next["after_ms"] = json!(gone + waited);
        }
    });
    plan
}

/// The same plan with other small things.
fn vary(mut plan: Value, variant: usize) -> Value {
    if variant > 0
        && let Some(seed) = plan.get("seed").and_then(Value::as_u64)
    {
        plan["seed"] = json!(seed.wrapping_add(variant as u64 * 1_000_003));
    }
    plan
}

#[cfg(test)]
mod tests;
