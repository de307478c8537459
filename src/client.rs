//! A small Kafka client over `Env` and our own codec, for the command line and the simulator.
//!
//! It finds brokers by Metadata, speaks the newest version that both sides know, and gives every
//! call a time limit. It does not hide trouble: after an error the connection is dropped and the
//! caller decides, since only the caller knows whether the request may be sent again.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use self::connection::Connection;
use crate::env::Env;
use crate::env::clock::Clock;
use crate::env::net::Net;
use crate::protocol::api::ApiKey;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use crate::protocol::messages::metadata_response::MetadataResponseTopic;
use crate::protocol::wire::{DecodeError, EncodeError, Request, Text};
use crate::types::{NodeId, Uuid};

pub mod admin;
pub mod connection;
pub mod fetch;
pub mod fetch_session;
pub mod producer;

#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub client_id: String,
    /// Host and port of brokers to ask first.
    pub bootstrap: Vec<(String, u16)>,
    /// For connecting, and for each request and its answer.
    pub call_ms_max: u64,
    /// The largest answer that is read.
    pub frame_bytes_max: u32,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            client_id: "ottla".to_string(),
            bootstrap: vec![("localhost".to_string(), 9092)],
            call_ms_max: 30_000,
            frame_bytes_max: 100 << 20,
        }
    }
}

impl ClientOptions {
    fn call_max(&self) -> Duration {
        Duration::from_millis(self.call_ms_max)
    }
}

/// After any of these but `Refused` the request may or may not have been carried out.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no broker answers at {tried}: {source}")]
    Unreachable { tried: String, source: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer to {api} within {limit:?}")]
    TimedOut { api: ApiKey, limit: Duration },
    #[error("the broker speaks no version of {api} that we know")]
    Unsupported { api: ApiKey },
    #[error("an answer of {len} bytes, at most {len_max} are read")]
    TooLarge { len: u64, len_max: u32 },
    #[error("answer {got} came where {expected} was next")]
    OutOfTurn { got: i32, expected: i32 },
    #[error("the answer makes no sense: {0}")]
    Decode(#[from] DecodeError),
    #[error("the request cannot be said: {0}")]
    Encode(#[from] EncodeError),
    #[error("the broker answered {code}")]
    Refused { code: ErrorCode },
    #[error("the answer does not speak of what was asked")]
    Missing,
}

impl CallError {
    /// Was the request certainly not carried out?
    pub fn is_definite(&self) -> bool {
        matches!(
            self,
            CallError::Unreachable { .. }
                | CallError::Unsupported { .. }
                | CallError::Encode(_)
                | CallError::Refused { .. }
        )
    }
}

/// `Ok` for `None`.
pub fn refusal(code: i16) -> Result<(), CallError> {
    match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(CallError::Refused { code }),
    }
}

/// A topic as the brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    /// Who leads each partition; none when nobody does.
    pub leaders: Vec<Option<NodeId>>,
}

pub struct Client<E: Env> {
    env: E,
    options: ClientOptions,
    brokers: BTreeMap<NodeId, (String, u16)>,
    /// To any broker, and to those we were told of.
    connections: BTreeMap<Option<NodeId>, Connection<E>>,
}

impl<E: Env> Client<E> {
    /// Connects when it has to.
    pub fn new(env: E, options: ClientOptions) -> Client<E> {
        Client { env, options, brokers: BTreeMap::new(), connections: BTreeMap::new() }
    }

    pub fn env(&self) -> &E {
        &self.env
    }

    /// Asks `node`, or any broker.
    pub async fn call<R: Request>(
        &mut self,
        node: Option<NodeId>,
        request: &R,
    ) -> Result<R::Response, CallError> {
        let limit = self.options.call_max();
        self.call_within(node, request, limit).await
    }

    /// As `call`, for requests that wait in the broker.
    pub async fn call_within<R: Request>(
        &mut self,
        node: Option<NodeId>,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, CallError> {
        let connection = self.connection(node).await?;
        let answer = connection.call(request, limit).await;
        if answer.is_err() {
            self.disconnect(node);
        }
        answer
    }

    pub async fn connection(
        &mut self,
        node: Option<NodeId>,
    ) -> Result<&mut Connection<E>, CallError> {
        if !self.connections.contains_key(&node) {
            let connection = self.connect(node).await?;
            self.connections.insert(node, connection);
        }
        Ok(self.connections.get_mut(&node).expect("inserted above"))
    }

    /// After an error nobody knows which answer would come next.
    pub fn disconnect(&mut self, node: Option<NodeId>) {
        self.connections.remove(&node);
    }

    async fn connect(&self, node: Option<NodeId>) -> Result<Connection<E>, CallError> {
        let known = node.and_then(|node| self.brokers.get(&node));
        let candidates = match known {
            Some(broker) => std::slice::from_ref(broker),
            None => &self.options.bootstrap,
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for (host, port) in candidates {
            let addresses = match self.env.net().resolve(host, *port).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            for address in addresses {
                let limit = self.options.call_max();
                let connecting = self.env.net().connect(address);
                match self.env.clock().timeout(limit, connecting).await {
                    Ok(Ok(conn)) => return Connection::open(&self.env, conn, &self.options).await,
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
        }
        Err(CallError::Unreachable { tried: format!("{candidates:?}"), source: last })
    }

    /// What the brokers say of a topic. Learns the brokers' addresses on the way.
    pub async fn topic(&mut self, name: &str) -> Result<Topic, CallError> {
        let name = Some(Text::new(name));
        let asked = MetadataRequestTopic { name, ..MetadataRequestTopic::default() };
        let found = self.metadata(Some(vec![asked])).await?;
        read_topic(found.first().ok_or(CallError::Missing)?)
    }

    /// All topics. Learns the brokers' addresses on the way.
    pub async fn topics(&mut self) -> Result<Vec<Topic>, CallError> {
        self.metadata(None).await?.iter().map(read_topic).collect()
    }

    async fn metadata(
        &mut self,
        topics: Option<Vec<MetadataRequestTopic>>,
    ) -> Result<Vec<MetadataResponseTopic>, CallError> {
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.call(None, &request).await?;
        for broker in &response.brokers {
            let port = u16::try_from(broker.port).unwrap_or_default();
            self.brokers.insert(NodeId(broker.node_id), (broker.host.as_str().to_string(), port));
        }
        Ok(response.topics)
    }
}

fn read_topic(topic: &MetadataResponseTopic) -> Result<Topic, CallError> {
    refusal(topic.error_code)?;
    let mut leaders = vec![None; topic.partitions.len()];
    for partition in &topic.partitions {
        let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
        let leader = leaders.get_mut(index).ok_or(CallError::Missing)?;
        *leader = (partition.leader_id >= 0).then_some(NodeId(partition.leader_id));
    }
    let name = topic.name.as_ref().ok_or(CallError::Missing)?.as_str().to_string();
    Ok(Topic { name, id: topic.topic_id, leaders })
}
