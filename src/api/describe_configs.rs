//! DescribeConfigs (key 32), versions 1 to 4: every option of a topic or of this broker, with its
//! value, where that comes from, and what it would be otherwise.
//!
//!    3  type and documentation
//!
//! A broker answers for itself alone. The broker without a name stands for all: only what is set
//! for all of them.

use std::collections::BTreeMap;

use crate::api::Context;
use crate::config::describe::{Entry, describe_broker, describe_cluster, describe_topic};
use crate::controller::topics::check_name;
use crate::env::Env;
use crate::metadata::image::{ConfigResource, Image};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use crate::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use crate::protocol::wire::Text;

const CONFIG_TYPE_STRING: i8 = 2;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let image = ctx.broker.image();
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: Text::new(&resource.resource_name),
            error_message: Some(Text::default()),
            ..DescribeConfigsResult::default()
        };
        match describe(&ctx, &image, resource) {
            Ok(configs) => {
                let keys = resource.configuration_keys.as_deref().unwrap_or_default();
                let asked = |config: &&mut DescribeConfigsResourceResult| {
                    keys.is_empty() || keys.contains(&config.name)
                };
                let mut configs = configs;
                let mut shown: Vec<_> =
                    configs.iter_mut().filter(asked).map(std::mem::take).collect();
                for config in &mut shown {
                    if !request.include_synonyms {
                        config.synonyms.clear();
                    }
                    if !request.include_documentation {
                        config.documentation = None;
                    }
                }
                DescribeConfigsResult { configs: shown, ..result }
            }
            Err((error, message)) => DescribeConfigsResult {
                error_code: error.code(),
                error_message: Some(Text::from(message)),
                ..result
            },
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn describe<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let name = &*resource.resource_name;
    let settings = ctx.broker.settings();
    let stored = || stored(image, resource);
    match resource.resource_type {
        ConfigResource::TOPIC => {
            check_name(name).map_err(|bad| (bad.code, bad.message.unwrap_or_default()))?;
            if image.topic(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            Ok(told(describe_topic(&stored(), &settings.layers)))
        }
        ConfigResource::BROKER if name.is_empty() => Ok(told(describe_cluster(&settings.layers))),
        ConfigResource::BROKER => {
            check_own(ctx, name)?;
            Ok(told(describe_broker(&settings.layers)))
        }
        kind @ (ConfigResource::CLIENT_METRICS | ConfigResource::GROUP) => {
            let stored = stored();
            let options = stored.into_iter().map(|(name, value)| DescribeConfigsResourceResult {
                name: Text::from(name),
                value: Some(Text::from(value)),
                // Kafka's numbers of the dynamic sources of these two.
                config_source: if kind == ConfigResource::GROUP { 8 } else { 7 },
                config_type: CONFIG_TYPE_STRING,
                ..DescribeConfigsResourceResult::default()
            });
            Ok(options.collect())
        }
        other => {
            let message = format!("Unsupported resource type: {other}");
            Err((ErrorCode::InvalidRequest, message))
        }
    }
}

fn check_own<E: Env>(ctx: &Context<E>, name: &str) -> Result<(), (ErrorCode, String)> {
    let own = ctx.broker.node().0;
    let message = match name.parse::<i32>() {
        Ok(node) if node == own => return Ok(()),
        Ok(node) => {
            format!("Unexpected broker id, expected {own} or empty string, but received {node}")
        }
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err((ErrorCode::InvalidRequest, message))
}

fn stored(image: &Image, resource: &DescribeConfigsResource) -> BTreeMap<String, String> {
    let resource = ConfigResource::new(resource.resource_type, &resource.resource_name);
    let overrides = image.config(&resource).iter();
    overrides.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn told(entries: Vec<Entry>) -> Vec<DescribeConfigsResourceResult> {
    let tell = |entry: Entry| DescribeConfigsResourceResult {
        name: Text::from(entry.name),
        value: entry.value.map(Text::from),
        read_only: entry.is_read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.is_sensitive,
        synonyms: entry
            .synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: Text::from(synonym.name),
                value: synonym.value.map(Text::from),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: entry.kind as i8,
        documentation: Some(Text::from(entry.doc)),
    };
    entries.into_iter().map(tell).collect()
}
