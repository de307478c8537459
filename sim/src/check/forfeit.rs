//! What still holds where the last copy was destroyed.
//!
//! The usual checks know nothing of forfeit partitions. Here they must be honest instead: what is
//! read was sent (I45), and a log that was damaged below its recovery point is refused, not cut
//! (I43). Everything else is checked as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use ottla::env::probe::Event;
use ottla::types::{Offset, Uuid};

use super::ghost::DATA_DIR;
use super::{Invariant, Violation};
use crate::budget::Budget;
use crate::disk::volume::Volume;
use crate::history::{Entry, What, name_of};
use crate::world::World;

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";

pub struct Watch {
    budget: Budget,
    /// By node, topic and partition: the topic's name, from before it was damaged.
    names: Mutex<BTreeMap<(usize, Uuid, i32), String>>,
}

impl Watch {
    pub fn new(budget: Budget) -> Watch {
        Watch { budget, names: Mutex::default() }
    }

    /// Whether `event` is of something forfeit; then it was checked here.
    pub fn observe(&self, world: &World, node: usize, event: &Event) -> bool {
        if self.budget.is_broker_forfeit(node) {
            return true;
        }
        let Some((topic, partition)) = event.log() else { return false };
        let mut names = self.names.lock().unwrap();
        if let Event::Recovered { dir, .. } = event
            && let Some((name, _)) =
                dir.file_name().and_then(|name| name.to_str()?.rsplit_once('-'))
        {
            names.insert((node, topic, partition), name.to_string());
        }
        let Some(name) = names.get(&(node, topic, partition)) else { return false };
        let is_forfeit = self.budget.is_forfeit(name, partition as u32);
        if let (true, Event::Recovered { start, end, .. }) = (is_forfeit, event) {
            let at = |volume: &Volume| recovery_point(volume, name, partition);
            let point = world.disk(node).with_volume(at);
            let checked = honest(&format!("{name}-{partition}"), *start, *end, point);
            checked.unwrap_or_else(|violation| violation.raise());
        }
        is_forfeit
    }
}

/// What was synced below the recovery point and is not there was refused, not cut.
fn honest(log: &str, start: Offset, end: Offset, point: Offset) -> Result<(), Violation> {
    if end >= point || start >= point {
        return Ok(());
    }
    let evidence = format!("{log} was damaged, and opened up to {end}; it was synced to {point}");
    Err(Violation::new(Invariant::I43, evidence))
}

fn recovery_point(volume: &Volume, topic: &str, partition: i32) -> Offset {
    let path = Path::new(DATA_DIR).join(RECOVERY_POINTS);
    let text = volume.find(&path).map(|ino| volume.image(ino).to_vec()).unwrap_or_default();
    let wanted = format!("{topic} {partition} ");
    let offset = String::from_utf8_lossy(&text)
        .lines()
        .find_map(|line| line.strip_prefix(&wanted)?.parse().ok());
    Offset(offset.unwrap_or(0))
}

/// The history without what is forfeit, for the usual checks; of that everything that was read was
/// sent.
pub fn set_apart(budget: &Budget, history: Vec<Entry>) -> Result<Vec<Entry>, Violation> {
    if budget.is_intact() {
        return Ok(history);
    }
    let (mut sent, mut batches) = (BTreeSet::new(), BTreeSet::new());
    let mut kept = vec![];
    for entry in history {
        let forfeit = match (place(&entry.what), batch(&entry.what)) {
            (Some((topic, partition)), _) => budget.is_forfeit(name_of(topic), partition),
            (None, Some(batch)) => batches.contains(&(entry.process.clone(), batch)),
            (None, None) => false,
        };
        if !forfeit {
            kept.push(entry);
            continue;
        }
        match &entry.what {
            What::Produce { batch, records, .. } => {
                sent.extend(records.iter().copied());
                batches.insert((entry.process.clone(), *batch));
            }
            What::Read { topic, partition, base, records, .. } => {
                // 0 is a record that cannot be read, and says so.
                let strange = |record: &&u64| **record != 0 && !sent.contains(*record);
                if let Some(record) = records.iter().find(strange) {
                    let evidence = format!(
                        "{topic}-{partition} was damaged, and served {record:016x} at or after \
                         offset {base}, which was never sent"
                    );
                    return Err(Violation::new(Invariant::I45, evidence));
                }
            }
            _ => {}
        }
    }
    Ok(kept)
}

/// The partition that an entry is about.
fn place(what: &What) -> Option<(&str, u32)> {
    match what {
        What::Produce { topic, partition, .. }
        | What::Position { topic, partition, .. }
        | What::Read { topic, partition, .. }
        | What::OutOfRange { topic, partition, .. }
        | What::Listed { topic, partition, .. }
        | What::Bounds { topic, partition, .. } => Some((topic, *partition)),
        _ => None,
    }
}

/// The batch that an entry is about.
fn batch(what: &What) -> Option<u64> {
    match *what {
        What::Produced { batch, .. }
        | What::Refused { batch, .. }
        | What::Unknown { batch, .. }
        | What::Resend { batch }
        | What::Resent { batch, .. } => Some(batch),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Copy;
    use crate::plan::Plan;
    use crate::plan::fault::{Damage, Fault, Planned, Repair};

    fn budget(forfeit: &[u32]) -> Budget {
        let repair = Repair { after_ms: 1, power: None };
        let fault = Fault::Damage { broker: 0, damage: Damage::Rot, repair };
        let faults = vec![Planned { id: 1, at_ms: 0, moment: None, fault }];
        let budget = Budget::of(&Plan { faults, ..Plan::draw(1, 1000) });
        for index in forfeit {
            budget.permit(&Copy::Partition { topic: "t".to_string(), index: *index });
        }
        budget
    }

    fn produce(partition: u32, batch: u64, record: u64) -> What {
        What::Produce {
            topic: "t#id".to_string(),
            partition,
            batch,
            records: vec![record],
            acks: -1,
            idempotent: true,
            once: true,
            ordered: true,
            sequence: None,
            bytes: 1,
            times: vec![],
        }
    }

    fn read(record: u64) -> What {
        What::Read {
            topic: "t#id".to_string(),
            partition: 1,
            session: 0,
            base: 0,
            records: vec![record],
            append_ms: None,
            high_watermark: 1,
            asked: 0,
            last: false,
        }
    }

    fn story(record: u64) -> Vec<Entry> {
        let produced = |batch| What::Produced { batch, base: None, append_ms: None, attempts: 1 };
        let told = [
            ("p", produce(0, 0, 10)),
            ("p", produced(0)),
            ("p", produce(1, 1, 11)),
            ("p", produced(1)),
            ("c", read(record)),
        ];
        let entry = |(at, (process, what)): (u64, (&str, What))| Entry {
            at,
            process: process.to_string(),
            what,
        };
        (0..).zip(told).map(entry).collect()
    }

    #[test]
    fn what_is_forfeit_is_set_apart_and_nothing_else() {
        assert_eq!(set_apart(&budget(&[]), story(99)).unwrap(), story(99));
        let kept = set_apart(&budget(&[1]), story(11)).unwrap();
        assert_eq!(kept, story(11)[..2]);
        assert!(set_apart(&budget(&[1]), story(0)).is_ok(), "it says that it cannot be read");
    }

    #[test]
    fn what_was_never_sent_is_not_served_from_a_damaged_log_either() {
        let violation = set_apart(&budget(&[1]), story(99)).unwrap_err();
        assert_eq!(violation.invariant, Invariant::I45);
    }

    #[test]
    fn a_damaged_log_that_is_cut_below_its_recovery_point_is_caught() {
        let opened = |end| honest("t-0", Offset(0), Offset(end), Offset(5));
        assert_eq!(opened(4).unwrap_err().invariant, Invariant::I43);
        opened(5).unwrap();
        honest("t-0", Offset(5), Offset(5), Offset(5)).unwrap();
    }
}
