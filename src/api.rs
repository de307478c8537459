//! One Kafka request after another, turned into calls on the broker.
//!
//! One file per API, named as the protocol names it; `table` lists them all, with the versions
//! that are advertised because they are served.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::broker::Broker;
use crate::env::{Env, FileOf};
use crate::metadata::image::{self, Endpoint, Image};
use crate::metadata::topic::Partition;
use crate::protocol::api::ApiKey;
use crate::protocol::error::ErrorCode;
use crate::protocol::frame::{self, RequestFrame};
use crate::protocol::wire::writer::{Encoded, Writer};
use crate::protocol::wire::{DecodeError, EncodeError, Message, Request, Text};
use crate::types::NodeId;

mod alter_configs;
mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod error;
mod fetch;
mod incremental_alter_configs;
mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod operations;
mod produce;
mod table;

/// Who speaks on a connection.
#[derive(Debug)]
pub struct Client {
    pub peer: SocketAddr,
    /// The listener it came in by.
    pub listener: Arc<str>,
    /// Name and version of its software, when it said so.
    pub software: OnceLock<(Text, Text)>,
    /// Records of its latest Produce are being checked elsewhere and are not appended yet: until
    /// then no other request of the connection begins.
    pub checking: AtomicBool,
}

/// What a request becomes.
pub enum Answer<E: Env> {
    Reply(Reply<E>),
    /// A produce request with acks=0: its client reads no answer.
    Nothing,
    /// The connection is closed without an answer.
    Refuse(Refusal),
}

/// A whole frame. Each hole in it is filled by the next region.
pub struct Reply<E: Env> {
    pub encoded: Encoded,
    pub regions: Vec<Region<E>>,
}

/// Bytes that go from a file to the peer.
#[derive(Clone)]
pub struct Region<E: Env> {
    pub file: FileOf<E>,
    pub at: u64,
    pub len: u64,
}

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("a frame without a request header: {0}")]
    Header(DecodeError),
    #[error("{api} version {version} is not served here")]
    NotServed { api: ApiKey, version: i16 },
    #[error("{api} version {version} does not decode: {error}")]
    Undecodable { api: ApiKey, version: i16, error: DecodeError },
    #[error("the answer to {api} version {version} does not encode: {error}")]
    Unencodable { api: ApiKey, version: i16, error: EncodeError },
    #[error("a produce request with acks=0 failed: {0:?}")]
    SilentProduce(ErrorCode),
}

/// What a handler knows of the request it serves.
pub struct Context<E: Env> {
    pub broker: Arc<Broker<E>>,
    pub client: Arc<Client>,
    pub version: i16,
    pub client_id: Option<Text>,
}

/// A request whose header was read.
struct Call<E: Env> {
    ctx: Context<E>,
    frame: RequestFrame,
}

pub type Handling<E> = Pin<Box<dyn Future<Output = Answer<E>> + Send>>;

/// Serves one frame, without its length. The first poll goes as far as it can: a Produce request
/// appends, in the order in which frames are handled, or says with `Client::checking` that it has not
/// appended yet.
pub fn handle<E: Env>(broker: Arc<Broker<E>>, client: Arc<Client>, frame: Bytes) -> Handling<E> {
    let frame = match RequestFrame::decode(frame) {
        Ok(frame) => frame,
        Err(error) => return refuse(Refusal::Header(error)),
    };
    let (version, client_id) = (frame.version, frame.client_id.clone());
    table::dispatch(Call { ctx: Context { broker, client, version, client_id }, frame })
}

fn refuse<E: Env>(refusal: Refusal) -> Handling<E> {
    Box::pin(std::future::ready(Answer::Refuse(refusal)))
}

impl<E: Env> Call<E> {
    /// Decodes the request, runs `handler`, encodes the answer.
    async fn serve<Q, F>(self, handler: impl FnOnce(Context<E>, Q) -> F) -> Answer<E>
    where
        Q: Request,
        F: Future<Output = Q::Response>,
    {
        let (ctx, request, respond) = match self.decode() {
            Ok(decoded) => decoded,
            Err(refusal) => return Answer::Refuse(refusal),
        };
        let response = handler(ctx, request).await;
        respond.with(&response, Vec::new())
    }

    fn decode<Q: Request>(self) -> Result<(Context<E>, Q, Respond), Refusal> {
        let RequestFrame { api, version, correlation_id, .. } = self.frame;
        match self.frame.body() {
            Ok(request) => Ok((self.ctx, request, Respond { api, version, correlation_id })),
            Err(error) => Err(Refusal::Undecodable { api, version, error }),
        }
    }
}

/// What the answer needs of its request.
#[derive(Clone, Copy)]
struct Respond {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Respond {
    /// `regions` fill the holes that `response` leaves for records.
    fn with<E: Env, A: Message>(self, response: &A, regions: Vec<Region<E>>) -> Answer<E> {
        let Respond { api, version, correlation_id } = self;
        match frame::encode_response(&mut Writer::new(), api, version, correlation_id, response) {
            Ok(encoded) => Answer::Reply(Reply { encoded, regions }),
            Err(error) => Answer::Refuse(Refusal::Unencodable { api, version, error }),
        }
    }
}

impl<E: Env> Context<E> {
    /// Brokers alive that have an endpoint on the listener this client came in by.
    fn endpoints<'a>(
        &self,
        image: &'a Image,
    ) -> impl Iterator<Item = (&'a image::Broker, &'a Endpoint)> {
        let listener = self.client.listener.clone();
        image
            .brokers_alive()
            .filter_map(move |broker| Some((&**broker, broker.endpoint(&listener)?)))
    }

    /// Any broker takes requests for the controller, so any may be named as it. -1: none is alive.
    fn any_broker(&self, image: &Image) -> i32 {
        let alive: Vec<NodeId> = self.endpoints(image).map(|(broker, _)| broker.id).collect();
        let draw = self.broker.env().random_u64() as usize;
        if alive.is_empty() { -1 } else { alive[draw % alive.len()].0 }
    }

    /// The leader to name to this client.
    fn leader(&self, image: &Image, partition: &Partition) -> Result<NodeId, ErrorCode> {
        let leader = partition.leader.and_then(|leader| image.broker(leader));
        match leader.filter(|leader| !leader.fenced) {
            None => Err(ErrorCode::LeaderNotAvailable),
            Some(leader) if leader.endpoint(&self.client.listener).is_none() => {
                Err(ErrorCode::ListenerNotFound)
            }
            Some(leader) => Ok(leader.id),
        }
    }

    /// Replicas on brokers that are not alive.
    fn offline_replicas(&self, image: &Image, partition: &Partition) -> Vec<i32> {
        let offline = |node: &&NodeId| image.broker(**node).is_none_or(|broker| broker.fenced);
        partition.replicas.iter().filter(offline).map(|node| node.0).collect()
    }
}
