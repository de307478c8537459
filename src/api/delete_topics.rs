//! DeleteTopics (key 20), versions 1 to 6: delete topics by name, from 6 on also by id.
//!
//! The controller decides; it answers once this broker has let go of the partitions.

use crate::api::Context;
use crate::env::Env;
use crate::protocol::messages::delete_topics_request::DeleteTopicsRequest;
use crate::protocol::messages::delete_topics_response::DeleteTopicsResponse;

pub async fn handle<E: Env>(ctx: Context<E>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    ctx.broker.controller().delete_topics(request).await
}
