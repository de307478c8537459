//! Produce (key 0), versions 3 to 13 (advertised from 0): append batches to partitions we lead.
//!
//! Each partition succeeds or fails alone. With acks=0 there is no answer at all, so an error
//! closes the connection.
//!
//!    3  magic-2 batches only; older formats are refused by the version range
//!    7  zstd
//!    8  errors name the records
//!   10  where the leader is, when it is not here (KIP-951)
//!   13  topics named by id

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::error::{self, Failure};
use super::{Answer, Call, Context, Refusal};
use crate::env::clock::Clock;
use crate::env::{Env, probe};
use crate::metadata::image::Image;
use crate::metadata::topic::Topic;
use crate::partition::check::Check;
use crate::partition::{Acks, Appended, Partition, ProduceError, Submitted};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use crate::protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::wire::{Records, Text};

/// The one client that may write to Kafka's own topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";
const ZSTD_SINCE: i16 = 7;
const LEADER_TOLD_SINCE: i16 = 10;
const IDS_SINCE: i16 = 13;

pub(super) async fn answer<E: Env>(call: Call<E>) -> Answer<E> {
    let (mut ctx, request, respond) = match call.decode::<ProduceRequest>() {
        Ok(decoded) => decoded,
        Err(refusal) => return Answer::Refuse(refusal),
    };
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let acks_wanted = request.acks;
    let mut waiting = submit(&ctx, request);
    if waiting.partitions().any(|partition| matches!(partition.outcome, Outcome::Long(..))) {
        ctx.client.checking.store(true, Ordering::Release);
        waiting.check_aside(ctx.broker.env()).await;
        ctx.client.checking.store(false, Ordering::Release);
    }
    // It points into the frame, whose memory the next requests want.
    ctx.client_id = None;

    if acks_wanted == 0 {
        let failed = waiting.partitions().find_map(|partition| partition.outcome.failure());
        return match failed {
            Some(failure) => Answer::Refuse(Refusal::SilentProduce(failure.code)),
            None => Answer::Nothing,
        };
    }
    let counted = poll_fn(|cx| waiting.poll(cx));
    if ctx.broker.env().clock().timeout(timeout, counted).await.is_err() {
        waiting.give_up();
    }
    respond.with(&waiting.into_response(&ctx), Vec::new())
}

/// What was appended, and waits to count.
struct Waiting<E: Env> {
    acks: Acks,
    topics: Vec<SubmittedTopic<E>>,
}

struct SubmittedTopic<E: Env> {
    response: TopicProduceResponse,
    partitions: Vec<Answering<E>>,
}

struct Answering<E: Env> {
    index: i32,
    outcome: Outcome<E>,
}

enum Outcome<E: Env> {
    /// Nothing was appended yet: its records take long to check.
    Long(Arc<Partition<E>>, Check),
    Waiting(Arc<Partition<E>>, Appended),
    Counted(Arc<Partition<E>>, Appended),
    /// Whether it was appended before it failed.
    Failed(Box<Failure>, Option<Appended>),
}

impl<E: Env> Outcome<E> {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Outcome::Failed(failure, _) => Some(failure),
            _ => None,
        }
    }

    fn check(&self) -> Option<Check> {
        match self {
            Outcome::Long(_, check) => Some(check.clone()),
            _ => None,
        }
    }
}

/// Appends everything before anything is awaited, so that partitions share a commit.
fn submit<E: Env>(ctx: &Context<E>, request: ProduceRequest) -> Waiting<E> {
    let image = ctx.broker.image();
    let acks = match request.acks {
        -1 => Some(Acks::All),
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        _ => None,
    };
    let transactional = request.transactional_id.is_some();
    let submitting = Submitting { ctx, image: &image, acks, transactional };
    let mut topics: Vec<SubmittedTopic<E>> = Vec::with_capacity(request.topic_data.len());
    let mut places = BTreeMap::new();
    for topic in request.topic_data {
        let submitted = submitting.topic(topic);
        let key = (submitted.response.name.clone(), submitted.response.topic_id);
        // A topic named twice is answered once.
        match places.get(&key) {
            Some(&place) => {
                let known: &mut SubmittedTopic<E> = &mut topics[place];
                known.partitions.extend(submitted.partitions);
            }
            None => {
                places.insert(key, topics.len());
                topics.push(submitted);
            }
        }
    }
    Waiting { acks: acks.unwrap_or(Acks::Leader), topics }
}

struct Submitting<'a, E: Env> {
    ctx: &'a Context<E>,
    image: &'a Image,
    acks: Option<Acks>,
    transactional: bool,
}

impl<E: Env> Submitting<'_, E> {
    fn topic(&self, data: TopicProduceData) -> SubmittedTopic<E> {
        let by_id = self.ctx.version >= IDS_SINCE;
        let found = if by_id {
            self.image.topic_by_id(data.topic_id).ok_or(ErrorCode::UnknownTopicId)
        } else {
            self.image.topic(&data.name).ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        // A partition named twice is written and answered once: the last word counts.
        let mut places = BTreeMap::new();
        let mut asked: Vec<PartitionProduceData> = Vec::with_capacity(data.partition_data.len());
        for partition in data.partition_data {
            match places.insert(partition.index, asked.len()) {
                Some(place) => {
                    places.insert(partition.index, place);
                    asked[place] = partition;
                }
                None => asked.push(partition),
            }
        }
        let partitions = asked
            .into_iter()
            .map(|partition| {
                let appended = found
                    .map_err(Failure::from)
                    .and_then(|topic| self.partition(topic, partition.index, partition.records));
                let outcome = match appended {
                    Ok((partition, Submitted::Appended(appended))) => {
                        Outcome::Waiting(partition, appended)
                    }
                    Ok((partition, Submitted::Long(check))) => Outcome::Long(partition, check),
                    Err(failure) => Outcome::Failed(Box::new(failure), None),
                };
                Answering { index: partition.index, outcome }
            })
            .collect();
        let response = TopicProduceResponse {
            // Copied: the request's own text holds the whole frame.
            name: Text::new(&data.name),
            topic_id: data.topic_id,
            ..TopicProduceResponse::default()
        };
        SubmittedTopic { response, partitions }
    }

    fn partition(
        &self,
        topic: &Topic,
        index: i32,
        records: Option<Records>,
    ) -> Result<(Arc<Partition<E>>, Submitted), Failure> {
        let ctx = self.ctx;
        if Topic::is_internal(&topic.name) && ctx.client_id.as_deref() != Some(ADMIN_CLIENT_ID) {
            return Err(ErrorCode::InvalidTopicException.into());
        }
        let partition = ctx.broker.partition(topic, index)?;
        let acks = self.acks.ok_or(ErrorCode::InvalidRequiredAcks)?;
        let records = match records {
            Some(Records::Bytes(bytes)) => bytes,
            Some(Records::Hole(_)) | None => Bytes::new(),
        };
        if error::is_transactional(&records) {
            // No transaction can have begun here: the coordinator comes with a later version.
            let code = if self.transactional {
                ErrorCode::InvalidTxnState
            } else {
                ErrorCode::TransactionalIdAuthorizationFailed
            };
            return Err(code.into());
        }
        match partition.append(&records, acks, ctx.version >= ZSTD_SINCE) {
            Ok(submitted) => Ok((partition, submitted)),
            Err(error) => Err(failure(&partition, error)),
        }
    }
}

fn failure<E: Env>(partition: &Partition<E>, error: ProduceError) -> Failure {
    let tells_start = error::tells_log_start(&error);
    let log_start = tells_start.then(|| partition.log_start());
    Failure { log_start, ..Failure::from(error) }
}

impl<E: Env> Waiting<E> {
    fn partitions(&self) -> impl Iterator<Item = &Answering<E>> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    /// Checks what takes long where it holds nobody up, then appends it.
    async fn check_aside(&mut self, env: &E) {
        let acks = self.acks;
        let partitions = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        let long: Vec<&mut Answering<E>> =
            partitions.filter(|each| matches!(each.outcome, Outcome::Long(..))).collect();
        let checks: Vec<Check> = long.iter().filter_map(|each| each.outcome.check()).collect();
        let run = move || checks.iter().map(Check::run).collect::<Vec<_>>();
        for (answering, checked) in long.into_iter().zip(env.offload(run).await) {
            let Outcome::Long(partition, check) = &answering.outcome else {
                unreachable!("only these were taken")
            };
            let appended = checked
                .map_err(ProduceError::from)
                .and_then(|batch| partition.append_checked(&batch, check, acks));
            answering.outcome = match appended {
                Ok(appended) => Outcome::Waiting(partition.clone(), appended),
                Err(error) => Outcome::Failed(Box::new(failure(partition, error)), None),
            };
        }
    }

    /// Ready when every partition has its outcome.
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        for submitted in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if let Outcome::Waiting(partition, appended) = &submitted.outcome {
                // The first one left decides: all are asked again when it moves.
                match partition.poll_counted(appended, self.acks, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {
                        submitted.outcome = Outcome::Counted(partition.clone(), *appended);
                    }
                    Poll::Ready(Err(error)) => {
                        let failure = Box::new(Failure::from(error));
                        submitted.outcome = Outcome::Failed(failure, Some(*appended));
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// The time is up. What was appended stays, and may yet count.
    fn give_up(&mut self) {
        for submitted in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if let Outcome::Waiting(_, appended) = &submitted.outcome {
                let failure = Box::new(ErrorCode::RequestTimedOut.into());
                submitted.outcome = Outcome::Failed(failure, Some(*appended));
            }
        }
    }

    fn into_response(self, ctx: &Context<E>) -> ProduceResponse {
        let image = ctx.broker.image();
        let (mut leaders, acks) = (BTreeSet::new(), self.acks);
        let mut responses = Vec::with_capacity(self.topics.len());
        for SubmittedTopic { mut response, partitions } in self.topics {
            let topic = match ctx.version >= IDS_SINCE {
                true => image.topic_by_id(response.topic_id),
                false => image.topic(&response.name),
            };
            for Answering { index, outcome } in partitions {
                let mut answered = answer_partition(ctx, index, outcome, acks);
                let told = topic.and_then(|topic| topic.partition(index));
                if let Some(partition) = told
                    && ctx.version >= LEADER_TOLD_SINCE
                    && error::names_leader(answered.error_code)
                {
                    answered.current_leader = LeaderIdAndEpoch {
                        leader_id: partition.leader.map_or(-1, |leader| leader.0),
                        leader_epoch: partition.leader_epoch.0,
                    };
                    leaders.extend(partition.leader);
                }
                response.partition_responses.push(answered);
            }
            responses.push(response);
        }
        let endpoints = ctx.endpoints(&image).filter(|(broker, _)| leaders.contains(&broker.id));
        let node_endpoints = endpoints.map(|(broker, endpoint)| NodeEndpoint {
            node_id: broker.id.0,
            host: Text::new(&endpoint.host),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref().map(Text::new),
        });
        let node_endpoints = node_endpoints.collect();
        ProduceResponse { responses, node_endpoints, ..ProduceResponse::default() }
    }
}

fn answer_partition<E: Env>(
    ctx: &Context<E>,
    index: i32,
    outcome: Outcome<E>,
    acks: Acks,
) -> PartitionProduceResponse {
    match outcome {
        Outcome::Counted(partition, appended) => {
            ctx.broker.env().probe(|| probe::Event::Acknowledged {
                topic: partition.topic_id,
                partition: index,
                base: appended.base,
                end: appended.end,
                acks: if acks == Acks::All { -1 } else { 1 },
            });
            PartitionProduceResponse {
                index,
                base_offset: appended.base.0,
                log_append_time_ms: appended.log_append_time_ms,
                log_start_offset: appended.log_start.0,
                ..PartitionProduceResponse::default()
            }
        }
        Outcome::Long(..) | Outcome::Waiting(..) => unreachable!("given up or counted before"),
        Outcome::Failed(failure, appended) => PartitionProduceResponse {
            index,
            error_code: failure.code.code(),
            base_offset: appended.map_or(-1, |appended| appended.base.0),
            log_append_time_ms: appended.map_or(-1, |appended| appended.log_append_time_ms),
            log_start_offset: match (appended, failure.log_start) {
                (Some(Appended { log_start, .. }), _) | (None, Some(log_start)) => log_start.0,
                (None, None) => -1,
            },
            record_errors: failure.records,
            error_message: failure.message,
            ..PartitionProduceResponse::default()
        },
    }
}
