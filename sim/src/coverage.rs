//! What came about in a run, by name. A batch in which something never did proves less than it
//! seems to.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Answer, Entry, Operation, What};

/// All that should come about in some run of a batch.
const NAMES: [&str; 37] = [
    "produced",
    "produced, acks 1",
    "produced, not idempotent",
    "produced, stamped by the broker",
    "unknown",
    "unknown, acks 0",
    "refused",
    "refused, too large",
    "sent once more",
    "sent once more, known again",
    "identity",
    "read along",
    "read at the end",
    "read, stamped by the broker",
    "out of range",
    "position",
    "listed the start",
    "listed the end",
    "listed by time",
    "listed by time, nothing",
    "created",
    "deleted",
    "deleted by id",
    "grown",
    "configured",
    "records deleted",
    "described",
    "configs described",
    "denied",
    "unanswered",
    "hostile: garbage",
    "hostile: oversized",
    "hostile: truncated",
    "hostile: half",
    "hostile: silent",
    "hostile: greedy",
    "hostile: break_off",
];

const MESSAGE_TOO_LARGE: i16 = 10;

/// How often each came about, also those that did not.
pub fn of(entries: &[Entry]) -> BTreeMap<String, u64> {
    let mut coverage: BTreeMap<String, u64> =
        NAMES.iter().map(|name| (name.to_string(), 0)).collect();
    let mut teller = Teller::default();
    for entry in entries {
        for name in teller.names(entry) {
            *coverage.get_mut(&name).expect("the list has all names") += 1;
        }
    }
    coverage
}

/// Remembers what answers speak of.
#[derive(Default)]
struct Teller<'a> {
    /// Batches that are not idempotent, or not with acks=all.
    plain: BTreeSet<(&'a str, u64)>,
    acks: BTreeMap<(&'a str, u64), i16>,
    asked: BTreeMap<(&'a str, u64), &'a Operation>,
}

impl<'a> Teller<'a> {
    fn names(&mut self, entry: &'a Entry) -> Vec<String> {
        let of = |number: u64| (&entry.process[..], number);
        let also = |first: &str, more: Option<&str>| -> Vec<String> {
            let more = more.map(|more| format!("{first}, {more}"));
            [first.to_string()].into_iter().chain(more).collect()
        };
        match &entry.what {
            What::Produce { batch, acks, idempotent, .. } => {
                self.acks.insert(of(*batch), *acks);
                if !idempotent {
                    self.plain.insert(of(*batch));
                }
                vec![]
            }
            What::Produced { batch, append_ms, .. } => {
                let is_leader_only = self.acks.get(&of(*batch)) == Some(&1);
                let mut names = also("produced", is_leader_only.then_some("acks 1"));
                if self.plain.contains(&of(*batch)) {
                    names.push("produced, not idempotent".to_string());
                }
                if append_ms.is_some() {
                    names.push("produced, stamped by the broker".to_string());
                }
                names
            }
            What::Unknown { batch, .. } => {
                let nobody_told = self.acks.get(&of(*batch)) == Some(&0);
                also("unknown", nobody_told.then_some("acks 0"))
            }
            What::Refused { code, .. } => {
                also("refused", (*code == MESSAGE_TOO_LARGE).then_some("too large"))
            }
            What::Resent { code, .. } => {
                also("sent once more", (*code == 0).then_some("known again"))
            }
            What::Read { last: true, .. } => vec!["read at the end".to_string()],
            What::Read { append_ms, .. } => {
                let mut names = vec!["read along".to_string()];
                if append_ms.is_some() {
                    names.push("read, stamped by the broker".to_string());
                }
                names
            }
            What::Listed { timestamp, offset, .. } => match timestamp {
                -2 => vec!["listed the start".to_string()],
                -1 => vec!["listed the end".to_string()],
                _ => also("listed by time", offset.is_none().then_some("nothing")),
            },
            What::Hostile { manner } => vec![format!("hostile: {manner}")],
            What::Ask { op, operation } => {
                self.asked.insert(of(*op), operation);
                vec![]
            }
            What::Answered { op, answer } => {
                answered(self.asked.get(&of(*op)).copied(), answer).into_iter().collect()
            }
            what => plain(what).map(str::to_string).into_iter().collect(),
        }
    }
}

fn plain(what: &What) -> Option<&'static str> {
    match what {
        What::Identity { .. } => Some("identity"),
        What::OutOfRange { .. } => Some("out of range"),
        What::Position { .. } => Some("position"),
        What::Denied { .. } => Some("denied"),
        What::Unanswered { .. } => Some("unanswered"),
        _ => None,
    }
}

fn answered(operation: Option<&Operation>, answer: &Answer) -> Option<String> {
    let name = match (answer, operation?) {
        (Answer::Created { .. }, _) => "created",
        (Answer::LowWatermark { .. }, _) => "records deleted",
        (Answer::Topic { .. }, _) => "described",
        (Answer::Configs { .. }, _) => "configs described",
        (Answer::Done, Operation::DeleteTopic { .. }) => "deleted",
        (Answer::Done, Operation::DeleteIncarnation { .. }) => "deleted by id",
        (Answer::Done, Operation::Grow { .. }) => "grown",
        (Answer::Done, Operation::Configure { .. }) => "configured",
        (Answer::Done, _) => return None,
    };
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_counts_as_zero() {
        let process = "admin-0".to_string();
        let what = What::Denied { op: 0, code: 3 };
        let coverage = of(&[Entry { at: 0, process, what }]);
        assert_eq!(coverage.len(), NAMES.len());
        assert_eq!((coverage["produced"], coverage["denied"]), (0, 1));
    }

    #[test]
    fn an_answer_counts_for_what_was_asked() {
        let entry = |what| Entry { at: 0, process: "admin-0".to_string(), what };
        let operation = Operation::Grow { name: "orders".to_string(), partitions: 2 };
        let asked = entry(What::Ask { op: 7, operation });
        let answered = entry(What::Answered { op: 7, answer: Answer::Done });
        let coverage = of(&[asked, answered]);
        assert_eq!((coverage["grown"], coverage["configured"]), (1, 0));
    }
}
