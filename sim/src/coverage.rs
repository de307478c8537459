//! What came about in a run, by name. A batch in which something never did proves less than it
//! seems to.

use std::collections::BTreeMap;

use crate::history::{Entry, What};

/// All that should come about in some run of a batch.
const NAMES: [&str; 4] = ["produced", "unknown", "read along", "read at the end"];

/// How often each came about, also those that did not.
pub fn of(entries: &[Entry]) -> BTreeMap<String, u64> {
    let mut coverage: BTreeMap<String, u64> =
        NAMES.iter().map(|name| (name.to_string(), 0)).collect();
    for name in entries.iter().filter_map(|entry| name_of(&entry.what)) {
        *coverage.get_mut(name).expect("the list has all names") += 1;
    }
    coverage
}

fn name_of(what: &What) -> Option<&'static str> {
    match what {
        What::Produced { .. } => Some("produced"),
        What::Unknown { .. } => Some("unknown"),
        What::Read { last: false, .. } => Some("read along"),
        What::Read { last: true, .. } => Some("read at the end"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_counts_as_zero() {
        let what = What::Bounds { topic: "orders".to_string(), partition: 0, start: 0, end: 0 };
        let entries = [Entry { at: 0, process: "last-reader".to_string(), what }];
        let coverage = of(&entries);
        assert_eq!(coverage.len(), NAMES.len());
        assert_eq!(coverage["produced"], 0);
    }
}
