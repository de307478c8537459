//! Producing: batches in requests, pipelined, sent again until their fate is known.
//!
//! With idempotence a batch keeps its sequence however often it is sent, so that the broker stores
//! it once and in order. What has no answer when the time is up is `Unknown`: it may be stored, now
//! or later, and the producer takes a new identity so as not to be confused with its former self.
//! A batch is for one incarnation of a topic: it never ends up in another of the same name.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::debug;

use self::parcel::Parcel;
use super::fetch::leader;
use super::{CallError, Client, Topic, refusal};
use crate::env::Env;
use crate::env::clock::Clock;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use crate::protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use crate::protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use crate::protocol::records::batch::sequence_plus;
use crate::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord, Producer as Origin};
use crate::protocol::records::compression::Compression;
use crate::protocol::wire::{Records, Text};
use crate::types::{NodeId, ProducerId, Uuid};

pub mod parcel;

/// Must be said, although there is no transaction.
const TRANSACTION_MS_MAX: i32 = 60_000;

#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// 0, 1, or -1 for all.
    pub acks: i16,
    pub idempotent: bool,
    pub compression: Compression,
    /// Requests on their way at once. A broker remembers five batches of a producer.
    pub in_flight_max: usize,
    /// How often a batch is sent, at most.
    pub attempts_max: u32,
    /// How long to wait before sending again.
    pub retry_ms: u64,
    /// When to give up on a batch.
    pub delivery_ms_max: u64,
    /// Of the first batch to a partition in a new identity: a broker takes any.
    pub first_sequence: i32,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            acks: -1,
            idempotent: true,
            compression: Compression::default(),
            in_flight_max: 5,
            attempts_max: u32::MAX,
            retry_ms: 100,
            delivery_ms_max: 120_000,
            first_sequence: 0,
        }
    }
}

pub struct Producer<E: Env> {
    client: Client<E>,
    options: ProducerOptions,
    identity: Option<(ProducerId, i16)>,
    /// Of the next batch to each partition, in this identity.
    sequences: BTreeMap<(Uuid, u32), i32>,
    /// As they were known last.
    topics: BTreeMap<Uuid, Topic>,
    /// Something went wrong since the topics were looked up.
    in_trouble: bool,
}

impl<E: Env> Producer<E> {
    pub fn new(client: Client<E>, options: ProducerOptions) -> Producer<E> {
        assert!(options.in_flight_max > 0, "one request must be allowed");
        assert!(options.attempts_max > 0, "one attempt must be allowed");
        Producer {
            client,
            options,
            identity: None,
            sequences: BTreeMap::new(),
            topics: BTreeMap::new(),
            in_trouble: false,
        }
    }

    pub fn client(&mut self) -> &mut Client<E> {
        &mut self.client
    }

    pub fn options(&mut self) -> &mut ProducerOptions {
        &mut self.options
    }

    /// Asks for an identity, with idempotence and where there is none. Gives the one that is new.
    pub async fn identify(&mut self) -> Result<Option<(ProducerId, i16)>, CallError> {
        if !self.options.idempotent || self.identity.is_some() {
            return Ok(None);
        }
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: TRANSACTION_MS_MAX,
            ..InitProducerIdRequest::default()
        };
        let response = self.client.call(None, &request).await?;
        refusal(response.error_code)?;
        self.identity = Some((ProducerId(response.producer_id), response.producer_epoch));
        Ok(self.identity)
    }

    /// Goes on in the next epoch of its identity: no broker takes what was sealed before.
    pub fn raise_epoch(&mut self) {
        self.sequences.clear();
        self.identity = self.identity.and_then(|(id, epoch)| Some((id, epoch.checked_add(1)?)));
    }

    /// Makes a batch for `topic`, with the sequence that is next. It must be delivered, or those
    /// behind it are out of order.
    pub fn seal(&mut self, topic: &Topic, partition: u32, records: Vec<NewRecord>) -> Parcel {
        assert!(!records.is_empty(), "a batch has records");
        let idempotent = self.options.idempotent;
        assert!(!idempotent || self.identity.is_some(), "identify comes before seal");
        self.topics.entry(topic.id).or_insert_with(|| topic.clone());
        let compression = self.options.compression;
        let mut options = BatchOptions { compression, ..BatchOptions::default() };
        if let Some((id, epoch)) = self.identity {
            // An epoch that was raised begins anew.
            let first = if epoch == 0 { self.options.first_sequence } else { 0 };
            let next = self.sequences.entry((topic.id, partition)).or_insert(first);
            options.producer = Some(Origin { id, epoch, base_sequence: *next });
            *next = sequence_plus(*next, records.len() as u32);
        }
        let origin = options.producer;
        let mut builder = BatchBuilder::new(options);
        records.into_iter().for_each(|record| builder.push(record));
        Parcel::new(topic.id, partition, builder.build(), origin)
    }

    /// Sends each of `requests`, in order, until the fate of all their batches is known or the time
    /// is up.
    pub async fn deliver(&mut self, requests: &mut [Vec<Parcel>]) {
        let clock = self.client.env.clock().clone();
        let deadline = clock.now().after(Duration::from_millis(self.options.delivery_ms_max));
        loop {
            let round = self.round(requests).await;
            self.in_trouble = !matches!(round, Ok(true));
            if let Err(error) = &round {
                debug!(%error, "retry");
            }
            let attempts_max = self.options.attempts_max;
            let parcels = || requests.iter().flatten();
            let is_over = |parcel: &Parcel| parcel.is_settled() || parcel.attempts >= attempts_max;
            if parcels().all(is_over) || clock.now() >= deadline {
                break;
            }
            if self.in_trouble {
                clock.sleep(Duration::from_millis(self.options.retry_ms)).await;
            }
        }
        requests.iter_mut().flatten().for_each(Parcel::give_up);
        if requests.iter().flatten().any(Parcel::leaves_a_gap) {
            self.identity = None;
            self.sequences.clear();
        }
    }

    /// Sends what fits into the window and waits for the answers. Was all of it settled?
    async fn round(&mut self, requests: &mut [Vec<Parcel>]) -> Result<bool, CallError> {
        if self.in_trouble {
            self.look_up(requests).await?;
        }
        let attempts_max = self.options.attempts_max;
        let open = |parcel: &&mut Parcel| !parcel.is_settled() && parcel.attempts < attempts_max;
        let mut node = None;
        let mut window: Vec<Vec<&mut Parcel>> = vec![];
        for request in requests.iter_mut() {
            let mut together = vec![];
            for parcel in request.iter_mut().filter(open) {
                let topic = self.topics.get(&parcel.topic_id).ok_or(CallError::Missing)?;
                let leads = leader(topic, parcel.partition)?;
                // The others wait for a round of their own.
                if *node.get_or_insert(leads) == leads {
                    together.push(parcel);
                }
            }
            if !together.is_empty() {
                window.push(together);
            }
            if window.len() == self.options.in_flight_max {
                break;
            }
        }
        let Some(node) = node else { return Ok(true) };
        let clock = self.client.env.clock().clone();
        let limit = self.client.options.call_max();
        let exchange = self.exchange(node, &mut window);
        let exchanged = match clock.timeout(limit, exchange).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(CallError::Io(std::io::ErrorKind::TimedOut.into())),
        };
        if let Err(error) = exchanged {
            self.client.disconnect(node);
            return Err(error);
        }
        Ok(window.iter().flatten().all(|parcel| parcel.is_settled()))
    }

    /// Looks up the topics of what is open. One that came back with another id is gone, and with it
    /// the batches for it.
    async fn look_up(&mut self, requests: &mut [Vec<Parcel>]) -> Result<(), CallError> {
        let open = requests.iter().flatten().filter(|parcel| !parcel.is_settled());
        let ids: BTreeSet<Uuid> = open.map(|parcel| parcel.topic_id).collect();
        for id in ids {
            let name = self.topics.get(&id).ok_or(CallError::Missing)?.name.clone();
            let topic = self.client.topic(&name).await?;
            if topic.id == id {
                self.topics.insert(id, topic);
            } else {
                let lost = requests.iter_mut().flatten().filter(|parcel| parcel.topic_id == id);
                lost.for_each(|parcel| parcel.refuse(ErrorCode::UnknownTopicId));
            }
        }
        Ok(())
    }

    async fn exchange(
        &mut self,
        node: Option<NodeId>,
        window: &mut [Vec<&mut Parcel>],
    ) -> Result<(), CallError> {
        let (acks, limit_ms) = (self.options.acks, self.client.options.call_ms_max);
        let connection = self.client.connection(node).await?;
        let mut sent = Vec::with_capacity(window.len());
        for together in window.iter_mut() {
            let request = produce_request(&self.topics, together, acks, limit_ms);
            together.iter_mut().for_each(|parcel| parcel.on_send());
            sent.push(connection.send(&request).await?);
        }
        if acks == 0 {
            // Nobody will tell.
            window.iter_mut().flatten().for_each(|parcel| parcel.abandon());
            return Ok(());
        }
        let mut behind: BTreeSet<(Uuid, u32)> = BTreeSet::new();
        for (together, sent) in window.iter_mut().zip(sent) {
            let answer = connection.receive(sent).await?;
            for parcel in together {
                let place = (parcel.topic_id, parcel.partition);
                let told = find_answer(&answer, &self.topics, parcel)?;
                parcel.settle(told, behind.contains(&place));
                if !parcel.is_settled() {
                    behind.insert(place);
                }
            }
        }
        Ok(())
    }

    /// Sends a batch once more, byte by byte, and only tells what was answered.
    pub async fn resend(&mut self, parcel: &Parcel) -> Result<PartitionProduceResponse, CallError> {
        let topic = self.topics.get(&parcel.topic_id).ok_or(CallError::Missing)?;
        let node = leader(topic, parcel.partition)?;
        let limit_ms = self.client.options.call_ms_max;
        let request = produce_request(&self.topics, &[parcel], self.options.acks, limit_ms);
        let answer = self.client.call(node, &request).await?;
        find_answer(&answer, &self.topics, parcel).cloned()
    }
}

fn produce_request(
    topics: &BTreeMap<Uuid, Topic>,
    parcels: &[impl Borrow<Parcel>],
    acks: i16,
    limit_ms: u64,
) -> ProduceRequest {
    let mut topic_data: Vec<TopicProduceData> = vec![];
    for parcel in parcels.iter().map(Borrow::<Parcel>::borrow) {
        let records = Some(Records::Bytes(parcel.batch().clone()));
        let data = PartitionProduceData { index: parcel.partition as i32, records };
        match topic_data.iter_mut().find(|topic| topic.topic_id == parcel.topic_id) {
            Some(topic) => topic.partition_data.push(data),
            None => topic_data.push(TopicProduceData {
                name: topics.get(&parcel.topic_id).map(|t| Text::new(&t.name)).unwrap_or_default(),
                topic_id: parcel.topic_id,
                partition_data: vec![data],
            }),
        }
    }
    let timeout_ms = i32::try_from(limit_ms).unwrap_or(i32::MAX);
    ProduceRequest { acks, timeout_ms, topic_data, ..ProduceRequest::default() }
}

fn find_answer<'a>(
    response: &'a ProduceResponse,
    topics: &BTreeMap<Uuid, Topic>,
    parcel: &Parcel,
) -> Result<&'a PartitionProduceResponse, CallError> {
    let name = topics.get(&parcel.topic_id).map(|topic| &topic.name[..]);
    let topics = response.responses.iter().filter(|topic| {
        topic.topic_id == parcel.topic_id
            || (topic.topic_id == Uuid::ZERO && Some(topic.name.as_str()) == name)
    });
    topics
        .flat_map(|topic| &topic.partition_responses)
        .find(|answer| i64::from(answer.index) == i64::from(parcel.partition))
        .ok_or(CallError::Missing)
}
