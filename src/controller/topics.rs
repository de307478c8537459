//! CreateTopics and DeleteTopics.
//!
//! A request names many topics; each stands for itself, except that all that are created go into
//! one batch, which has a limit.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::layers::{Layers, Source};
use crate::config::option::{Opt, find};
use crate::config::topic::{STORED_OPTIONS, TOPIC_OPTIONS, check_override, fallbacks};
use crate::controller::operation::{Context, ControllerError, Decided};
use crate::controller::partitions::{self, Assignment};
use crate::controller::placement::Placer;
use crate::controller::refusal::Refusal;
use crate::metadata::image::{ConfigResource, Image};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::config_record::ConfigRecord;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use crate::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::messages::delete_topics_response::{
    DeletableTopicResult, DeleteTopicsResponse,
};
use crate::protocol::messages::remove_topic_record::RemoveTopicRecord;
use crate::protocol::messages::topic_record::TopicRecord;
use crate::protocol::wire::Text;
use crate::types::Uuid;

#[cfg(test)]
mod tests;

/// Records of one atomic batch.
pub const BATCH_RECORDS_MAX: usize = 10_000;
const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;
const NAME_LEN_MAX: usize = 249;
const METADATA_TOPIC: &str = "__cluster_metadata";

pub fn create(
    context: &mut Context<'_>,
    request: &CreateTopicsRequest,
) -> Decided<CreateTopicsResponse> {
    if let Err(refusal) = check_size(context, request) {
        return Decided { records: vec![], response: all_refused(request, &refusal) };
    }
    let mut records = Vec::new();
    let mut response = CreateTopicsResponse::default();
    for (topic, repeated) in once_each(&request.topics) {
        let created = if repeated {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
        } else {
            create_one(context, topic)
        };
        let result = match created {
            Ok((topic_records, result)) => {
                records.extend(topic_records);
                result
            }
            Err(refusal) => refused(&topic.name, &refusal),
        };
        response.topics.push(result);
    }
    if records.len() > BATCH_RECORDS_MAX {
        let message = "Unable to perform excessively large batch operation.";
        let refusal = Refusal::new(ErrorCode::PolicyViolation, message);
        return Decided { records: vec![], response: all_refused(request, &refusal) };
    }
    if request.validate_only {
        records.clear();
    }
    Decided { records, response }
}

/// The response when nothing could be tried.
pub fn refused_creation(
    request: &CreateTopicsRequest,
    error: &ControllerError,
) -> CreateTopicsResponse {
    all_refused(request, &Refusal::of(error))
}

fn all_refused(request: &CreateTopicsRequest, refusal: &Refusal) -> CreateTopicsResponse {
    let topics = once_each(&request.topics).into_iter();
    let topics = topics.map(|(topic, _)| refused(&topic.name, refusal)).collect();
    CreateTopicsResponse { throttle_time_ms: 0, topics }
}

fn refused(name: &Text, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: refusal.code.code(),
        error_message: refusal.text(),
        configs: Some(vec![]),
        ..CreatableTopicResult::default()
    }
}

/// Each name once, with whether it came more often.
fn once_each(topics: &[CreatableTopic]) -> Vec<(&CreatableTopic, bool)> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for topic in topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    let first = topics.iter().filter(|topic| seen.insert(topic.name.as_str()));
    first.map(|topic| (topic, times[topic.name.as_str()] > 1)).collect()
}

fn check_size(context: &Context<'_>, request: &CreateTopicsRequest) -> Result<(), Refusal> {
    let partitions = request.topics.iter().map(|topic| match topic.num_partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
        -1 => i64::from(context.settings.num_partitions),
        count => i64::from(count.max(0)),
    });
    if partitions.sum::<i64>() > PARTITIONS_PER_REQUEST_MAX {
        let message = "Excessively large number of partitions per request.";
        return Err(Refusal::new(ErrorCode::PolicyViolation, message));
    }
    Ok(())
}

/// A topic whose name metrics could not tell from this one: `.` and `_` look the same there.
fn collision<'a>(image: &'a Image, name: &str) -> Option<&'a str> {
    if !name.contains(['.', '_']) {
        return None;
    }
    let flat = |c: u8| if c == b'.' { b'_' } else { c };
    let alike = |other: &str| other.bytes().map(flat).eq(name.bytes().map(flat));
    image.topic_ids.keys().map(|other| &**other).find(|other| alike(other))
}

/// Kafka's rules for the name of a topic, with its words.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.encode_utf16().count() > NAME_LEN_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {NAME_LEN_MAX}")
        }
        _ if !name.chars().all(legal) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        ),
        _ => return Ok(()),
    };
    let message = format!("Topic name is invalid: {problem}");
    Err(Refusal::new(ErrorCode::InvalidTopicException, message))
}

type Created = (Vec<MetadataRecord>, CreatableTopicResult);

fn create_one(context: &mut Context<'_>, topic: &CreatableTopic) -> Result<Created, Refusal> {
    if &*topic.name == METADATA_TOPIC {
        let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    check_name(&topic.name)?;
    if context.image.topic(&topic.name).is_some() {
        let message = format!("Topic '{}' already exists.", topic.name);
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
    }
    if let Some(existing) = collision(context.image, &topic.name) {
        let message = format!("Topic '{}' collides with existing topic: {existing}", topic.name);
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    let overrides = check_configs(topic)?;
    let assignments = assign(context, topic)?;

    let id = Uuid::random(|| context.chance.draw());
    let mut records: Vec<MetadataRecord> = Vec::with_capacity(1 + assignments.len());
    records.push(TopicRecord { name: topic.name.clone(), topic_id: id }.into());
    for (name, value) in &overrides {
        let record = ConfigRecord {
            resource_type: ConfigResource::TOPIC,
            resource_name: topic.name.clone(),
            name: Text::new(name),
            value: Some(Text::new(value)),
        };
        records.push(record.into());
    }
    let replication_factor = assignments.first().map_or(0, |first| first.replicas.len());
    for (index, assignment) in (0..).zip(&assignments) {
        records.push(partitions::new_record(context.image, id, index, assignment).into());
    }
    let result = CreatableTopicResult {
        name: topic.name.clone(),
        topic_id: id,
        num_partitions: assignments.len() as i32,
        replication_factor: replication_factor as i16,
        configs: Some(effective_configs(&overrides, context.layers)),
        error_message: None,
        ..CreatableTopicResult::default()
    };
    Ok((records, result))
}

fn check_configs(topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidConfig, message);
    let mut overrides = BTreeMap::new();
    let mut missing = Vec::new();
    for config in &topic.configs {
        match &config.value {
            Some(value) => drop(overrides.insert(config.name.to_string(), value.to_string())),
            None => missing.push(config.name.to_string()),
        }
    }
    if !missing.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", missing.join(","));
        return Err(invalid(message));
    }
    check_overrides(&overrides).map_err(invalid)?;
    Ok(overrides)
}

/// Each override by itself, and those that must agree.
pub fn check_overrides(overrides: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in overrides {
        check_override(name, value).map_err(|error| error.to_string())?;
    }
    let number =
        |name: &str| overrides.get(name).and_then(|value| value.trim().parse::<i64>().ok());
    let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    let (shortest, longest) = (number(min).unwrap_or(0), number(max).unwrap_or(i64::MAX));
    if shortest > longest {
        return Err(format!(
            "conflict topic config setting {min} ({shortest}) > {max} ({longest})"
        ));
    }
    Ok(())
}

fn assign(context: &mut Context<'_>, topic: &CreatableTopic) -> Result<Vec<Assignment>, Refusal> {
    if !topic.assignments.is_empty() {
        return assign_by_hand(context, topic);
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let settings = context.settings;
    let count = match topic.num_partitions {
        -1 => settings.num_partitions,
        count => count,
    };
    let replication_factor = match topic.replication_factor {
        -1 => settings.default_replication_factor,
        factor => factor,
    };
    let mut placer = Placer::new(context.image, context.chance);
    let place = |_| partitions::placed(&mut placer, context.image, replication_factor);
    (0..count).map(place).collect()
}

fn assign_by_hand(
    context: &Context<'_>,
    topic: &CreatableTopic,
) -> Result<Vec<Assignment>, Refusal> {
    let both = |what: &str| {
        let message =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Refusal::new(ErrorCode::InvalidRequest, message)
    };
    if topic.replication_factor != -1 {
        return Err(both("replication factor"));
    }
    if topic.num_partitions != -1 {
        return Err(both("numPartitions"));
    }
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut assigned = BTreeMap::new();
    let mut replication_factor = None;
    for by_hand in &topic.assignments {
        let index = by_hand.partition_index;
        if assigned.contains_key(&index) {
            let message =
                format!("Found multiple manual partition assignments for partition {index}");
            return Err(invalid(message));
        }
        let assignment =
            partitions::checked(context.image, &by_hand.broker_ids, replication_factor)?;
        replication_factor.get_or_insert(assignment.replicas.len());
        assigned.insert(index, assignment);
    }
    if !assigned.keys().copied().eq(0..assigned.len() as i32) {
        return Err(invalid("partitions should be a consecutive 0-based integer sequence".into()));
    }
    Ok(assigned.into_values().collect())
}

/// Every option of the topic as it will be, with where it comes from.
fn effective_configs(
    overrides: &BTreeMap<String, String>,
    layers: &Layers,
) -> Vec<CreatableTopicConfigs> {
    let stored = STORED_OPTIONS.iter().map(|stored| &stored.option);
    let mut options: Vec<&'static Opt> = TOPIC_OPTIONS.iter().chain(stored).collect();
    options.sort_by_key(|option| option.name);
    let entry = |option: &'static Opt| {
        let (source, value) = match overrides.get(option.name) {
            Some(value) => (Source::Topic, Some(value.clone())),
            None => inherited(option, layers),
        };
        CreatableTopicConfigs {
            name: Text::new(option.name),
            value: value.as_deref().map(Text::new),
            read_only: false,
            config_source: source as i8,
            is_sensitive: option.is_sensitive(),
        }
    };
    options.into_iter().map(entry).collect()
}

fn inherited(option: &'static Opt, layers: &Layers) -> (Source, Option<String>) {
    use crate::config::broker::BROKER_OPTIONS;

    let names = option.broker_name.map(fallbacks).unwrap_or_default();
    let broker_options = names.iter().filter_map(|(name, _)| find(BROKER_OPTIONS, name));
    let set = broker_options.flat_map(|broker_option| layers.values(broker_option)).next();
    let source = set.map_or(Source::Default, |(source, _)| source);
    let value = crate::config::topic::inherited(option, layers);
    (source, value.ok().flatten())
}

pub fn delete(
    context: &mut Context<'_>,
    request: &DeleteTopicsRequest,
) -> Decided<DeleteTopicsResponse> {
    let mut records = Vec::new();
    let mut response = DeleteTopicsResponse::default();
    let asked = asked_deletions(request);
    let (mut named, mut identified): (BTreeMap<&str, u32>, BTreeMap<Uuid, u32>) =
        Default::default();
    for topic in &asked {
        match &topic.name {
            None => *identified.entry(topic.topic_id).or_default() += 1,
            Some(name) if topic.topic_id == Uuid::ZERO => *named.entry(name).or_default() += 1,
            Some(_) => {}
        }
    }
    let names = named.keys().filter_map(|name| context.image.topic(name));
    let named_ids: BTreeSet<Uuid> = names.map(|topic| topic.id).collect();
    let mut answered = BTreeSet::new();
    for topic in &asked {
        let key = (topic.name.clone().map(|name| name.to_string()), topic.topic_id);
        if (key.0.is_some() || key.1 != Uuid::ZERO) && !answered.insert(key) {
            continue;
        }
        // Named by one entry and identified by another: answered once, under its name.
        if topic.name.is_none() && named_ids.contains(&topic.topic_id) {
            continue;
        }
        let often = match &topic.name {
            None => identified[&topic.topic_id] > 1,
            Some(name) => named.get(name.as_str()).is_some_and(|&times| times > 1),
        };
        let result = match delete_one(context, topic, often) {
            Ok((name, topic_id)) if identified.contains_key(&topic_id) && topic.name.is_some() => {
                let message = "The provided topic name maps to an ID that was already supplied.";
                let refusal = Refusal::new(ErrorCode::InvalidRequest, message);
                undeleted(&DeleteTopicState { name: Some(Text::new(&name)), topic_id }, &refusal)
            }
            Ok((name, id)) => {
                records.push(RemoveTopicRecord { topic_id: id }.into());
                let name = Some(Text::new(&name));
                DeletableTopicResult { name, topic_id: id, ..DeletableTopicResult::default() }
            }
            Err(refusal) => undeleted(topic, &refusal),
        };
        response.responses.push(result);
    }
    Decided { records, response }
}

/// The response when nothing could be tried.
pub fn refused_deletion(
    request: &DeleteTopicsRequest,
    error: &ControllerError,
) -> DeleteTopicsResponse {
    let refusal = Refusal::of(error);
    let asked = asked_deletions(request);
    let responses = asked.iter().map(|topic| undeleted(topic, &refusal)).collect();
    DeleteTopicsResponse { throttle_time_ms: 0, responses }
}

/// Before version 6 topics have names only, in a field of their own.
fn asked_deletions(request: &DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    let named = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() });
    named.chain(request.topics.iter().cloned()).collect()
}

fn delete_one(
    context: &Context<'_>,
    topic: &DeleteTopicState,
    often: bool,
) -> Result<(String, Uuid), Refusal> {
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let by_id = topic.topic_id != Uuid::ZERO;
    let found = match &topic.name {
        Some(_) if by_id => return invalid("You may not specify both topic name and topic id."),
        None if !by_id => return invalid("Neither topic name nor id were specified."),
        Some(_) if often => return invalid("Duplicate topic name."),
        None if often => return invalid("Duplicate topic id."),
        Some(name) => context.image.topic(name),
        None => context.image.topic_by_id(topic.topic_id),
    };
    let Some(found) = found else {
        return Err(if by_id {
            let message = "This server does not host this topic ID.";
            Refusal::new(ErrorCode::UnknownTopicId, message)
        } else {
            let message = "This server does not host this topic-partition.";
            Refusal::new(ErrorCode::UnknownTopicOrPartition, message)
        });
    };
    if !context.settings.delete_topics {
        let code = ErrorCode::TopicDeletionDisabled;
        return Err(Refusal::new(code, "Topic deletion is disabled."));
    }
    Ok((found.name.to_string(), found.id))
}

fn undeleted(topic: &DeleteTopicState, refusal: &Refusal) -> DeletableTopicResult {
    DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        error_code: refusal.code.code(),
        error_message: refusal.text(),
    }
}
