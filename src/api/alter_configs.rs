//! AlterConfigs (key 33), versions 0 to 2: replace all overrides of a resource.
//!
//! The controller decides; it answers once this broker serves what was decided.

use crate::api::Context;
use crate::env::Env;
use crate::protocol::messages::alter_configs_request::AlterConfigsRequest;
use crate::protocol::messages::alter_configs_response::AlterConfigsResponse;

pub async fn handle<E: Env>(ctx: Context<E>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    ctx.broker.controller().alter_configs(request).await
}
