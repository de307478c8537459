//! IncrementalAlterConfigs and AlterConfigs: dynamic configuration of topics, brokers and others.
//!
//! Each resource is changed as a whole or not at all. Only the overrides that a request sets are
//! checked: what came with an older data directory may stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::broker::BROKER_OPTIONS;
use crate::config::option::{Kind, find, split_list};
use crate::config::topic::{inherited, override_option};
use crate::controller::operation::{Context, ControllerError, Decided, strings};
use crate::controller::refusal::Refusal;
use crate::controller::topics::{check_name, check_overrides};
use crate::metadata::image::{ConfigResource, Image};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::alter_configs_request::AlterConfigsRequest;
use crate::protocol::messages::alter_configs_response as replaced;
use crate::protocol::messages::clear_elr_record::ClearElrRecord;
use crate::protocol::messages::config_record::ConfigRecord;
use crate::protocol::messages::incremental_alter_configs_request::{
    AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::protocol::messages::incremental_alter_configs_response as altered;
use crate::protocol::wire::Text;

#[cfg(test)]
mod tests;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const METRICS_CONFIGS: &[&str] = &["interval.ms", "match", "metrics"];

const GROUP_CONFIGS: &[&str] = &[
    "consumer.assignment.interval.ms",
    "consumer.heartbeat.interval.ms",
    "consumer.session.timeout.ms",
    "errors.deadletterqueue.copy.record.enable",
    "errors.deadletterqueue.topic.name",
    "share.assignment.interval.ms",
    "share.auto.offset.reset",
    "share.delivery.count.limit",
    "share.heartbeat.interval.ms",
    "share.isolation.level",
    "share.partition.max.record.locks",
    "share.record.lock.duration.ms",
    "share.renew.acknowledge.enable",
    "share.session.timeout.ms",
    "streams.assignment.interval.ms",
    "streams.assignor.name",
    "streams.heartbeat.interval.ms",
    "streams.initial.rebalance.delay.ms",
    "streams.num.standby.replicas",
    "streams.rack.aware.assignment.tags",
    "streams.session.timeout.ms",
];

/// The overrides of one resource as they will be; `None` removes one.
type Changes = BTreeMap<String, Option<String>>;

pub fn alter_incrementally(
    context: &mut Context<'_>,
    request: &IncrementalAlterConfigsRequest,
) -> Decided<altered::IncrementalAlterConfigsResponse> {
    let resources = request.resources.iter();
    let keys = resources.clone().map(|r| (r.resource_type, r.resource_name.as_str()));
    let repeated = repeated(keys);
    let mut records = Vec::new();
    let mut response = altered::IncrementalAlterConfigsResponse::default();
    for asked in resources {
        let key = (asked.resource_type, asked.resource_name.as_str());
        let done = check_resource(context, key, repeated.contains(&key))
            .and_then(|resource| Ok((changes(context, &resource, &asked.configs)?, resource)))
            .and_then(|(changes, resource)| apply(context, &resource, changes));
        response.responses.push(altered::AlterConfigsResourceResponse {
            error_code: code(&done),
            error_message: text(&done),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
        });
        records.extend(done.unwrap_or_default());
    }
    if request.validate_only {
        records.clear();
    }
    Decided { records, response }
}

pub fn replace(
    context: &mut Context<'_>,
    request: &AlterConfigsRequest,
) -> Decided<replaced::AlterConfigsResponse> {
    let resources = request.resources.iter();
    let keys = resources.clone().map(|r| (r.resource_type, r.resource_name.as_str()));
    let repeated = repeated(keys);
    let mut records = Vec::new();
    let mut response = replaced::AlterConfigsResponse::default();
    for asked in resources {
        let key = (asked.resource_type, asked.resource_name.as_str());
        let set = asked.configs.iter().map(|config| AlterableConfig {
            name: config.name.clone(),
            config_operation: SET,
            value: config.value.clone(),
        });
        let set: Vec<AlterableConfig> = set.collect();
        let done = check_resource(context, key, repeated.contains(&key))
            .and_then(|resource| {
                let mut changes = changes(context, &resource, &set)?;
                for name in context.image.config(&resource).keys() {
                    changes.entry(name.to_string()).or_insert(None);
                }
                Ok((changes, resource))
            })
            .and_then(|(changes, resource)| apply(context, &resource, changes));
        response.responses.push(replaced::AlterConfigsResourceResponse {
            error_code: code(&done),
            error_message: text(&done),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
        });
        records.extend(done.unwrap_or_default());
    }
    if request.validate_only {
        records.clear();
    }
    Decided { records, response }
}

/// The response when nothing could be tried.
pub fn refused_incremental(
    request: &IncrementalAlterConfigsRequest,
    error: &ControllerError,
) -> altered::IncrementalAlterConfigsResponse {
    let refused = request.resources.iter().map(|asked| altered::AlterConfigsResourceResponse {
        error_code: error.code().code(),
        error_message: None,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
    });
    altered::IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: refused.collect() }
}

/// The response when nothing could be tried.
pub fn refused_replacement(
    request: &AlterConfigsRequest,
    error: &ControllerError,
) -> replaced::AlterConfigsResponse {
    let refused = request.resources.iter().map(|asked| replaced::AlterConfigsResourceResponse {
        error_code: error.code().code(),
        error_message: None,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name.clone(),
    });
    replaced::AlterConfigsResponse { throttle_time_ms: 0, responses: refused.collect() }
}

type Done = Result<Vec<MetadataRecord>, Refusal>;

fn code(done: &Done) -> i16 {
    done.as_ref().map_or_else(|refusal| refusal.code.code(), |_| ErrorCode::None.code())
}

fn text(done: &Done) -> Option<Text> {
    done.as_ref().err().and_then(Refusal::text)
}

fn repeated<'a>(keys: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, &'a str)> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| !seen.insert(*key)).collect()
}

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, message))
}

fn check_resource(
    context: &Context<'_>,
    (kind, name): (i8, &str),
    repeated: bool,
) -> Result<ConfigResource, Refusal> {
    if repeated {
        return refuse(ErrorCode::InvalidRequest, "Each resource must appear at most once.");
    }
    let invalid = |message: String| refuse(ErrorCode::InvalidRequest, message);
    match kind {
        ConfigResource::TOPIC if name.is_empty() => {
            return invalid("Default topic resources are not allowed.".into());
        }
        ConfigResource::TOPIC => {
            check_name(name)?;
            if context.image.topic(name).is_none() {
                let message = format!("The topic '{name}' does not exist.");
                return refuse(ErrorCode::UnknownTopicOrPartition, message);
            }
        }
        ConfigResource::BROKER if name.is_empty() => {}
        ConfigResource::BROKER => {
            let Ok(id) = name.parse::<i32>() else {
                return invalid(format!("Node id must be an integer, but it is: {name}"));
            };
            let here = context.settings.node.0;
            if id != here {
                let message = format!("Unexpected broker id, expected {here}, but received {name}");
                return invalid(message);
            }
        }
        ConfigResource::BROKER_LOGGER => {
            return refuse(ErrorCode::InvalidConfig, format!("Logger {name} does not exist!"));
        }
        ConfigResource::CLIENT_METRICS if name.is_empty() => {
            return invalid("Subscription name can't be empty".into());
        }
        ConfigResource::GROUP if name.is_empty() => {
            return invalid("Default group resources are not allowed.".into());
        }
        ConfigResource::CLIENT_METRICS | ConfigResource::GROUP => {}
        unknown => return invalid(format!("Unknown resource type {unknown}")),
    }
    Ok(ConfigResource::new(kind, name))
}

fn changes(
    context: &Context<'_>,
    resource: &ConfigResource,
    asked: &[AlterableConfig],
) -> Result<Changes, Refusal> {
    let mut changes = Changes::new();
    if asked.iter().any(|config| !(SET..=SUBTRACT).contains(&config.config_operation)) {
        return Err(Refusal { code: ErrorCode::UnknownServerError, message: None });
    }
    let names: BTreeSet<&str> = asked.iter().map(|config| config.name.as_str()).collect();
    if names.len() < asked.len() {
        return refuse(ErrorCode::InvalidRequest, "Error due to duplicate config keys");
    }
    let null = asked.iter().filter(|c| c.value.is_none() && c.config_operation != DELETE);
    let null: Vec<&str> = null.map(|config| config.name.as_str()).collect();
    if !null.is_empty() {
        let message = format!("Null value not supported for : {}", null.join(","));
        return refuse(ErrorCode::InvalidRequest, message);
    }
    for config in asked {
        let value = config.value.as_deref().unwrap_or_default();
        let changed = match config.config_operation {
            SET => Some(value.to_owned()),
            DELETE => None,
            operation => Some(edited_list(context, resource, &config.name, operation, value)?),
        };
        changes.insert(config.name.to_string(), changed);
    }
    Ok(changes)
}

/// The list with the items of `value` appended to it or taken out of it.
fn edited_list(
    context: &Context<'_>,
    resource: &ConfigResource,
    name: &str,
    operation: i8,
    value: &str,
) -> Result<String, Refusal> {
    let option = match resource.kind {
        ConfigResource::TOPIC => override_option(name),
        ConfigResource::BROKER => find(BROKER_OPTIONS, name),
        _ => None,
    };
    let Some(option) = option.filter(|option| option.kind == Kind::List) else {
        let operation = if operation == APPEND { "APPEND to" } else { "SUBTRACT from" };
        let message = format!("Can't {operation} key {name} because its type is not LIST.");
        return refuse(ErrorCode::InvalidConfig, message);
    };
    let held = match context.image.config(resource).get(name) {
        Some(held) => Some(held.to_string()),
        None => {
            let effective = match resource.kind {
                ConfigResource::TOPIC => inherited(option, context.layers),
                _ => context.layers.effective(option),
            };
            effective.ok().flatten()
        }
    };
    let held = held.unwrap_or_default();
    let mut items: Vec<&str> = split_list(&held);
    let edits = split_list(value);
    if operation == SUBTRACT {
        items.retain(|item| !edits.contains(item));
    } else {
        for edit in edits {
            if !items.contains(&edit) {
                items.push(edit);
            }
        }
    }
    Ok(items.join(","))
}

fn apply(context: &Context<'_>, resource: &ConfigResource, changes: Changes) -> Done {
    check_changes(context, resource, &changes)?;
    let held = context.image.config(resource);
    let mut records: Vec<MetadataRecord> = Vec::new();
    let mut elr_unsound = false;
    for (name, value) in changes {
        if held.get(&*name).map(|held| &**held) == value.as_deref() {
            continue;
        }
        elr_unsound |= name == MIN_INSYNC_REPLICAS;
        let record = ConfigRecord {
            resource_type: resource.kind,
            resource_name: Text::new(&resource.name),
            name: Text::new(&name),
            value: value.as_deref().map(Text::new),
        };
        records.push(record.into());
    }
    if elr_unsound && has_elr(context.image, resource) {
        let of_topic = resource.kind == ConfigResource::TOPIC;
        let topic = if of_topic { &*resource.name } else { "" };
        records.push(ClearElrRecord { topic_name: Text::new(topic) }.into());
    }
    Ok(records)
}

/// A smaller minimum lets the high watermark pass what an eligible leader outside the ISR holds.
fn has_elr(image: &Image, resource: &ConfigResource) -> bool {
    let of_topic = resource.kind == ConfigResource::TOPIC;
    let mut topics = image.topics.values().filter(|topic| !of_topic || topic.name == resource.name);
    topics.any(|topic| {
        topic.partitions.values().any(|p| !p.elr.is_empty() || !p.last_known_elr.is_empty())
    })
}

fn check_changes(
    context: &Context<'_>,
    resource: &ConfigResource,
    changes: &Changes,
) -> Result<(), Refusal> {
    let set = changes.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    match resource.kind {
        ConfigResource::TOPIC => {
            let mut checked: BTreeMap<String, String> =
                set.map(|(name, value)| (name.clone(), value.clone())).collect();
            for (name, value) in strings(context.image.config(resource)) {
                if name.ends_with(".compaction.lag.ms") && !changes.contains_key(&name) {
                    checked.insert(name, value);
                }
            }
            check_overrides(&checked)
                .map_err(|message| Refusal::new(ErrorCode::InvalidConfig, message))
        }
        ConfigResource::BROKER => check_broker_changes(context, resource, changes),
        ConfigResource::CLIENT_METRICS => {
            for (name, _) in set {
                if !METRICS_CONFIGS.contains(&name.as_str()) {
                    let message = format!("Unknown client metrics configuration: {name}");
                    return refuse(ErrorCode::InvalidRequest, message);
                }
            }
            Ok(())
        }
        _ => {
            for (name, _) in set {
                if !GROUP_CONFIGS.contains(&name.as_str()) {
                    let message = format!("Unknown group config name: {name}");
                    return refuse(ErrorCode::InvalidConfig, message);
                }
            }
            Ok(())
        }
    }
}

fn check_broker_changes(
    context: &Context<'_>,
    resource: &ConfigResource,
    changes: &Changes,
) -> Result<(), Refusal> {
    let option = |name: &str| find(BROKER_OPTIONS, name);
    let fixed = changes.keys().filter(|name| option(name).is_some_and(|o| o.is_read_only()));
    let fixed: Vec<&str> = fixed.map(String::as_str).collect();
    if !fixed.is_empty() {
        let message = format!("Cannot update these configs dynamically: [{}]", fixed.join(", "));
        return refuse(ErrorCode::InvalidRequest, message);
    }
    for (name, value) in changes {
        if let (Some(option), Some(value)) = (option(name), value)
            && let Err(invalid) = option.check(value)
        {
            return refuse(ErrorCode::InvalidRequest, invalid.to_string());
        }
    }
    let Some(min_isr) = changes.get(MIN_INSYNC_REPLICAS).filter(|_| context.image.elr_enabled())
    else {
        return Ok(());
    };
    if !resource.name.is_empty() {
        let message = "Broker-level min.insync.replicas cannot be altered while ELR is enabled.";
        return refuse(ErrorCode::InvalidConfig, message);
    }
    if min_isr.is_none() {
        let message = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.";
        return refuse(ErrorCode::InvalidConfig, message);
    }
    Ok(())
}
