//! Walks the records of a batch, one at a time.

use bytes::Bytes;

use super::batch::Batch;
use super::compression::{Codec, CompressionError, decompress};
use super::record::{Record, RecordError};

/// The records of one batch, in order. Ends after the first error.
pub struct Records {
    body: Bytes,
    left: u32,
    state: State,
}

enum State {
    Walking,
    Failed(RecordError),
    Ended,
}

impl Records {
    pub(super) fn new(batch: &Batch, decompressed_bytes_max: usize) -> Records {
        let left = batch.record_count();
        match plain_body(batch, decompressed_bytes_max) {
            Ok(body) => Records { body, left, state: State::Walking },
            Err(error) => {
                let state = State::Failed(RecordError::Compression(error));
                Records { body: Bytes::new(), left, state }
            }
        }
    }
}

fn plain_body(batch: &Batch, decompressed_bytes_max: usize) -> Result<Bytes, CompressionError> {
    match batch.codec()? {
        Codec::None => Ok(batch.body().clone()),
        codec => Ok(decompress(codec, batch.body(), decompressed_bytes_max)?.into()),
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return None,
            State::Failed(error) => Err(error),
            State::Walking if self.left > 0 => Record::split(&mut self.body),
            State::Walking if self.body.is_empty() => return None,
            State::Walking => Err(RecordError::Trailing),
        };
        if result.is_ok() {
            self.left -= 1;
            self.state = State::Walking;
        }
        Some(result)
    }
}
