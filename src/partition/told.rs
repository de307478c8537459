//! What a partition tells a simulator of itself; production compiles it to nothing.

use crate::env::probe::Cause;
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

    /// `expired_at_ms`: when silent producers were forgotten, if it was just now.
    pub(super) fn tell_producers(&self, state: &State<E>, expired_at_ms: Option<i64>) {
        self.env.probe(|| probe::Event::ProducersKnown {
            topic: self.topic_id,
            partition: self.index,
            producers: state.log.told_producers(expired_at_ms),
        });
    }
}

impl<E: Env> State<E> {
    /// The rules by which old segments went just now.
    pub(super) fn told_retention(&self, now_ms: i64) -> Cause {
        let config = self.log.config();
        let (retention_ms, retention_bytes) = (config.retention_ms, config.retention_bytes);
        Cause::Retention { first: self.log.first_base(), now_ms, retention_ms, retention_bytes }
    }
}
