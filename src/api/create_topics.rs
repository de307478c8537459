//! CreateTopics (key 19), versions 2 to 7: create topics, with their options, all or none of each.
//!
//! The controller decides; it answers once this broker serves what was decided.

use crate::api::Context;
use crate::env::Env;
use crate::protocol::messages::create_topics_request::CreateTopicsRequest;
use crate::protocol::messages::create_topics_response::CreateTopicsResponse;

pub async fn handle<E: Env>(ctx: Context<E>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    ctx.broker.controller().create_topics(request).await
}
