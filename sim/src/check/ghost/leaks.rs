//! What a broker still holds when all clients are gone and everything is answered: nothing of them
//! (I53). Counted outside of it: its tasks by their names, and its open files.

use std::collections::BTreeMap;

use super::{Verdict, broken};
use crate::check::Invariant::I53;

/// Records and two indexes: the next checkpoint may be about to sync them.
const FILES_PER_SEGMENT: usize = 3;
const FILES_BESIDE: usize = 16;

/// Tasks that end with what they were begun for.
const PASSING: [&str; 3] = ["connection", "open-logs", "create-topics"];

pub struct Held {
    pub tasks: BTreeMap<&'static str, usize>,
    pub open_files: usize,
    pub segments: usize,
}

impl Held {
    pub fn check(&self) -> Verdict {
        let left = PASSING.iter().filter_map(|name| Some((*name, *self.tasks.get(name)?)));
        let left: Vec<_> = left.filter(|(_, count)| *count > 0).collect();
        if !left.is_empty() {
            return broken(I53, format!("no client is left, and these tasks are: {left:?}"));
        }
        let files_max = FILES_BESIDE + FILES_PER_SEGMENT * self.segments;
        if self.open_files > files_max {
            let Held { open_files, segments, .. } = self;
            let evidence = format!("{open_files} files are open, of {segments} segments at rest");
            return broken(I53, evidence);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::broke;
    use super::*;

    fn held(tasks: &[(&'static str, usize)], open_files: usize) -> Held {
        Held { tasks: tasks.iter().copied().collect(), open_files, segments: 3 }
    }

    #[test]
    fn a_broker_at_rest_holds_its_own_tasks_and_files() {
        held(&[("accept", 1), ("checkpoint", 1), ("connection", 0)], 12).check().unwrap();
    }

    #[test]
    fn a_connection_or_files_that_stay_are_caught() {
        assert_eq!(broke(held(&[("connection", 1)], 12).check()), Some(I53));
        assert_eq!(broke(held(&[], 100).check()), Some(I53));
    }
}
