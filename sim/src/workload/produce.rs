//! Producers: bursts of batches while faults strike, and one more when all is well.

use std::collections::VecDeque;
use std::time::Duration;

use ottla::client::Topic;
use ottla::client::producer::parcel::{Outcome, Parcel};
use ottla::client::producer::{Producer, ProducerOptions};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::records::build::NewRecord;
use ottla::protocol::records::compression::{Codec, Compression};

use super::record::{Writer, name_of_new};
use super::{RETRY, Sights, Stage, told};
use crate::check::Invariant;
use crate::history::{Sequence, What};
use crate::plan::clients::{Burst, ProducerPlan};

/// Once healed, a batch must find its fate within this.
const DELIVERY_MS_MAX: u64 = 60_000;

/// Acknowledged batches that are kept to be sent once more.
const KEPT: usize = 8;

/// What every broker takes that is well.
const LAST: Burst =
    Burst { after_ms: 0, batches: vec![], value_bytes: 20, resend: 0, renew: false };

pub async fn run<E: Env>(env: &E, stage: &Stage, name: &str, index: usize) {
    stage.wait_for_topics(env).await;
    let ours = &stage.plan.producers[index];
    let mut work = Work::new(env, stage, name, index);
    for burst in &ours.bursts {
        env.clock().sleep(Duration::from_millis(burst.after_ms)).await;
        if stage.is_healed() {
            break;
        }
        if let Some(topic) = work.find_topic().await {
            work.send(&topic, burst).await;
            work.send_again(burst.resend).await;
            if burst.renew {
                work.producer.raise_epoch();
            }
        }
    }
    while !stage.is_healed() {
        env.clock().sleep(RETRY).await;
    }
    work.finish().await;
}

/// A batch and what became of it.
type Failed = (u64, Option<Outcome>);

struct Work<'a, E: Env> {
    env: &'a E,
    stage: &'a Stage,
    name: &'a str,
    ours: &'a ProducerPlan,
    producer: Producer<E>,
    /// The broker knows what it stored, however often it is sent.
    is_known_again: bool,
    writer: Writer,
    sights: Sights,
    /// As far as is known.
    topic: Option<Topic>,
    batches: u64,
    /// The latest that were acknowledged, with their numbers, the last one first.
    acknowledged: VecDeque<(u64, Parcel)>,
}

impl<'a, E: Env> Work<'a, E> {
    fn new(env: &'a E, stage: &'a Stage, name: &'a str, index: usize) -> Work<'a, E> {
        let ours = &stage.plan.producers[index];
        let options = ProducerOptions {
            acks: ours.acks,
            idempotent: ours.idempotent,
            compression: compression(&ours.compression),
            in_flight_max: ours.in_flight,
            attempts_max: if ours.retries { u32::MAX } else { 1 },
            retry_ms: RETRY.as_millis() as u64,
            delivery_ms_max: ours.delivery_ms,
            first_sequence: ours.first_sequence,
        };
        let expected = stage.plan.expected(ours.topic);
        // With the last of a producer's batches a broker may forget the producer when it restarts.
        let forgets = expected.producers_expire || expected.retention || expected.records_deleted;
        let (seed, shape) = (stage.plan.seed, ours.shape);
        Work {
            env,
            stage,
            name,
            ours,
            producer: Producer::new(stage.client(env, name), options),
            is_known_again: ours.idempotent && !forgets,
            writer: Writer { name: name.to_string(), index, seed, shape, records: 0 },
            sights: Sights::default(),
            topic: None,
            batches: 0,
            acknowledged: VecDeque::new(),
        }
    }

    /// Looks the topic up, unless it is known. One that may be deleted is not waited for.
    async fn find_topic(&mut self) -> Option<Topic> {
        while self.topic.is_none() {
            let name = &self.stage.plan.topics[self.ours.topic].name;
            match self.producer.client().topic(name).await {
                Ok(topic) => {
                    self.sights.note(self.stage, self.name, &topic);
                    self.topic = Some(topic);
                }
                Err(error) => {
                    self.stage.rest(self.env, self.name, &error).await;
                    if self.stage.plan.is_deleted(self.ours.topic) {
                        return None;
                    }
                }
            }
        }
        self.topic.clone()
    }

    async fn identify(&mut self) {
        loop {
            match self.producer.identify().await {
                Ok(Some((id, epoch))) => {
                    return self.tell(What::Identity { producer_id: id.0, epoch });
                }
                Ok(None) => return,
                Err(error) => self.stage.rest(self.env, self.name, &error).await,
            }
        }
    }

    /// Gives the first batch that was not acknowledged, if any.
    async fn send(&mut self, topic: &Topic, burst: &Burst) -> Option<Failed> {
        self.identify().await;
        let partitions: Vec<u32> = self
            .ours
            .partitions
            .iter()
            .copied()
            .filter(|partition| (*partition as usize) < topic.leaders.len())
            .collect();
        let (first, mut requests): (_, Vec<Vec<Parcel>>) = (self.batches, vec![]);
        for (count, partition) in burst.batches.iter().zip(partitions.iter().cycle()) {
            let parcel = self.write(topic, *partition, *count, burst.value_bytes);
            // A request has one batch for each partition.
            let fits = |request: &&mut Vec<Parcel>| request.len() < partitions.len();
            match requests.last_mut().filter(fits) {
                Some(request) if self.ours.together => request.push(parcel),
                _ => requests.push(vec![parcel]),
            }
        }
        self.producer.deliver(&mut requests).await;
        let mut failed = None;
        for (batch, parcel) in (first..).zip(requests.into_iter().flatten()) {
            self.tell(fate(batch, &parcel));
            match parcel.outcome() {
                Some(Outcome::Acknowledged { .. }) => {
                    self.acknowledged.push_front((batch, parcel));
                }
                outcome => {
                    failed.get_or_insert((batch, outcome));
                }
            }
        }
        self.acknowledged.truncate(KEPT);
        if failed.is_some() {
            // Perhaps it is another one by now.
            self.topic = None;
        }
        failed
    }

    fn write(&mut self, topic: &Topic, partition: u32, count: u32, value_bytes: u32) -> Parcel {
        let now_ms = self.env.clock().wall_ms();
        let records: Vec<NewRecord> =
            (0..count).map(|_| self.writer.record(now_ms, value_bytes)).collect();
        let names = records.iter().map(name_of_new).collect();
        let times = records.iter().map(|record| record.timestamp_ms).collect();
        let ours = self.ours;
        let parcel = self.producer.seal(topic, partition, records);
        let sequence = parcel.origin().map(|origin| Sequence {
            producer_id: origin.id.0,
            epoch: origin.epoch,
            base: origin.base_sequence,
        });
        let produce = What::Produce {
            topic: told(topic),
            partition,
            batch: self.batches,
            records: names,
            times,
            acks: ours.acks,
            idempotent: ours.idempotent,
            once: self.is_known_again || !ours.retries,
            ordered: self.is_known_again
                || (!ours.idempotent && (ours.in_flight == 1 || !ours.retries)),
            sequence,
            bytes: parcel.batch().len() as u32,
        };
        self.batches += 1;
        self.tell(produce);
        parcel
    }

    /// Sends a batch byte by byte as it was sent before; 0 is none, 1 the last. Only where the broker
    /// must know it.
    async fn send_again(&mut self, which: u32) {
        if !self.is_known_again {
            return;
        }
        let Some(place) = (which as usize).checked_sub(1) else { return };
        let Some((batch, parcel)) = self.acknowledged.get(place) else { return };
        let batch = *batch;
        self.stage.add(self.name, What::Resend { batch });
        match self.producer.resend(parcel).await {
            Ok(answer) => {
                let base = (answer.base_offset >= 0).then_some(answer.base_offset);
                let append_ms =
                    (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms);
                self.tell(What::Resent { batch, code: answer.error_code, base, append_ms });
            }
            Err(error) => self.stage.rest(self.env, self.name, &error).await,
        }
    }

    /// One burst more than the faults lasted: the broker must take it.
    async fn finish(&mut self) {
        self.producer.options().delivery_ms_max = DELIVERY_MS_MAX;
        self.topic = None;
        loop {
            let Some(topic) = self.find_topic().await else { return };
            let batches = vec![1; self.ours.partitions.len()];
            let Some((batch, outcome)) = self.send(&topic, &Burst { batches, ..LAST }).await else {
                return;
            };
            // It may have gone while it was written to, and nobody answers with acks=0.
            if self.ours.acks == 0 || self.stage.plan.is_deleted(self.ours.topic) {
                return;
            }
            if self.ours.retries {
                let evidence = format!(
                    "batch {batch} of {} was sent to a healed broker and came to {outcome:?}",
                    self.name
                );
                return self.stage.broken(Invariant::I50, evidence);
            }
            self.env.clock().sleep(RETRY).await;
        }
    }

    fn tell(&self, what: What) {
        self.stage.add(self.name, what);
    }
}

fn fate(batch: u64, parcel: &Parcel) -> What {
    let attempts = parcel.attempts();
    match parcel.outcome() {
        Some(Outcome::Acknowledged { base, append_ms }) => {
            What::Produced { batch, base: base.map(|offset| offset.0), append_ms, attempts }
        }
        Some(Outcome::Failed { code }) => {
            What::Refused { batch, code: code.map_or(0, ErrorCode::code), attempts }
        }
        Some(Outcome::Unknown { code }) => {
            What::Unknown { batch, code: code.map(ErrorCode::code), attempts }
        }
        None => What::Unknown { batch, code: None, attempts },
    }
}

fn compression(name: &str) -> Compression {
    match name {
        "gzip" => Codec::Gzip.into(),
        "snappy" => Codec::Snappy.into(),
        "lz4" => Codec::Lz4.into(),
        "zstd" => Codec::Zstd.into(),
        _ => Codec::None.into(),
    }
}
