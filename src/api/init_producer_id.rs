//! InitProducerId (key 22), versions 0 to 5: a producer id of its own for an idempotent producer.
//!
//!    3  a producer may bring its id and epoch, to have the epoch raised (KIP-360)
//!
//! There is no transaction coordinator yet: a transactional id is told so, for good.

use tracing::warn;

use crate::api::Context;
use crate::controller::producer_ids::AllocateError;
use crate::env::Env;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use crate::protocol::messages::init_producer_id_response::InitProducerIdResponse;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    if let Some(id) = &request.transactional_id {
        let error = match &**id {
            "" => ErrorCode::InvalidRequest,
            _ => ErrorCode::TransactionalIdAuthorizationFailed,
        };
        return failed(error);
    }
    // One without the other names no producer.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return failed(ErrorCode::InvalidRequest);
    }
    match ctx.broker.next_producer_id().await {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.0,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(error) => {
            warn!(%error, "no producer id");
            failed(match error {
                AllocateError::Exhausted { .. } => ErrorCode::UnknownServerError,
                // The client tries again.
                AllocateError::StaleBrokerEpoch { .. } | AllocateError::Controller(_) => {
                    ErrorCode::CoordinatorLoadInProgress
                }
            })
        }
    }
}

fn failed(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    }
}
