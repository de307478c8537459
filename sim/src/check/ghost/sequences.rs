//! What a partition must remember of its producers, derived from its batches alone (I17, I18, I21).
//!
//! A producer numbers its records; in one epoch each number is there once, in order and without a
//! gap. A retry of one of its last five batches is answered with the place of the first attempt.
//! What is forgotten is told: producers that were silent for too long, and after a restart those
//! whose records were deleted.

use std::collections::{BTreeMap, VecDeque};

use ottla::env::probe::{Producer, ProducerBatch, Producers, Sent};
use ottla::protocol::records::batch::sequence_plus;
use ottla::types::{Offset, ProducerId};

use super::batches::Batches;
use super::image::Batch;
use super::{Log, Verdict, broken};
use crate::check::Invariant::{I17, I18, I21};

/// A retry is recognized among so many of a producer's latest batches.
const REMEMBERED: usize = 5;

#[derive(Default)]
pub struct Sequences {
    by_id: BTreeMap<ProducerId, Known>,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    epoch: i16,
    timestamp_ms: i64,
    /// The latest of the epoch, oldest first.
    batches: VecDeque<ProducerBatch>,
    /// The broker does not remember it. A restart may bring it back.
    forgotten: bool,
}

impl Sequences {
    pub fn appended(&mut self, log: Log, batch: &Batch) -> Verdict {
        let Some(sent) = batch.sent.filter(|_| !batch.is_control) else { return Ok(()) };
        if let Some(known) = self.by_id.get(&sent.producer).filter(|known| !known.forgotten) {
            known.check(log, &sent, batch.base)?;
        }
        self.take(batch);
        Ok(())
    }

    /// The batch is in the log, whoever was told so.
    pub fn take(&mut self, batch: &Batch) {
        let Some(sent) = batch.sent.filter(|_| !batch.is_control) else { return };
        let fresh = || Known {
            epoch: sent.epoch,
            timestamp_ms: batch.max_timestamp_ms,
            batches: VecDeque::new(),
            forgotten: false,
        };
        let known = self.by_id.entry(sent.producer).or_insert_with(fresh);
        if known.forgotten || known.epoch != sent.epoch {
            *known = fresh();
        }
        known.timestamp_ms = batch.max_timestamp_ms;
        if known.batches.len() == REMEMBERED {
            known.batches.pop_front();
        }
        known.batches.push_back(ProducerBatch {
            first_sequence: sent.first_sequence,
            last_sequence: sent.last_sequence,
            base: batch.base,
            end: batch.end,
        });
    }

    /// A batch was answered with a place in the log, as a retry of what is there.
    pub fn duplicate(&self, log: Log, sent: &Sent, place: (Offset, Offset)) -> Verdict {
        let found = self.find(sent);
        if found != Some(place) {
            let evidence = format!(
                "{log} answers {sent:?} with {place:?}, as a retry; the batch of these sequences is \
                 at {found:?}"
            );
            return broken(I18, evidence);
        }
        Ok(())
    }

    /// A batch was refused because its sequence does not follow.
    pub fn refused(&self, log: Log, sent: &Sent) -> Verdict {
        if let Some(place) = self.find(sent) {
            let evidence = format!("{log} refuses {sent:?}, a retry of the batch at {place:?}");
            return broken(I17, evidence);
        }
        let known = self.by_id.get(&sent.producer).filter(|known| !known.forgotten);
        let follows = known.is_none_or(|known| known.expected(sent) == sent.first_sequence);
        if follows {
            let evidence =
                format!("{log} refuses {sent:?}, which follows what it knows: {known:?}");
            return broken(I18, evidence);
        }
        Ok(())
    }

    fn find(&self, sent: &Sent) -> Option<(Offset, Offset)> {
        let known = self.by_id.get(&sent.producer).filter(|known| known.remembers(sent.epoch))?;
        let same = |batch: &&ProducerBatch| {
            (batch.first_sequence, batch.last_sequence) == (sent.first_sequence, sent.last_sequence)
        };
        known.batches.iter().find(same).map(|batch| (batch.base, batch.end))
    }

    /// A crash took `lost`: what is known goes back to what the batches that are left say.
    pub fn rewind(&mut self, lost: &[Batch], left: &Batches) {
        for id in lost.iter().filter_map(|batch| Some(batch.sent?.producer)) {
            if self.by_id.remove(&id).is_none() {
                continue;
            }
            let of_producer = left.iter().filter(|b| b.sent.is_some_and(|s| s.producer == id));
            of_producer.for_each(|batch| self.take(batch));
        }
    }

    /// What the broker remembers while it runs: exactly what its log says, but for those that it
    /// forgets now.
    pub fn told(&mut self, log: Log, told: &Producers) -> Verdict {
        let by_id: BTreeMap<ProducerId, &Producer> = told.known.iter().map(|p| (p.id, p)).collect();
        for (id, known) in self.by_id.iter_mut().filter(|(_, known)| !known.forgotten) {
            match by_id.get(id) {
                Some(told) if known.is(told) && known.batches == told.batches => {}
                None if known.is_expired(told) => known.forgotten = true,
                told => {
                    return broken(I21, format!("{log} remembers {told:?} of {id:?}: {known:?}"));
                }
            }
        }
        for (id, told) in by_id {
            if self.by_id.get(&id).is_none_or(|known| known.forgotten) {
                return broken(I21, format!("{log} remembers {told:?}, of whom nothing is there"));
            }
        }
        Ok(())
    }

    /// What a log that was opened remembers of its `batches`. Of those before `replayed_from`, where
    /// the newest snapshot stands, it may remember a producer's last alone; where records are
    /// deleted, less. An older snapshot than last time may bring back what was not remembered then.
    pub fn recovered(
        &mut self,
        log: Log,
        told: &Producers,
        batches: &Batches,
        (replayed_from, start): (Offset, Offset),
    ) -> Verdict {
        let mut whole = Sequences::default();
        batches.iter().for_each(|batch| whole.take(batch));
        for (id, known) in &mut self.by_id {
            if let Some(whole) = whole.by_id.remove(id) {
                known.batches = whole.batches;
            }
        }
        let by_id: BTreeMap<ProducerId, &Producer> = told.known.iter().map(|p| (p.id, p)).collect();
        for (id, known) in &mut self.by_id {
            let deleted = known.batches.back().is_none_or(|last| last.end <= start);
            match by_id.get(id) {
                Some(told) if known.is(told) && known.ends_with(told, replayed_from, start) => {
                    *known = Known::from(told);
                }
                // Whoever is remembered as of an earlier batch would be refused the next.
                Some(told) if deleted && told.batches.last() == known.batches.back() => {
                    *known = Known::from(told);
                }
                None if known.forgotten || known.is_expired(told) || deleted => {
                    known.forgotten = true;
                }
                told => {
                    let evidence = format!(
                        "{log} remembers {told:?} of {id:?} after a restart (snapshot at \
                         {replayed_from}); its batches say {known:?}"
                    );
                    return broken(I21, evidence);
                }
            }
        }
        for (id, told) in by_id {
            // Its batches were deleted before anyone watched.
            self.by_id.entry(id).or_insert_with(|| Known::from(told));
        }
        Ok(())
    }
}

impl Known {
    fn from(told: &Producer) -> Known {
        let batches = told.batches.iter().copied().collect();
        let Producer { epoch, timestamp_ms, .. } = *told;
        Known { epoch, timestamp_ms, batches, forgotten: false }
    }

    fn remembers(&self, epoch: i16) -> bool {
        !self.forgotten && self.epoch == epoch
    }

    /// The sequence that follows, for a batch of this epoch.
    fn expected(&self, sent: &Sent) -> i32 {
        match self.batches.back() {
            Some(last) if self.epoch == sent.epoch => sequence_plus(last.last_sequence, 1),
            _ => 0,
        }
    }

    fn check(&self, log: Log, sent: &Sent, at: Offset) -> Verdict {
        let expected = self.expected(sent);
        if sent.epoch >= self.epoch && sent.first_sequence == expected {
            return Ok(());
        }
        let ahead = (i64::from(sent.first_sequence) - i64::from(expected)).rem_euclid(1 << 31);
        let again = sent.epoch == self.epoch && ahead >= 1 << 30;
        let evidence =
            format!("{log} appended {sent:?} at {at} where {expected} is next: {self:?}");
        broken(if again { I17 } else { I18 }, evidence)
    }

    fn is(&self, told: &Producer) -> bool {
        (self.epoch, self.timestamp_ms) == (told.epoch, told.timestamp_ms)
    }

    fn is_expired(&self, told: &Producers) -> bool {
        let idle = |now_ms: i64| now_ms.saturating_sub(self.timestamp_ms) >= told.expiration_ms;
        told.expired_at_ms.is_some_and(idle)
    }

    /// Of those that are not deleted, the last batches are told: the very last one, and all from
    /// `replayed_from` on.
    fn ends_with(&self, told: &Producer, replayed_from: Offset, start: Offset) -> bool {
        let left = |batch: &&ProducerBatch| batch.end > start;
        let told: Vec<_> = told.batches.iter().filter(left).collect();
        let known: Vec<_> = self.batches.iter().filter(left).collect();
        let from = replayed_from.max(start);
        let replayed = known.iter().filter(|batch| batch.base >= from).count();
        told.len() >= replayed.max(1).min(known.len()) && known.ends_with(&told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOG, broke, numbered};
    use super::*;

    const P: ProducerId = ProducerId(7);

    /// Three batches of two records: sequences 0 to 5 at offsets 0 to 5.
    fn three() -> Sequences {
        let mut sequences = Sequences::default();
        for n in 0..3 {
            sequences.appended(LOG, &numbered(n, 7, 0, 2 * n as i32)).unwrap();
        }
        sequences
    }

    fn sent(epoch: i16, first: i32) -> Sent {
        Sent { producer: P, epoch, first_sequence: first, last_sequence: first + 1 }
    }

    fn remembered(batches: std::ops::Range<i64>) -> Producers {
        let batches = batches.map(|n| ProducerBatch {
            first_sequence: 2 * n as i32,
            last_sequence: 2 * n as i32 + 1,
            base: Offset(2 * n),
            end: Offset(2 * n + 2),
        });
        let known = vec![Producer { id: P, epoch: 0, timestamp_ms: 0, batches: batches.collect() }];
        Producers { expired_at_ms: None, expiration_ms: 1000, known }
    }

    #[test]
    fn a_sequence_that_comes_again_or_leaves_a_gap_is_caught() {
        for (epoch, first, expected) in [(0, 4, I17), (0, 0, I17), (0, 8, I18), (1, 6, I18)] {
            let again = numbered(3, 7, epoch, first);
            assert_eq!(broke(three().appended(LOG, &again)), Some(expected), "{epoch} {first}");
        }
        three().appended(LOG, &numbered(3, 7, 0, 6)).unwrap();
        three().appended(LOG, &numbered(3, 7, 1, 0)).unwrap();
        three().appended(LOG, &numbered(3, 8, 0, 40)).unwrap();
    }

    #[test]
    fn sequences_wrap() {
        let mut sequences = Sequences::default();
        sequences.appended(LOG, &numbered(0, 7, 0, i32::MAX - 1)).unwrap();
        sequences.appended(LOG, &numbered(1, 7, 0, 0)).unwrap();
    }

    #[test]
    fn an_older_epoch_is_caught() {
        let mut sequences = three();
        sequences.appended(LOG, &numbered(3, 7, 1, 0)).unwrap();
        assert_eq!(broke(sequences.appended(LOG, &numbered(4, 7, 0, 6))), Some(I18));
    }

    #[test]
    fn a_retry_gets_the_place_of_the_first_attempt() {
        three().duplicate(LOG, &sent(0, 2), (Offset(2), Offset(4))).unwrap();
        let elsewhere = three().duplicate(LOG, &sent(0, 2), (Offset(4), Offset(6)));
        assert_eq!(broke(elsewhere), Some(I18));
        let nothing = three().duplicate(LOG, &sent(0, 6), (Offset(4), Offset(6)));
        assert_eq!(broke(nothing), Some(I18));
    }

    #[test]
    fn a_retry_or_a_successor_that_is_refused_is_caught() {
        assert_eq!(broke(three().refused(LOG, &sent(0, 2))), Some(I17));
        assert_eq!(broke(three().refused(LOG, &sent(0, 6))), Some(I18));
        three().refused(LOG, &sent(0, 8)).unwrap();
        three().refused(LOG, &sent(1, 8)).unwrap();
    }

    #[test]
    fn what_is_remembered_is_what_was_written() {
        three().told(LOG, &remembered(0..3)).unwrap();
        for wrong in [remembered(0..2), remembered(1..3), remembered(0..0)] {
            assert_eq!(broke(three().told(LOG, &wrong)), Some(I21));
        }
        let nobody = Producers { known: vec![], ..remembered(0..0) };
        assert_eq!(broke(three().told(LOG, &nobody)), Some(I21));
        let early = Producers { expired_at_ms: Some(999), ..nobody.clone() };
        assert_eq!(broke(three().told(LOG, &early)), Some(I21));
        let mut expired = three();
        expired.told(LOG, &Producers { expired_at_ms: Some(1000), ..nobody }).unwrap();
        expired.appended(LOG, &numbered(3, 7, 0, 99)).unwrap();
        assert_eq!(broke(expired.told(LOG, &remembered(0..3))), Some(I21));
    }

    #[test]
    fn a_snapshot_keeps_the_last_batch_of_each() {
        let from = |at, told: &Producers| {
            three().recovered(LOG, told, &Batches::default(), (Offset(at), Offset(0)))
        };
        from(6, &remembered(2..3)).unwrap();
        from(2, &remembered(1..3)).unwrap();
        assert_eq!(broke(from(2, &remembered(2..3))), Some(I21), "two were to be replayed");
        assert_eq!(broke(from(6, &remembered(1..2))), Some(I21), "an old snapshot");
        assert_eq!(broke(from(6, &Producers::default())), Some(I21), "forgotten");
    }

    #[test]
    fn an_older_snapshot_brings_back_what_was_not_remembered() {
        let batches: Batches = (0..3).map(|n| numbered(n, 7, 0, 2 * n as i32)).collect();
        let mut sequences = three();
        let mut recovered =
            |at, told| sequences.recovered(LOG, &told, &batches, (Offset(at), Offset(0)));
        recovered(6, remembered(2..3)).unwrap();
        recovered(0, remembered(0..3)).unwrap();
        assert_eq!(broke(recovered(0, remembered(1..3))), Some(I21));
    }

    #[test]
    fn what_was_deleted_need_not_be_remembered() {
        three()
            .recovered(LOG, &Producers::default(), &Batches::default(), (Offset(6), Offset(6)))
            .unwrap();
        let kept = three().recovered(
            LOG,
            &Producers::default(),
            &Batches::default(),
            (Offset(6), Offset(5)),
        );
        assert_eq!(broke(kept), Some(I21));
    }
}
