//! What a log tells a simulator of itself, in the words of `env::probe`.

use crate::env::{Env, probe};
use crate::log::Log;
use crate::log::producers::BatchMeta;
use crate::protocol::records::batch::BatchHeader;
use crate::types::{LeaderEpoch, Offset};

impl<E: Env> Log<E> {
    pub fn told_epochs(&self) -> Vec<(LeaderEpoch, Offset)> {
        self.epochs.entries().iter().map(|entry| (entry.epoch, entry.start)).collect()
    }

    /// `expired_at_ms`: when `expire_producers` was called, if it was just now.
    pub fn told_producers(&self, expired_at_ms: Option<i64>) -> probe::Producers {
        let known = self.producers.iter().map(|(id, producer)| probe::Producer {
            id,
            epoch: producer.epoch(),
            timestamp_ms: producer.timestamp_ms(),
            batches: producer.batches().iter().map(told_batch).collect(),
        });
        let expiration_ms = self.config.producer_id_expiration_ms;
        probe::Producers { expired_at_ms, expiration_ms, known: known.collect() }
    }
}

fn told_batch(batch: &BatchMeta) -> probe::ProducerBatch {
    probe::ProducerBatch {
        first_sequence: batch.first_sequence(),
        last_sequence: batch.last_sequence,
        base: batch.base_offset(),
        end: batch.last_offset.plus(1),
    }
}

/// How its producer numbered `batch`; `None` without a producer.
pub fn told_sent(batch: &BatchHeader) -> Option<probe::Sent> {
    Some(probe::Sent {
        producer: batch.producer_id()?,
        epoch: batch.producer_epoch(),
        first_sequence: batch.base_sequence(),
        last_sequence: batch.last_sequence(),
    })
}
