//! ListConfigResources (key 74), versions 0 to 1: what has a configuration of its own.
//!
//!    0  client metrics subscriptions
//!    1  topics, brokers, loggers, client metrics, groups; no type asks for all of them

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::api::Context;
use crate::env::Env;
use crate::metadata::image::ConfigResource;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::list_config_resources_request::ListConfigResourcesRequest;
use crate::protocol::messages::list_config_resources_response::{
    self, ListConfigResourcesResponse,
};
use crate::protocol::wire::Text;

const ALL: [i8; 5] = [
    ConfigResource::TOPIC,
    ConfigResource::BROKER,
    ConfigResource::BROKER_LOGGER,
    ConfigResource::CLIENT_METRICS,
    ConfigResource::GROUP,
];

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let asked: BTreeSet<i8> = match ctx.version {
        0 => BTreeSet::from([ConfigResource::CLIENT_METRICS]),
        _ if request.resource_types.is_empty() => BTreeSet::from(ALL),
        _ => request.resource_types.iter().copied().collect(),
    };
    if asked.iter().any(|kind| !ALL.contains(kind)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let image = ctx.broker.image();
    let mut found: Vec<(i8, String)> = Vec::new();
    for kind in [ConfigResource::BROKER_LOGGER, ConfigResource::BROKER] {
        if asked.contains(&kind) {
            found.extend(image.brokers.keys().map(|node| (kind, node.0.to_string())));
        }
    }
    if asked.contains(&ConfigResource::TOPIC) {
        let topics = image.topics_by_name(Bound::Unbounded);
        found.extend(topics.map(|topic| (ConfigResource::TOPIC, topic.name.to_string())));
    }
    for kind in [ConfigResource::CLIENT_METRICS, ConfigResource::GROUP] {
        if asked.contains(&kind) {
            let named = image.configs.iter().filter(|(resource, _)| resource.kind == kind);
            found.extend(named.map(|(resource, _)| (kind, resource.name.to_string())));
        }
    }
    let resources = found.into_iter().map(|(resource_type, name)| {
        let resource_name = Text::from(name);
        list_config_resources_response::ConfigResource { resource_name, resource_type }
    });
    ListConfigResourcesResponse { config_resources: resources.collect(), ..Default::default() }
}
