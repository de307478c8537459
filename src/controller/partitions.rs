//! CreatePartitions, and how a partition begins.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::operation::{Context, ControllerError, Decided};
use crate::controller::placement::{PlacementError, Placer};
use crate::controller::refusal::Refusal;
use crate::controller::topics::BATCH_RECORDS_MAX;
use crate::metadata::image::Image;
use crate::metadata::topic::DIRECTORY_UNASSIGNED;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::MetadataRecord;
use crate::protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use crate::protocol::messages::partition_record::PartitionRecord;
use crate::types::{NodeId, Uuid};

/// The brokers of a new partition. Those that are active are in sync from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
}

pub fn create(
    context: &mut Context<'_>,
    request: &CreatePartitionsRequest,
) -> Decided<CreatePartitionsResponse> {
    let mut records = Vec::new();
    let mut response = CreatePartitionsResponse::default();
    for (topic, repeated) in once_each(&request.topics) {
        let added = if repeated {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
        } else {
            add(context, topic, BATCH_RECORDS_MAX.saturating_sub(records.len()))
        };
        let result = match added {
            Ok(added) => {
                records.extend(added);
                let name = topic.name.clone();
                CreatePartitionsTopicResult { name, ..CreatePartitionsTopicResult::default() }
            }
            Err(refusal) => refused_one(topic, &refusal),
        };
        response.results.push(result);
    }
    if request.validate_only {
        records.clear();
    }
    Decided { records, response }
}

/// The response when nothing could be tried.
pub fn refused(
    request: &CreatePartitionsRequest,
    error: &ControllerError,
) -> CreatePartitionsResponse {
    let refusal = Refusal::of(error);
    let topics = once_each(&request.topics).into_iter();
    let results = topics.map(|(topic, _)| refused_one(topic, &refusal)).collect();
    CreatePartitionsResponse { throttle_time_ms: 0, results }
}

fn refused_one(topic: &CreatePartitionsTopic, refusal: &Refusal) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: refusal.code.code(),
        error_message: refusal.text(),
    }
}

/// Each name once, with whether it came more often.
fn once_each(topics: &[CreatePartitionsTopic]) -> Vec<(&CreatePartitionsTopic, bool)> {
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for topic in topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    let first = topics.iter().filter(|topic| seen.insert(topic.name.as_str()));
    first.map(|topic| (topic, times[topic.name.as_str()] > 1)).collect()
}

fn add(
    context: &mut Context<'_>,
    asked: &CreatePartitionsTopic,
    room: usize,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let Some(topic) = context.image.topic(&asked.name) else {
        return Err(Refusal { code: ErrorCode::UnknownTopicOrPartition, message: None });
    };
    let (has, wanted) = (topic.partition_count(), asked.count);
    if wanted == has {
        let message = format!("Topic already has {has} partition(s).");
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    if wanted < has {
        let message = format!(
            "The topic {} currently has {has} partition(s); {wanted} would not be an increase.",
            asked.name
        );
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let additional = (wanted - has) as usize;
    if additional > room {
        let message = "Unable to perform excessively large batch operation.";
        return Err(Refusal::new(ErrorCode::PolicyViolation, message));
    }
    let first = topic.partitions.get(&0).or_else(|| topic.partitions.values().next());
    let replication_factor = first.map_or(1, |first| first.replicas.len());
    let assignments: Vec<Assignment> = match &asked.assignments {
        Some(by_hand) => {
            if by_hand.len() != additional {
                let message = format!(
                    "Attempted to add {additional} additional partition(s), but only {} \
                     assignment(s) were specified.",
                    by_hand.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let check = |one: &Vec<i32>| checked(context.image, one, Some(replication_factor));
            by_hand.iter().map(|one| check(&one.broker_ids)).collect::<Result<_, _>>()?
        }
        None => {
            let mut placer = Placer::new(context.image, context.chance);
            let place = |_| placed(&mut placer, context.image, replication_factor as i16);
            (0..additional).map(place).collect::<Result<_, _>>()?
        }
    };
    let record = |(index, assignment): (i32, &Assignment)| {
        new_record(context.image, topic.id, index, assignment).into()
    };
    Ok((has..).zip(&assignments).map(record).collect())
}

/// An assignment that the cluster chose.
pub fn placed(
    placer: &mut Placer,
    image: &Image,
    replication_factor: i16,
) -> Result<Assignment, Refusal> {
    let wanted = usize::try_from(replication_factor).unwrap_or(0);
    let refuse = |error: PlacementError| {
        Refusal::new(ErrorCode::InvalidReplicationFactor, error.to_string())
    };
    let replicas = placer.place(wanted).map_err(refuse)?;
    let isr = active(image, &replicas);
    assert!(!isr.is_empty(), "the placer puts an active broker first");
    Ok(Assignment { replicas, isr })
}

/// An assignment that the client chose.
pub fn checked(
    image: &Image,
    broker_ids: &[i32],
    replication_factor: Option<usize>,
) -> Result<Assignment, Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if broker_ids.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".into());
    }
    let mut replicas = Vec::with_capacity(broker_ids.len());
    let mut sorted = broker_ids.to_vec();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return invalid(format!(
            "The manual partition assignment includes the broker {} more than once.",
            twice[0]
        ));
    }
    for &id in broker_ids {
        if image.broker(NodeId(id)).is_none() {
            return invalid(format!(
                "The manual partition assignment includes broker {id}, but no such broker is \
                 registered."
            ));
        }
        replicas.push(NodeId(id));
    }
    if let Some(expected) = replication_factor.filter(|&expected| expected != replicas.len()) {
        return invalid(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is \
             not consistent with previous partitions, which have {expected} replica(s).",
            replicas.len()
        ));
    }
    let isr = active(image, &replicas);
    if isr.is_empty() {
        return invalid(
            "All brokers specified in the manual partition assignment are fenced or in \
                        controlled shutdown."
                .into(),
        );
    }
    Ok(Assignment { replicas, isr })
}

pub fn new_record(
    image: &Image,
    topic_id: Uuid,
    partition_id: i32,
    assignment: &Assignment,
) -> PartitionRecord {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<i32>>();
    let leader = assignment.isr.first().expect("an assignment has an active broker");
    let directories = assignment.replicas.iter().map(|&replica| only_directory(image, replica));
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: ids(&assignment.replicas),
        isr: ids(&assignment.isr),
        leader: leader.0,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: directories.collect(),
        ..PartitionRecord::default()
    }
}

/// A broker with several directories chooses one itself.
fn only_directory(image: &Image, broker: NodeId) -> Uuid {
    let directories = image.broker(broker).map_or(&[][..], |broker| &broker.directories);
    match directories {
        [only] => *only,
        _ => DIRECTORY_UNASSIGNED,
    }
}

fn active(image: &Image, replicas: &[NodeId]) -> Vec<NodeId> {
    let is_active = |id: &NodeId| image.broker(*id).is_some_and(|broker| broker.is_active());
    replicas.iter().copied().filter(is_active).collect()
}
