//! Producer ids: handed out from a block that the controller gave to this broker alone.

use std::ops::Range;

use tokio::sync::Mutex;

use crate::broker::Broker;
use crate::controller::producer_ids::AllocateError;
use crate::env::{Env, probe};
use crate::types::ProducerId;

/// What is left of the block. The lock is held while a new one is asked for, so that many who find
/// it empty ask once.
#[derive(Default)]
pub struct ProducerIds {
    left: Mutex<Range<i64>>,
}

impl<E: Env> Broker<E> {
    /// An id that nobody else has or had.
    pub async fn next_producer_id(&self) -> Result<ProducerId, AllocateError> {
        let mut left = self.producer_ids.left.lock().await;
        if left.is_empty() {
            let block = self.controller.allocate_producer_ids(self.node, self.epoch).await?;
            *left = block.first.0..block.first.0 + i64::from(block.len);
        }
        let id = ProducerId(left.next().expect("a new block is not empty"));
        self.env.probe(|| probe::Event::ProducerIdAllocated { id });
        Ok(id)
    }
}
