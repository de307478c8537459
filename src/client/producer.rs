//! Producing: batches for one partition, pipelined, sent again until their fate is known.
//!
//! With idempotence a batch keeps its sequence however often it is sent, so that the broker stores
//! it once and in order. What has no answer when the time is up is `Unknown`: it may be stored, now
//! or later, and the producer takes a new identity so as not to be confused with its former self.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tracing::debug;

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
use crate::types::{Offset, ProducerId};

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
    /// How long to wait before sending again.
    pub retry_ms: u64,
    /// When to give up on a batch.
    pub delivery_ms_max: u64,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            acks: -1,
            idempotent: true,
            compression: Compression::default(),
            in_flight_max: 5,
            retry_ms: 100,
            delivery_ms_max: 120_000,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken. The offset is unknown when the broker only says that it knew the batch already.
    Acknowledged { base: Option<Offset> },
    /// Certainly not stored, by any of the attempts.
    Failed { code: Option<ErrorCode> },
    /// An attempt may have stored it; `code` is what was answered last, if anything.
    Unknown { code: Option<ErrorCode> },
}

pub struct Producer<E: Env> {
    client: Client<E>,
    options: ProducerOptions,
    identity: Option<(ProducerId, i16)>,
    /// Of the next batch to each partition, in this identity.
    sequences: BTreeMap<(String, u32), i32>,
}

/// One batch on its way.
struct Parcel {
    records: Vec<NewRecord>,
    /// Made with the sequence that it keeps, once it is first sent.
    batch: Option<Bytes>,
    /// An attempt may have stored it.
    in_doubt: bool,
    outcome: Option<Outcome>,
}

impl<E: Env> Producer<E> {
    pub fn new(client: Client<E>, options: ProducerOptions) -> Producer<E> {
        assert!(options.in_flight_max > 0, "one request must be allowed");
        Producer { client, options, identity: None, sequences: BTreeMap::new() }
    }

    /// The identity of the batches that are sent now.
    pub fn identity(&self) -> Option<(ProducerId, i16)> {
        self.identity
    }

    /// Sends each of `batches` as one batch, in order, and says what became of them.
    pub async fn deliver(
        &mut self,
        topic: &str,
        partition: u32,
        batches: Vec<Vec<NewRecord>>,
    ) -> Vec<Outcome> {
        let clock = self.client.env.clock().clone();
        let deadline = clock.now().after(Duration::from_millis(self.options.delivery_ms_max));
        let mut parcels: Vec<_> = batches.into_iter().map(Parcel::new).collect();
        loop {
            let round = self.round(topic, partition, &mut parcels).await;
            if let Err(error) = &round {
                debug!(topic, partition, %error, "retry");
            }
            if parcels.iter().all(|parcel| parcel.outcome.is_some()) || clock.now() >= deadline {
                break;
            }
            if !matches!(round, Ok(true)) {
                clock.sleep(Duration::from_millis(self.options.retry_ms)).await;
            }
        }
        if parcels.iter().any(Parcel::leaves_a_gap) {
            self.forget_identity();
        }
        parcels.into_iter().map(Parcel::give_up).collect()
    }

    /// Sends what fits into the window and waits for the answers. Was all of it settled?
    async fn round(
        &mut self,
        name: &str,
        partition: u32,
        parcels: &mut [Parcel],
    ) -> Result<bool, CallError> {
        self.identify().await?;
        let topic = self.client.topic(name).await?;
        let node = leader(&topic, partition)?;
        let open = parcels.iter_mut().filter(|parcel| parcel.outcome.is_none());
        let mut window: Vec<_> = open.take(self.options.in_flight_max).collect();
        for parcel in &mut window {
            self.seal(name, partition, parcel);
        }
        let clock = self.client.env.clock().clone();
        let limit = self.client.options.call_max();
        let exchange = self.exchange(&topic, partition, &mut window);
        let exchanged = match clock.timeout(limit, exchange).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(CallError::Io(std::io::ErrorKind::TimedOut.into())),
        };
        if let Err(error) = exchanged {
            self.client.disconnect(node);
            return Err(error);
        }
        let settled = window.iter().all(|parcel| parcel.outcome.is_some());
        if settled && window.iter().any(|parcel| parcel.leaves_a_gap()) {
            self.forget_identity();
        }
        Ok(settled)
    }

    async fn exchange(
        &mut self,
        topic: &Topic,
        partition: u32,
        window: &mut [&mut Parcel],
    ) -> Result<(), CallError> {
        let acks = self.options.acks;
        let limit_ms = self.client.options.call_ms_max;
        let connection = self.client.connection(leader(topic, partition)?).await?;
        let mut sent = Vec::with_capacity(window.len());
        let mut were_in_doubt = Vec::with_capacity(window.len());
        for parcel in window.iter_mut() {
            let batch = parcel.batch.clone().expect("sealed before it is sent");
            let request = produce_request(topic, partition, batch, acks, limit_ms);
            were_in_doubt.push(parcel.in_doubt);
            parcel.in_doubt = true;
            sent.push(connection.send(&request).await?);
        }
        if acks == 0 {
            // Nobody will tell.
            let unknown = Outcome::Unknown { code: None };
            window.iter_mut().for_each(|parcel| parcel.outcome = Some(unknown));
            return Ok(());
        }
        let mut earlier_open = false;
        for (i, sent) in sent.into_iter().enumerate() {
            let answer = partition_answer(connection.receive(sent).await?)?;
            window[i].settle(&answer, were_in_doubt[i], earlier_open);
            earlier_open |= window[i].outcome.is_none();
        }
        Ok(())
    }

    async fn identify(&mut self) -> Result<(), CallError> {
        if !self.options.idempotent || self.identity.is_some() {
            return Ok(());
        }
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: TRANSACTION_MS_MAX,
            ..InitProducerIdRequest::default()
        };
        let response = self.client.call(None, &request).await?;
        refusal(response.error_code)?;
        self.identity = Some((ProducerId(response.producer_id), response.producer_epoch));
        Ok(())
    }

    fn forget_identity(&mut self) {
        self.identity = None;
        self.sequences.clear();
    }

    /// Makes the batch, once.
    fn seal(&mut self, topic: &str, partition: u32, parcel: &mut Parcel) {
        if parcel.batch.is_some() {
            return;
        }
        let mut options =
            BatchOptions { compression: self.options.compression, ..BatchOptions::default() };
        if let Some((id, epoch)) = self.identity {
            let next = self.sequences.entry((topic.to_string(), partition)).or_default();
            options.producer = Some(Origin { id, epoch, base_sequence: *next });
            *next = sequence_plus(*next, parcel.records.len() as u32);
        }
        let mut builder = BatchBuilder::new(options);
        parcel.records.drain(..).for_each(|record| builder.push(record));
        parcel.batch = Some(builder.build());
    }
}

impl Parcel {
    fn new(records: Vec<NewRecord>) -> Parcel {
        assert!(!records.is_empty(), "a batch has records");
        Parcel { records, batch: None, in_doubt: false, outcome: None }
    }

    /// `was_in_doubt`: before the attempt that is answered here. `earlier_open`: a batch before
    /// this one is still to be stored, so that this one cannot be in order.
    fn settle(
        &mut self,
        answer: &PartitionProduceResponse,
        was_in_doubt: bool,
        earlier_open: bool,
    ) {
        let code = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
        match code {
            ErrorCode::None => {
                let base = (answer.base_offset >= 0).then_some(Offset(answer.base_offset));
                self.outcome = Some(Outcome::Acknowledged { base });
            }
            ErrorCode::DuplicateSequenceNumber => {
                self.outcome = Some(Outcome::Acknowledged { base: None });
            }
            code => {
                self.in_doubt = was_in_doubt || !is_definite(code);
                let again = code.is_retriable()
                    || (code == ErrorCode::OutOfOrderSequenceNumber && earlier_open);
                if !again {
                    let (failed, code) = (!self.in_doubt, Some(code));
                    self.outcome = Some(match failed {
                        true => Outcome::Failed { code },
                        false => Outcome::Unknown { code },
                    });
                }
            }
        }
    }

    /// Will the broker miss its sequence?
    fn leaves_a_gap(&self) -> bool {
        self.batch.is_some() && !matches!(self.outcome, Some(Outcome::Acknowledged { .. }))
    }

    fn give_up(self) -> Outcome {
        let code = None;
        let doubt =
            if self.in_doubt { Outcome::Unknown { code } } else { Outcome::Failed { code } };
        self.outcome.unwrap_or(doubt)
    }
}

/// Does the code promise that this attempt stored nothing?
fn is_definite(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotEnoughReplicas
            | ErrorCode::InvalidRecord
            | ErrorCode::InvalidTimestamp
            | ErrorCode::RecordListTooLarge
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::TopicAuthorizationFailed
    )
}

fn produce_request(
    topic: &Topic,
    partition: u32,
    batch: Bytes,
    acks: i16,
    limit_ms: u64,
) -> ProduceRequest {
    let data =
        PartitionProduceData { index: partition as i32, records: Some(Records::Bytes(batch)) };
    let data = TopicProduceData {
        name: Text::new(&topic.name),
        topic_id: topic.id,
        partition_data: vec![data],
    };
    let timeout_ms = i32::try_from(limit_ms).unwrap_or(i32::MAX);
    ProduceRequest { acks, timeout_ms, topic_data: vec![data], ..ProduceRequest::default() }
}

fn partition_answer(response: ProduceResponse) -> Result<PartitionProduceResponse, CallError> {
    let topic = response.responses.into_iter().next().ok_or(CallError::Missing)?;
    topic.partition_responses.into_iter().next().ok_or(CallError::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(code: ErrorCode, was_in_doubt: bool, earlier_open: bool) -> (Option<Outcome>, bool) {
        let mut parcel = Parcel::new(vec![NewRecord::default()]);
        parcel.in_doubt = true;
        let answer = PartitionProduceResponse {
            error_code: code.code(),
            base_offset: 7,
            ..PartitionProduceResponse::default()
        };
        parcel.settle(&answer, was_in_doubt, earlier_open);
        (parcel.outcome, parcel.in_doubt)
    }

    #[test]
    fn an_answer_settles_a_batch_or_asks_for_another_attempt() {
        let acknowledged = Outcome::Acknowledged { base: Some(Offset(7)) };
        assert_eq!(settled(ErrorCode::None, true, false).0, Some(acknowledged));
        assert_eq!(settled(ErrorCode::NotEnoughReplicas, false, false), (None, false));
        assert_eq!(settled(ErrorCode::NotLeaderOrFollower, false, false), (None, true));
        let code = Some(ErrorCode::MessageTooLarge);
        let failed = Some(Outcome::Failed { code });
        assert_eq!(settled(ErrorCode::MessageTooLarge, false, false).0, failed);
    }

    #[test]
    fn a_doubt_outlives_a_later_definite_answer() {
        let code = Some(ErrorCode::MessageTooLarge);
        let unknown = Some(Outcome::Unknown { code });
        assert_eq!(settled(ErrorCode::MessageTooLarge, true, false).0, unknown);
        assert_eq!(settled(ErrorCode::NotEnoughReplicas, true, false), (None, true));
    }

    #[test]
    fn out_of_order_is_final_only_when_nothing_before_is_missing() {
        let code = ErrorCode::OutOfOrderSequenceNumber;
        assert_eq!(settled(code, false, true), (None, false));
        assert_eq!(settled(code, false, false).0, Some(Outcome::Failed { code: Some(code) }));
        let unknown = Some(Outcome::Unknown { code: Some(code) });
        assert_eq!(settled(code, true, false).0, unknown);
    }
}
