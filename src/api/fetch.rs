//! Fetch (key 1), versions 4 to 18: records from partitions we lead, as they lie in the log.
//!
//!    7  fetch sessions (`broker/fetch_sessions`)
//!   12  finds logs that went apart, by the epoch of the last record fetched
//!   13  topics named by id
//!   16  where the leader is, when it is not here (KIP-951)
//!
//! Whole batches are answered, from the one that holds the offset on; the client skips what it did
//! not ask for. With too little to answer, the request waits until enough is there or its time is
//! up; any error answers at once, and so does what lies before the newest segment: waiting would not
//! make it more.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::error;
use super::{Answer, Call, Context, Region};
use crate::broker::fetch_sessions::{Fetch, Key, Outcome, SessionError, Target, TopicKey};
use crate::env::clock::Clock;
use crate::env::disk::File;
use crate::env::{Env, FileOf};
use crate::log::transactions::AbortedTransaction;
use crate::metadata::image::Image;
use crate::metadata::topic::Topic;
use crate::partition::{Asked, Partition, Read};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::fetch_request::FetchRequest;
use crate::protocol::messages::fetch_response::{
    self, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use crate::protocol::wire::{Records, Text};
use crate::types::{LeaderEpoch, NodeId, Offset, Uuid};

const READ_COMMITTED: i8 = 1;
const IDS_SINCE: i16 = 13;
const LEADER_TOLD_SINCE: i16 = 16;
/// Up to so many bytes are copied into the answer, to leave in the same write as its head.
const INLINE_BYTES_MAX: u32 = 32 << 10;

pub(super) async fn answer<E: Env>(call: Call<E>) -> Answer<E> {
    let (ctx, mut request, respond) = match call.decode::<FetchRequest>() {
        Ok(decoded) => decoded,
        Err(refusal) => return Answer::Refuse(refusal),
    };
    // Up to version 14 the replica stands on its own.
    let replica = request.replica_id.max(request.replica_state.replica_id);
    let limits = Limits::of(&ctx, &request);
    request.rack_id = Text::default();
    let now = ctx.broker.env().clock().now();
    let begun = ctx.broker.sessions().begin(request, ctx.version >= IDS_SINCE, now);
    let mut fetch = match begun {
        Ok(fetch) => fetch,
        Err(error) => return respond.with(&failed(error), Vec::new()),
    };
    let served = if replica >= 0 {
        fetch.targets.iter().map(not_a_replica).collect()
    } else {
        serve(&ctx, &mut fetch, &limits).await
    };
    match assemble(&ctx, fetch, served, replica >= 0) {
        Ok((response, regions)) => respond.with(&response, regions),
        Err(error) => respond.with(&failed(error), Vec::new()),
    }
}

struct Limits {
    committed_only: bool,
    bytes_max: u32,
    bytes_min: u64,
    wait_max: Duration,
}

impl Limits {
    fn of<E: Env>(ctx: &Context<E>, request: &FetchRequest) -> Limits {
        let bytes_max =
            request.max_bytes.min(ctx.broker.settings().config.fetch_max_bytes).max(0) as u32;
        Limits {
            committed_only: request.isolation_level == READ_COMMITTED,
            bytes_max,
            // No answer grows past the maximum, so waiting for more would never end.
            bytes_min: (request.min_bytes.max(0) as u64).min(u64::from(bytes_max)),
            wait_max: Duration::from_millis(request.max_wait_ms.max(0) as u64),
        }
    }
}

/// What one partition answers.
struct Served<E: Env> {
    error: ErrorCode,
    high_watermark: Offset,
    last_stable: Offset,
    log_start: Offset,
    /// How often the partition had moved when it was read.
    moves: u64,
    diverging: Option<(LeaderEpoch, Offset)>,
    file: Option<FileOf<E>>,
    at: u64,
    len: u32,
    /// Bytes that could be answered if all other partitions were empty.
    available: u32,
    has_more: bool,
    aborted: Option<Vec<AbortedTransaction>>,
}

const UNKNOWN: Offset = Offset(-1);

impl<E: Env> Served<E> {
    fn failed(error: ErrorCode) -> Served<E> {
        Served {
            error,
            high_watermark: UNKNOWN,
            last_stable: UNKNOWN,
            log_start: UNKNOWN,
            moves: 0,
            diverging: None,
            file: None,
            at: 0,
            len: 0,
            available: 0,
            has_more: false,
            aborted: None,
        }
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            has_records: self.len > 0,
            failed: self.error != ErrorCode::None,
            has_advice: self.diverging.is_some(),
            high_watermark: self.high_watermark,
            log_start: self.log_start,
        }
    }
}

/// Reads all partitions, again and again until there is enough to answer.
async fn serve<E: Env>(ctx: &Context<E>, fetch: &mut Fetch, limits: &Limits) -> Vec<Served<E>> {
    let clock = ctx.broker.env().clock().clone();
    let image = ctx.broker.image();
    let found: Vec<_> = fetch.targets.iter_mut().map(|target| find(ctx, &image, target)).collect();
    drop(image);
    let mut deadline = std::pin::pin!(None);
    loop {
        let (served, enough) = read_all(fetch, &found, limits).await;
        if enough || limits.wait_max.is_zero() {
            return served;
        }
        let waits_since = clock.now();
        if deadline.is_none() {
            deadline.set(Some(clock.sleep(limits.wait_max)));
        }
        let expiry = deadline.as_mut().as_pin_mut().expect("set above");
        tokio::select! {
            biased;
            () = expiry => {
                tell_expired(fetch, &found, &served, limits, clock.now().since(waits_since));
                return served;
            }
            () = poll_fn(|cx| poll_moved(&found, &served, cx)) => {}
        }
    }
}

/// Nobody moved what was read, for `waited` now: a simulator checks that there was too little.
fn tell_expired<E: Env>(
    fetch: &Fetch,
    found: &[Result<Arc<Partition<E>>, ErrorCode>],
    served: &[Served<E>],
    limits: &Limits,
    waited: Duration,
) {
    for ((target, found), read) in fetch.targets.iter().zip(found).zip(served) {
        if let Ok(partition) = found {
            let asked = (Offset(target.fetch_offset), target.partition_bytes_max.max(0) as u32);
            let (limit, bytes_min) = (read.high_watermark, limits.bytes_min);
            partition.tell_fetch_expired(asked, limit, bytes_min, waited);
        }
    }
}

/// Ready when one of the partitions has moved since it was read.
fn poll_moved<E: Env>(
    found: &[Result<Arc<Partition<E>>, ErrorCode>],
    served: &[Served<E>],
    cx: &mut TaskContext<'_>,
) -> Poll<()> {
    let mut has_moved = |(found, read): (&Result<Arc<Partition<E>>, ErrorCode>, &Served<E>)| {
        found.as_ref().is_ok_and(|partition| partition.poll_moved(read.moves, cx).is_ready())
    };
    match found.iter().zip(served).any(&mut has_moved) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }
}

async fn read_all<E: Env>(
    fetch: &Fetch,
    found: &[Result<Arc<Partition<E>>, ErrorCode>],
    limits: &Limits,
) -> (Vec<Served<E>>, bool) {
    let (mut bytes, mut available, mut enough) = (0, 0, limits.bytes_min == 0);
    let mut all = Vec::with_capacity(found.len());
    for (target, found) in fetch.targets.iter().zip(found) {
        let served = match found {
            Ok(partition) => read(partition, target, limits, bytes).await,
            // A list of none, as Kafka answers where there is no partition to ask.
            Err(error) => Served { aborted: Some(vec![]), ..Served::failed(*error) },
        };
        bytes += u64::from(served.len);
        available += u64::from(served.available);
        enough |= served.error != ErrorCode::None || served.diverging.is_some() || served.has_more;
        all.push(served);
    }
    // Also what does not fit any more: waiting would not make room for it.
    enough |= available >= limits.bytes_min;
    (all, enough)
}

async fn read<E: Env>(
    partition: &Arc<Partition<E>>,
    target: &Target,
    limits: &Limits,
    bytes_before: u64,
) -> Served<E> {
    let room = u64::from(limits.bytes_max).saturating_sub(bytes_before);
    let partition_bytes_max = target.partition_bytes_max.max(0) as u32;
    let fetched = LeaderEpoch(target.last_fetched_epoch);
    let asked = Asked {
        from: Offset(target.fetch_offset),
        bytes_max: partition_bytes_max.min(room as u32),
        // So that a batch larger than every limit is passed in the end.
        at_least_one: bytes_before == 0,
        committed_only: limits.committed_only,
        current_epoch: LeaderEpoch(target.current_leader_epoch),
        last_fetched_epoch: (fetched.0 >= 0).then_some(fetched),
    };
    let Read { high_watermark, last_stable, log_start, moves, diverging, plan, .. } =
        match partition.read(&asked) {
            Ok(read) => read,
            Err(refused) => return Served::failed(error::refused(&refused)),
        };
    match plan.resolve().await {
        Ok(region) => {
            partition.tell_fetched(&asked, high_watermark, &region);
            Served {
                error: ErrorCode::None,
                high_watermark,
                last_stable,
                log_start,
                moves,
                diverging: diverging.map(|end| (end.epoch, end.end)),
                len: region.len,
                available: region.available.min(partition_bytes_max).max(region.len),
                at: region.at,
                has_more: region.has_more,
                file: region.file,
                aborted: limits.committed_only.then_some(region.aborted),
            }
        }
        Err(error) => Served::failed(error::read(&error)),
    }
}

/// The partition a target means. A topic known by id keeps the name it had when it was found, so
/// that its deletion is told apart from an id that never was.
fn find<E: Env>(
    ctx: &Context<E>,
    image: &Image,
    target: &mut Target,
) -> Result<Arc<Partition<E>>, ErrorCode> {
    let topic: &Arc<Topic> = match &target.key.topic {
        TopicKey::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
        TopicKey::Id(id) => match (image.topic_by_id(*id), &target.name) {
            (Some(topic), _) => {
                target.name.get_or_insert_with(|| topic.name.clone());
                topic
            }
            (None, None) => return Err(ErrorCode::UnknownTopicId),
            (None, Some(name)) if image.topic(name).is_some() => {
                return Err(ErrorCode::InconsistentTopicId);
            }
            (None, Some(_)) => return Err(ErrorCode::UnknownTopicOrPartition),
        },
    };
    ctx.broker.partition(topic, target.key.partition)
}

/// No broker but this one holds a replica.
fn not_a_replica<E: Env>(target: &Target) -> Served<E> {
    Served::failed(match target.current_leader_epoch {
        -1 => ErrorCode::NotLeaderOrFollower,
        _ => ErrorCode::UnknownLeaderEpoch,
    })
}

fn failed(error: SessionError) -> FetchResponse {
    let code = match error {
        SessionError::IdNotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicKind => ErrorCode::FetchSessionTopicIdError,
    };
    FetchResponse { error_code: code.code(), ..FetchResponse::default() }
}

fn assemble<E: Env>(
    ctx: &Context<E>,
    fetch: Fetch,
    served: Vec<Served<E>>,
    is_follower: bool,
) -> Result<(FetchResponse, Vec<Region<E>>), SessionError> {
    let image = ctx.broker.image();
    let keys: Vec<Key> = fetch.targets.iter().map(|target| target.key.clone()).collect();
    let outcomes: Vec<Outcome> = served.iter().map(Served::outcome).collect();
    let (draw, now) = (ctx.broker.env().random_u64(), ctx.broker.env().clock().now());
    let (session_id, told) = ctx.broker.sessions().finish(fetch, &outcomes, draw, now)?;

    let mut assembly = Assembly { ctx, image: &image, leaders: BTreeSet::new(), regions: vec![] };
    let mut places: BTreeMap<TopicKey, usize> = BTreeMap::new();
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for ((key, served), told) in keys.into_iter().zip(served).zip(told) {
        if !told {
            continue;
        }
        // Regions follow the order of the answer, so a topic's partitions stay where they came:
        // a topic that comes again in the rotation gets an entry of its own.
        let last = places.get(&key.topic).copied().filter(|&place| place + 1 == responses.len());
        let place = last.unwrap_or_else(|| {
            let (topic, topic_id) = match &key.topic {
                TopicKey::Name(name) => (Text::new(name), Uuid::ZERO),
                TopicKey::Id(id) => (Text::default(), *id),
            };
            responses.push(FetchableTopicResponse { topic, topic_id, partitions: vec![] });
            places.insert(key.topic.clone(), responses.len() - 1);
            responses.len() - 1
        });
        responses[place].partitions.push(assembly.partition(&key, served));
    }
    // Followers know where the leader is.
    let node_endpoints = if is_follower { Vec::new() } else { assembly.endpoints() };
    let response = FetchResponse { session_id, responses, node_endpoints, ..Default::default() };
    Ok((response, assembly.regions))
}

struct Assembly<'a, E: Env> {
    ctx: &'a Context<E>,
    image: &'a Image,
    leaders: BTreeSet<NodeId>,
    regions: Vec<Region<E>>,
}

impl<E: Env> Assembly<'_, E> {
    fn partition(&mut self, key: &Key, served: Served<E>) -> PartitionData {
        let mut data = PartitionData {
            partition_index: key.partition,
            error_code: served.error.code(),
            high_watermark: served.high_watermark.0,
            last_stable_offset: served.last_stable.0,
            log_start_offset: served.log_start.0,
            records: Some(self.records(served.file, served.at, served.len)),
            ..PartitionData::default()
        };
        data.aborted_transactions = served.aborted.map(|aborted| {
            let aborted = aborted.iter().map(|aborted| fetch_response::AbortedTransaction {
                producer_id: aborted.producer.0,
                first_offset: aborted.first.0,
            });
            aborted.collect()
        });
        if let Some((epoch, end)) = served.diverging {
            data.diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset: end.0 };
        }
        let known = match &key.topic {
            TopicKey::Name(name) => self.image.topic(name),
            TopicKey::Id(id) => self.image.topic_by_id(*id),
        };
        if let Some(partition) = known.and_then(|topic| topic.partition(key.partition))
            && self.ctx.version >= LEADER_TOLD_SINCE
            && error::names_leader(served.error.code())
        {
            data.current_leader = LeaderIdAndEpoch {
                leader_id: partition.leader.map_or(-1, |leader| leader.0),
                leader_epoch: partition.leader_epoch.0,
            };
            self.leaders.extend(partition.leader);
        }
        data
    }

    fn records(&mut self, file: Option<FileOf<E>>, at: u64, len: u32) -> Records {
        let Some(file) = file.filter(|_| len > 0) else { return Records::default() };
        if len <= INLINE_BYTES_MAX {
            let mut bytes = BytesMut::with_capacity(len as usize);
            if let Ok(Some(read)) = file.try_read_at(at, len, &mut bytes)
                && read == len
            {
                return Records::Bytes(bytes.freeze());
            }
        }
        self.regions.push(Region { file, at, len: u64::from(len) });
        Records::Hole(u64::from(len))
    }

    fn endpoints(&self) -> Vec<NodeEndpoint> {
        let named = |node: &NodeId| self.leaders.contains(node);
        let endpoints = self.ctx.endpoints(self.image).filter(|(broker, _)| named(&broker.id));
        let endpoints = endpoints.map(|(broker, endpoint)| NodeEndpoint {
            node_id: broker.id.0,
            host: Text::new(&endpoint.host),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_deref().map(Text::new),
        });
        endpoints.collect()
    }
}
