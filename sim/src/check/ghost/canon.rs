//! What is committed in a partition, whichever node says so: a list that only grows (I2, I3, I5).
//!
//! It is extended by the batches that a high watermark covers, at the moment it does. A node that
//! would show other records at an offset is caught before any consumer sees them.

use std::collections::BTreeMap;

use ottla::types::{LeaderEpoch, Offset};

use super::image::Batch;
use super::{Log, Verdict, broken};
use crate::check::Invariant::{I3, I5};

#[derive(Default)]
pub struct Canon {
    /// By first offset, without overlaps.
    committed: BTreeMap<Offset, Committed>,
    /// Every batch that was ever written, also those that a crash took: an epoch has one leader,
    /// who writes each offset once.
    written: BTreeMap<(LeaderEpoch, Offset), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Committed {
    end: Offset,
    epoch: LeaderEpoch,
    hash: u64,
}

impl Canon {
    pub fn written(&mut self, log: Log, batch: &Batch) -> Verdict {
        let before = *self.written.entry((batch.epoch, batch.base)).or_insert(batch.hash);
        if before != batch.hash {
            let evidence = format!(
                "{log} wrote two different batches at offset {} in epoch {}",
                batch.base, batch.epoch.0
            );
            return broken(I5, evidence);
        }
        Ok(())
    }

    /// The high watermark of `log` covers the batch.
    pub fn commit(&mut self, log: Log, batch: &Batch) -> Verdict {
        let Batch { base, end, epoch, hash, .. } = *batch;
        let committed = Committed { end, epoch, hash };
        let before = self.committed.range(..end).next_back().map(|(base, known)| (*base, *known));
        match before {
            Some((at, known)) if at == base && known == committed => Ok(()),
            Some((at, known)) if known.end > base => {
                let evidence = format!(
                    "{log} commits {base} to {end} of epoch {} (hash {hash:016x}); committed is {at} \
                     to {} of epoch {} (hash {:016x})",
                    epoch.0, known.end, known.epoch.0, known.hash
                );
                broken(I3, evidence)
            }
            _ => {
                self.committed.insert(base, committed);
                Ok(())
            }
        }
    }

    /// Nobody is bound to remember what lay at or after `end`: its topic does not sync.
    pub fn forfeit(&mut self, end: Offset) {
        self.committed.split_off(&end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOG, batch, broke};
    use super::*;

    #[test]
    fn what_is_committed_may_be_said_again() {
        let mut canon = Canon::default();
        for _ in 0..2 {
            canon.commit(LOG, &batch(0, 5, 1, 7)).unwrap();
            canon.commit(LOG, &batch(5, 6, 2, 8)).unwrap();
        }
        assert_eq!(canon.committed.len(), 2);
    }

    #[test]
    fn another_batch_at_a_committed_offset_is_caught() {
        for other in [batch(0, 5, 1, 9), batch(0, 5, 2, 7), batch(0, 4, 1, 7), batch(3, 5, 1, 7)] {
            let mut canon = Canon::default();
            canon.commit(LOG, &batch(0, 5, 1, 7)).unwrap();
            assert_eq!(broke(canon.commit(LOG, &other)), Some(I3), "{other:?}");
        }
    }

    #[test]
    fn what_a_relaxed_topic_lost_may_be_written_anew() {
        let mut canon = Canon::default();
        canon.commit(LOG, &batch(0, 5, 1, 7)).unwrap();
        canon.commit(LOG, &batch(5, 6, 1, 8)).unwrap();
        canon.forfeit(Offset(5));
        canon.commit(LOG, &batch(5, 8, 2, 9)).unwrap();
    }

    #[test]
    fn an_epoch_that_writes_an_offset_twice_is_caught() {
        let mut canon = Canon::default();
        canon.written(LOG, &batch(0, 5, 1, 7)).unwrap();
        canon.written(LOG, &batch(0, 5, 2, 8)).unwrap();
        assert_eq!(broke(canon.written(LOG, &batch(0, 5, 1, 8))), Some(I5));
    }
}
