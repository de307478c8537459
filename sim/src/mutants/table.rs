//! What came of the mutants: a line for each while they run, a table and a median at the end.

use serde::Serialize;

use super::Outcome;

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub expected: String,
    pub outcome: Outcome,
    /// The invariant that fired, or what else ended the run.
    pub by: Option<String>,
    pub seeds: u64,
    /// Of these, so many were seen by an invariant that is not named.
    pub seen_by_others: u64,
    /// Of these, so many fail without the mutant, too.
    pub unsound: u64,
    /// The seed that caught it.
    pub seed: Option<u64>,
    /// Of the simulated runs, on one core.
    pub cpu_seconds: f64,
    pub build_seconds: f64,
    pub evidence: String,
}

#[derive(Debug, Serialize)]
pub struct Summary {
    pub first_seed: u64,
    pub caught: usize,
    pub green: usize,
    pub failed: usize,
    pub seeds_median: Option<u64>,
    pub rows: Vec<Row>,
}

impl Summary {
    pub fn new(first_seed: u64, rows: Vec<Row>) -> Summary {
        let count = |outcome: Outcome| rows.iter().filter(|row| row.outcome == outcome).count();
        let caught = rows.iter().filter(|row| row.outcome == Outcome::Caught);
        let seeds_median = median(caught.map(|row| row.seeds).collect());
        Summary {
            first_seed,
            caught: count(Outcome::Caught),
            green: count(Outcome::StayedGreen),
            failed: rows.iter().filter(|row| !row.outcome.is_good()).count(),
            seeds_median,
            rows,
        }
    }

    pub fn text(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let mut text = format!(
            "{:<width$}  {:<12} {:<8} {:>5} {:>6} {:>7} {:>7}  outcome\n",
            "mutant", "expected", "by", "seeds", "others", "cpu s", "build s"
        );
        for row in &self.rows {
            text += &format!(
                "{:<width$}  {:<12} {:<8} {:>5} {:>6} {:>7.1} {:>7.1}  {}\n",
                row.name,
                row.expected,
                row.by.as_deref().unwrap_or("-"),
                row.seeds,
                row.seen_by_others,
                row.cpu_seconds,
                row.build_seconds,
                row.outcome.describe()
            );
        }
        let median = self.seeds_median.map_or("none".to_string(), |median| median.to_string());
        let Summary { caught, green, failed, .. } = self;
        text + &format!(
            "{caught} caught (median of seeds: {median}), {green} green, {failed} failed"
        )
    }
}

/// The lower one of the two in the middle.
fn median(mut seeds: Vec<u64>) -> Option<u64> {
    seeds.sort_unstable();
    seeds.get(seeds.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, outcome: Outcome, seeds: u64) -> Row {
        Row {
            name: name.to_string(),
            expected: "I9".to_string(),
            outcome,
            by: None,
            seeds,
            seen_by_others: 0,
            unsound: 0,
            seed: None,
            cpu_seconds: 1.0,
            build_seconds: 2.0,
            evidence: String::new(),
        }
    }

    #[test]
    fn only_those_that_were_caught_count_for_the_median() {
        use Outcome::{Broken, Caught, Missed, StayedGreen};
        let rows = [(Caught, 1), (Caught, 9), (Missed, 40), (StayedGreen, 40), (Caught, 2)];
        let rows = rows.map(|(outcome, seeds)| row("a", outcome, seeds)).to_vec();
        let summary = Summary::new(7, rows);
        assert_eq!((summary.caught, summary.green, summary.failed), (3, 1, 1));
        assert_eq!(summary.seeds_median, Some(2));
        assert!(summary.text().contains("median of seeds: 2"));
        assert_eq!(Summary::new(7, vec![row("a", Broken, 0)]).seeds_median, None);
    }
}
