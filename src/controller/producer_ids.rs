//! Producer ids, handed out in blocks that never overlap.

use crate::controller::operation::{Context, ControllerError, Decided};
use crate::protocol::messages::producer_ids_record::ProducerIdsRecord;
use crate::types::{BrokerEpoch, NodeId, ProducerId};

const BLOCK_LEN: i32 = 1000;

/// Ids that no other producer gets: `len` of them from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    pub len: i32,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AllocateError {
    #[error("broker {} asked with epoch {asked:?}, registered is {registered:?}", broker.0)]
    StaleBrokerEpoch { broker: NodeId, asked: BrokerEpoch, registered: Option<BrokerEpoch> },
    #[error("all producer ids are used up, next is {next}")]
    Exhausted { next: i64 },
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

pub fn allocate(
    context: &mut Context<'_>,
    broker: NodeId,
    asked: BrokerEpoch,
) -> Decided<Result<ProducerIdBlock, AllocateError>> {
    let registered = context.image.broker(broker).map(|broker| broker.epoch);
    if registered != Some(asked) {
        let error = AllocateError::StaleBrokerEpoch { broker, asked, registered };
        return Decided { records: vec![], response: Err(error) };
    }
    let next = context.image.producer_id_next;
    let Some(next_producer_id) = next.checked_add(i64::from(BLOCK_LEN)) else {
        return Decided { records: vec![], response: Err(AllocateError::Exhausted { next }) };
    };
    let (broker_id, broker_epoch) = (broker.0, asked.0);
    let record = ProducerIdsRecord { broker_id, broker_epoch, next_producer_id };
    let block = ProducerIdBlock { first: ProducerId(next), len: BLOCK_LEN };
    Decided { records: vec![record.into()], response: Ok(block) }
}
