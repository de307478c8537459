//! What a partition tells a simulator of itself; production compiles it to nothing.

use std::time::Duration;

use crate::env::{Env, probe};
use crate::log::append::{self, AppendError};
use crate::log::producers::ProducerError;
use crate::log::read::Region;
use crate::log::told::told_sent;
use crate::partition::{Asked, Partition, State};
use crate::protocol::records::batch::BatchHeader;
use crate::types::Offset;

impl<E: Env> Partition<E> {
    /// A fetch is answered with what its read found.
    pub fn tell_fetched(&self, asked: &Asked, limit: Offset, found: &Region<E>) {
        if found.len == 0 {
            return;
        }
        self.env.probe(|| probe::Event::Fetched {
            topic: self.topic_id,
            partition: self.index,
            from: asked.from,
            at: found.at,
            len: found.len,
            limit,
        });
    }

    /// A fetch gives up waiting, for `waited` now, for at least `bytes_min` of all its partitions.
    pub fn tell_fetch_expired(
        &self,
        (from, bytes_max): (Offset, u32),
        limit: Offset,
        bytes_min: u64,
        waited: Duration,
    ) {
        self.env.probe(|| probe::Event::FetchExpired {
            topic: self.topic_id,
            partition: self.index,
            from,
            limit,
            bytes_min,
            bytes_max,
            waited,
        });
    }

    pub(super) fn tell_duplicate(&self, batch: &BatchHeader, known: &append::Appended) {
        let Some(sent) = told_sent(batch) else { return };
        self.env.probe(|| probe::Event::Duplicate {
            topic: self.topic_id,
            partition: self.index,
            base: known.base,
            end: known.end,
            sent,
        });
    }

    pub(super) fn tell_refused(&self, batch: &BatchHeader, error: &AppendError) {
        let follows = !matches!(error, AppendError::Producer(ProducerError::OutOfOrder { .. }));
        let Some(sent) = told_sent(batch).filter(|_| !follows) else { return };
        let (topic, partition) = (self.topic_id, self.index);
        self.env.probe(|| probe::Event::OutOfSequence { topic, partition, sent });
    }

    /// Segments before `first` are to go, by the log's rules.
    pub(super) fn tell_expired(&self, state: &State<E>, first: Offset, now_ms: i64) {
        let (topic, partition, config) = (self.topic_id, self.index, state.log.config());
        let (retention_ms, retention_bytes) = (config.retention_ms, config.retention_bytes);
        let rules = probe::Rules { now_ms, retention_ms, retention_bytes };
        self.env.probe(|| probe::Event::SegmentsExpired { topic, partition, first, rules });
    }

    /// `expired_at_ms`: when silent producers were forgotten, if it was just now.
    pub(super) fn tell_producers(&self, state: &State<E>, expired_at_ms: Option<i64>) {
        self.env.probe(|| probe::Event::ProducersKnown {
            topic: self.topic_id,
            partition: self.index,
            producers: state.log.told_producers(expired_at_ms),
        });
    }
}
