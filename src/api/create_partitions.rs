//! CreatePartitions (key 37), versions 0 to 3: add partitions to topics.
//!
//! The controller decides; it answers once this broker serves what was decided.

use crate::api::Context;
use crate::env::Env;
use crate::protocol::messages::create_partitions_request::CreatePartitionsRequest;
use crate::protocol::messages::create_partitions_response::CreatePartitionsResponse;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    ctx.broker.controller().create_partitions(request).await
}
