//! Which leader wrote from where: the file `leader-epoch-checkpoint`, as a map in memory.
//!
//! Pure. Invariants, checked after every change: epochs and start offsets both strictly grow, so
//! an entry says "this leader's records begin here and end where the next entry begins".

use crate::log::text;
use crate::types::{LeaderEpoch, Offset};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// Where an epoch ends: the answer to OffsetForLeaderEpoch and the base of follower truncation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// What the wire has where no epoch is known.
const UNDEFINED: LeaderEpoch = LeaderEpoch(-1);

impl Epochs {
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// `epoch` writes from `start` on. Entries of that epoch or later, or from there or later, are
    /// forgotten first: they described records that no longer exist, or none. True when the map
    /// changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        match self.entries.last() {
            // Within an epoch only its first batch tells something new.
            Some(last) if last.epoch == epoch && last.start <= start => return false,
            _ => {}
        }
        self.entries.retain(|entry| entry.epoch < epoch && entry.start < start);
        self.entries.push(Entry { epoch, start });
        self.check();
        true
    }

    /// The end of the largest epoch at or below `asked`; the latest one ends where the log does.
    /// Asked below all that is known: that epoch itself, ending where the first known one starts.
    /// `None` when nothing is known, or `asked` is above the latest.
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let above = self.entries.partition_point(|entry| entry.epoch <= asked);
        match (above.checked_sub(1).map(|at| self.entries[at]), self.entries.get(above)) {
            (Some(floor), Some(next)) => Some(EpochEnd { epoch: floor.epoch, end: next.start }),
            (None, Some(next)) if asked != UNDEFINED => {
                Some(EpochEnd { epoch: asked, end: next.start })
            }
            (Some(last), None) if last.epoch == asked => {
                Some(EpochEnd { epoch: asked, end: log_end })
            }
            _ => None,
        }
    }

    /// The epoch that wrote `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        above.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The log now ends at `end`. True when the map changed.
    pub fn truncate_end(&mut self, end: Offset) -> bool {
        let keep = self.entries.partition_point(|entry| entry.start < end);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// The log now starts at `start`: the entry that covers it is anchored there. True when the
    /// map changed.
    pub fn truncate_start(&mut self, start: Offset) -> bool {
        let above = self.entries.partition_point(|entry| entry.start <= start);
        let Some(covering) = above.checked_sub(1) else { return false };
        let changed = covering > 0 || self.entries[covering].start < start;
        self.entries.drain(..covering);
        self.entries[0].start = start;
        self.check();
        changed
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The lines of `leader-epoch-checkpoint`.
    pub fn to_text(&self) -> String {
        let lines = self.entries.iter().map(|e| format!("{} {}\n", e.epoch.0, e.start));
        text::checkpoint(lines)
    }

    /// Reads what `to_text` writes; `None` when it is anything else.
    pub fn parse(contents: &str) -> Option<Epochs> {
        let mut epochs = Epochs::default();
        for line in text::checkpoint_lines(contents)? {
            let (epoch, start) = line.split_once(' ')?;
            let entry = Entry {
                epoch: LeaderEpoch(epoch.parse().ok()?),
                start: Offset(start.parse().ok()?),
            };
            let grows = epochs
                .entries
                .last()
                .is_none_or(|last| last.epoch < entry.epoch && last.start < entry.start);
            if !grows || entry.epoch.0 < 0 || entry.start.0 < 0 {
                return None;
            }
            epochs.entries.push(entry);
        }
        Some(epochs)
    }

    fn check(&self) {
        // Only the last two can have become wrong: the rest was checked when they were last.
        if let [.., before, last] = self.entries[..] {
            assert!(before.epoch < last.epoch, "epochs grow along the log");
            assert!(before.start < last.start, "each epoch begins after the one before it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(pairs: &[(i32, i64)]) -> Epochs {
        let entries =
            pairs.iter().map(|&(e, s)| Entry { epoch: LeaderEpoch(e), start: Offset(s) }).collect();
        Epochs { entries }
    }

    fn end(epoch: i32, end: i64) -> Option<EpochEnd> {
        Some(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) })
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let known = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let ask = |epoch| known.end_of(LeaderEpoch(epoch), Offset(35));
        assert_eq!(ask(7), end(7, 35), "the latest ends with the log");
        assert_eq!(ask(4), end(4, 30));
        assert_eq!(ask(5), end(4, 30), "an epoch that wrote nothing here: the one before it");
        assert_eq!(ask(1), end(1, 10), "before all that is known");
        assert_eq!(ask(8), None, "from the future");
        assert_eq!(ask(-1), None);
        assert_eq!(Epochs::default().end_of(LeaderEpoch(0), Offset(0)), None);
    }

    #[test]
    fn a_new_epoch_replaces_an_older_one_that_wrote_nothing() {
        let mut known = epochs(&[(0, 0), (3, 5)]);
        assert!(known.assign(LeaderEpoch(4), Offset(5)));
        assert_eq!(known, epochs(&[(0, 0), (4, 5)]));
        assert!(!known.assign(LeaderEpoch(4), Offset(9)), "its first offset is known");
        assert!(known.assign(LeaderEpoch(5), Offset(9)));
        assert_eq!(known, epochs(&[(0, 0), (4, 5), (5, 9)]));
        assert_eq!(known.epoch_at(Offset(8)), Some(LeaderEpoch(4)));
    }

    #[test]
    fn truncation_forgets_what_lies_outside_and_anchors_the_start() {
        let mut known = epochs(&[(0, 0), (4, 5), (5, 9)]);
        assert!(known.truncate_end(Offset(9)));
        assert!(!known.truncate_end(Offset(9)));
        assert!(known.truncate_start(Offset(7)));
        assert_eq!(known, epochs(&[(4, 7)]));
        assert!(!known.truncate_start(Offset(7)));
        assert!(known.truncate_start(Offset(12)));
        assert_eq!(known, epochs(&[(4, 12)]), "the last epoch stays known in an empty log");
    }

    #[test]
    fn the_file_reads_back_and_nonsense_does_not() {
        let known = epochs(&[(0, 60), (2, 100)]);
        assert_eq!(known.to_text(), "0\n2\n0 60\n2 100\n");
        assert_eq!(Epochs::parse(&known.to_text()), Some(known));
        assert_eq!(Epochs::parse("0\n0\n"), Some(Epochs::default()));
        for bad in ["", "1\n0\n", "0\n2\n0 60\n", "0\n1\n0\n", "0\n2\n2 5\n1 9\n", "0\n1\n-1 0\n"] {
            assert_eq!(Epochs::parse(bad), None, "{bad:?}");
        }
    }
}
