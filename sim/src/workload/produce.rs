//! Producers: bursts of batches, until the plan's time is over, and one more.

use std::sync::Arc;
use std::time::Duration;

use ottla::client::producer::parcel::{Outcome, Parcel};
use ottla::client::producer::{Producer, ProducerOptions};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::records::build::NewRecord;
use ottla::protocol::records::compression::{Codec, Compression};

use super::record::{Writer, name_of_new};
use super::{RETRY, Stage, told};
use crate::check::{Invariant, Violation};
use crate::history::{Sequence, What};

/// Once healed, a batch must find its fate within this.
const DELIVERY_MS_MAX: u64 = 60_000;

pub fn name(index: usize) -> String {
    format!("producer-{index}")
}

pub async fn run<E: Env>(env: E, stage: Arc<Stage>, index: usize) {
    let (name, ours) = (name(index), &stage.plan.producers[index]);
    while !stage.has_topics() {
        env.clock().sleep(RETRY).await;
    }
    let mut client = stage.client(&env, &name);
    let topic = stage.find(&mut client, &name, &stage.plan.topics[ours.topic].name).await;
    stage.sees(&name, &topic);
    let options = ProducerOptions {
        compression: compression(&ours.compression),
        in_flight_max: ours.in_flight,
        retry_ms: RETRY.as_millis() as u64,
        delivery_ms_max: DELIVERY_MS_MAX,
        ..ProducerOptions::default()
    };
    let mut producer = Producer::new(client, options);
    let mut writer = Writer { name: name.clone(), index, seed: stage.plan.seed, records: 0 };
    let mut batches_sent = 0;
    for burst in &ours.bursts {
        env.clock().sleep(Duration::from_millis(burst.after_ms)).await;
        let healed = stage.is_healed();
        loop {
            match producer.identify().await {
                Ok(Some((id, epoch))) => {
                    stage.add(&name, What::Identity { producer_id: id.0, epoch });
                    break;
                }
                Ok(None) => break,
                Err(error) => stage.rest(&env, &name, &error).await,
            }
        }
        let mut requests = vec![];
        for (batch, count) in (batches_sent..).zip(&burst.batches) {
            let write = |_| writer.record(env.clock().wall_ms(), burst.value_bytes);
            let records: Vec<NewRecord> = (0..*count).map(write).collect();
            let names = records.iter().map(name_of_new).collect();
            let times = records.iter().map(|record| record.timestamp_ms).collect();
            let parcel = producer.seal(&topic, ours.partition, records);
            let sequence = parcel.origin().map(|origin| Sequence {
                producer_id: origin.id.0,
                epoch: origin.epoch,
                base: origin.base_sequence,
            });
            let produce = What::Produce {
                topic: told(&topic),
                partition: ours.partition,
                batch,
                records: names,
                times,
                acks: -1,
                idempotent: true,
                once: true,
                ordered: true,
                sequence,
                bytes: parcel.batch().len() as u32,
            };
            stage.add(&name, produce);
            requests.push(vec![parcel]);
        }
        producer.deliver(&mut requests).await;
        for parcel in requests.iter().flatten() {
            let (batch, outcome) = (batches_sent, parcel.outcome());
            batches_sent += 1;
            stage.add(&name, fate(batch, parcel));
            if healed && !matches!(outcome, Some(Outcome::Acknowledged { .. })) {
                let evidence = format!(
                    "batch {batch} of {name} was sent to a healed broker and came to {outcome:?}"
                );
                stage.witness.broken(Violation::new(Invariant::I50, evidence));
            }
        }
        // One burst more than the faults lasted: the broker must take it.
        if healed {
            break;
        }
    }
    stage.ends(&name);
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
