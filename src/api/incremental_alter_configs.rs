//! IncrementalAlterConfigs (key 44), versions 0 to 1: set, delete, append to, subtract from single options.
//!
//! The controller decides; it answers once this broker serves what was decided.

use crate::api::Context;
use crate::env::Env;
use crate::protocol::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use crate::protocol::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    ctx.broker.controller().incremental_alter_configs(request).await
}
