//! What clients do in a run: create the topics, produce in bursts, read along, read it all.
//!
//! Every record says who sent it and which it is, so that one look tells where it belongs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ottla::client::fetch::{EARLIEST, FetchOptions, Fetched, LATEST};
use ottla::client::producer::{Outcome, Producer, ProducerOptions};
use ottla::client::{CallError, Client, ClientOptions, Topic};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::records::batch::Batch;
use ottla::protocol::records::build::NewRecord;
use ottla::protocol::records::compression::{Codec, Compression};
use ottla::protocol::records::record::Header;
use ottla::types::Offset;

use crate::chance::{Chance, Subsystem};
use crate::check::{Invariant, Violation};
use crate::env::SimEnv;
use crate::history::{History, What, name_record};
use crate::net::address_of;
use crate::plan::Plan;

pub const BROKER_PORT: u16 = 9092;

/// How long a client waits for an answer.
const CALL_MS_MAX: u64 = 5_000;
const RETRY: Duration = Duration::from_millis(100);

/// Once healed, a batch must find its fate within this.
const DELIVERY_MS_MAX: u64 = 60_000;

/// An answer must fit through the narrowest link before its client gives up.
const FETCH: FetchOptions = FetchOptions { wait_ms_max: 100, bytes_min: 1, bytes_max: 64 << 10 };

const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// What the clients of a run share.
#[derive(Default)]
pub struct Stage {
    pub history: History,
    /// Topics that exist.
    created: AtomicU64,
    finished: AtomicU64,
}

impl Stage {
    /// Producers whose last burst was settled.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    fn has_topics(&self, plan: &Plan) -> bool {
        self.created.load(Ordering::Relaxed) == plan.topics.len() as u64
    }

    fn add(&self, env: &SimEnv, process: &str, what: What) {
        self.history.add(env.agenda().now().as_nanos() as u64, process, what);
    }
}

pub fn client(env: &SimEnv, name: &str) -> Client<SimEnv> {
    let options = ClientOptions {
        client_id: name.to_string(),
        bootstrap: vec![(address_of(0).to_string(), BROKER_PORT)],
        call_ms_max: CALL_MS_MAX,
        ..ClientOptions::default()
    };
    Client::new(env.clone(), options)
}

/// One producer: its bursts, until the plan's time is over.
pub async fn produce(env: SimEnv, stage: Arc<Stage>, plan: Arc<Plan>, index: usize) {
    let (name, ours) = (format!("producer-{index}"), &plan.producers[index]);
    while !stage.has_topics(&plan) {
        env.clock().sleep(RETRY).await;
    }
    let options = ProducerOptions {
        compression: compression(&ours.compression),
        in_flight_max: ours.in_flight,
        retry_ms: RETRY.as_millis() as u64,
        delivery_ms_max: DELIVERY_MS_MAX,
        ..ProducerOptions::default()
    };
    let mut producer = Producer::new(client(&env, &name), options);
    let mut writer = Writer { name: name.clone(), index, seed: plan.seed, records: 0 };
    let (topic, partition) = (&plan.topics[ours.topic].name, ours.partition);
    let (mut batches_sent, over) = (0, Duration::from_millis(plan.lasts_ms));
    for burst in &ours.bursts {
        env.clock().sleep(Duration::from_millis(burst.after_ms)).await;
        let healed = env.agenda().now() > over;
        let mut batches = vec![];
        for (batch, count) in (batches_sent..).zip(&burst.batches) {
            let write = |_| writer.record(env.clock().wall_ms(), burst.value_bytes);
            let records: Vec<NewRecord> = (0..*count).map(write).collect();
            let names = records.iter().map(name_of_new).collect();
            let topic = topic.clone();
            stage.add(&env, &name, What::Produce { topic, partition, batch, records: names });
            batches.push(records);
        }
        let outcomes = producer.deliver(topic, partition, batches).await;
        for (batch, outcome) in (batches_sent..).zip(outcomes) {
            stage.add(&env, &name, told(batch, outcome));
            batches_sent = batch + 1;
            if healed && !matches!(outcome, Outcome::Acknowledged { .. }) {
                let evidence = format!(
                    "batch {batch} of {name} was sent to a healed broker and came to {outcome:?}"
                );
                Violation::new(Invariant::I50, evidence).raise();
            }
        }
        // One burst more than the faults lasted: the broker must take it.
        if healed {
            break;
        }
    }
    stage.finished.fetch_add(1, Ordering::Relaxed);
}

fn told(batch: u64, outcome: Outcome) -> What {
    match outcome {
        Outcome::Acknowledged { base } => {
            What::Produced { batch, base: base.map(|offset| offset.0) }
        }
        Outcome::Failed { code } => What::Refused { batch, code: code.map_or(0, ErrorCode::code) },
        Outcome::Unknown { .. } => What::Unknown { batch },
    }
}

/// Makes records that say whose they are.
struct Writer {
    name: String,
    index: usize,
    seed: u64,
    records: u64,
}

impl Writer {
    fn record(&mut self, timestamp_ms: i64, value_bytes: u32) -> NewRecord {
        let number = self.records;
        self.records += 1;
        let mut value = format!("{}/{number}/", self.name).into_bytes();
        let mut rest = vec![0; (value_bytes as usize).saturating_sub(value.len())];
        Chance::stream(self.seed, Subsystem::Workload, self.index as u64, number).fill(&mut rest);
        // Half of it compresses.
        let half = rest.len() / 2;
        rest[half..].fill(b'.');
        value.extend_from_slice(&rest);
        NewRecord {
            timestamp_ms,
            key: Some(Bytes::from(format!("key-{}", number % 7))),
            value: Some(Bytes::from(value)),
            headers: vec![Header {
                key: Bytes::from_static(b"number"),
                value: Some(Bytes::from(number.to_string())),
            }],
        }
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

fn name_of_new(record: &NewRecord) -> u64 {
    let NewRecord { key, value, headers, timestamp_ms } = record;
    name_of(key.as_ref(), value.as_ref(), headers, *timestamp_ms)
}

fn name_of(
    key: Option<&Bytes>,
    value: Option<&Bytes>,
    headers: &[Header],
    timestamp_ms: i64,
) -> u64 {
    let plain: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|header| (&header.key[..], header.value.as_deref().unwrap_or_default()))
        .collect();
    let (key, value) = (key.map_or(&b""[..], |key| key), value.map_or(&b""[..], |value| value));
    name_record(key, value, &plain, timestamp_ms)
}

/// The administrator and consumer: creates the topics, then reads along for as long as it lives.
pub async fn read_along(env: SimEnv, stage: Arc<Stage>, plan: Arc<Plan>) {
    let mut client = client(&env, "reader");
    let mut topics = vec![];
    for planned in &plan.topics {
        let configs: Vec<(&str, &str)> =
            planned.configs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        loop {
            let created =
                client.create_topic(&planned.name, planned.partitions as i32, &configs).await;
            match created {
                // Its first attempt was the one without an answer.
                Ok(_) | Err(CallError::Refused { code: ErrorCode::TopicAlreadyExists }) => break,
                Err(error) => rest(&env, &error).await,
            }
        }
        stage.created.fetch_add(1, Ordering::Relaxed);
        topics.push(planned);
    }
    let mut positions: Vec<_> = topics
        .iter()
        .flat_map(|topic| {
            (0..topic.partitions).map(|partition| (&topic.name, partition, Offset(0)))
        })
        .collect();
    loop {
        let mut rested = false;
        for (name, partition, at) in &mut positions {
            let read = read_on(&env, &stage, &mut client, name, *partition, at).await;
            if let Err(error) = read {
                rest(&env, &error).await;
                rested = true;
            }
        }
        if !rested {
            env.clock().sleep(RETRY / 2).await;
        }
    }
}

async fn read_on(
    env: &SimEnv,
    stage: &Stage,
    client: &mut Client<SimEnv>,
    name: &str,
    partition: u32,
    at: &mut Offset,
) -> Result<(), CallError> {
    let topic = client.topic(name).await?;
    let fetched = client.fetch(&topic, partition, *at, &FETCH).await?;
    for batch in batches(&fetched, &topic, partition, *at) {
        *at = note(env, stage, &topic, partition, &batch, *at, false);
    }
    Ok(())
}

/// Reads every partition from end to end, for the record.
pub async fn read_all(env: SimEnv, stage: Arc<Stage>, plan: Arc<Plan>) {
    let mut client = client(&env, "last-reader");
    for planned in &plan.topics {
        for partition in 0..planned.partitions {
            let mut position = None;
            while let Err(error) =
                read_rest(&env, &stage, &mut client, &planned.name, partition, &mut position).await
            {
                rest(&env, &error).await;
            }
        }
    }
    stage.finished.fetch_add(1, Ordering::Relaxed);
}

async fn rest(env: &SimEnv, error: &CallError) {
    env.note(format!("is told: {error}"));
    env.clock().sleep(RETRY).await;
}

/// Goes on from `position` to the end.
async fn read_rest(
    env: &SimEnv,
    stage: &Stage,
    client: &mut Client<SimEnv>,
    name: &str,
    partition: u32,
    position: &mut Option<Offset>,
) -> Result<(), CallError> {
    let topic = client.topic(name).await?;
    let start = client.offset_at(&topic, partition, EARLIEST).await?.ok_or(CallError::Missing)?;
    let end = client.offset_at(&topic, partition, LATEST).await?.ok_or(CallError::Missing)?;
    let mut at = position.unwrap_or(start);
    while at < end {
        let fetched = client.fetch(&topic, partition, at, &FETCH).await?;
        for batch in batches(&fetched, &topic, partition, at) {
            at = note(env, stage, &topic, partition, &batch, at, true);
            *position = Some(at);
        }
    }
    let (topic, start, end) = (topic.name, start.0, end.0);
    stage.add(env, "last-reader", What::Bounds { topic, partition, start, end });
    Ok(())
}

fn batches(fetched: &Fetched, topic: &Topic, partition: u32, at: Offset) -> Vec<Batch> {
    fetched.batches().unwrap_or_else(|error| {
        let (name, len) = (&topic.name, fetched.records.len());
        let evidence = format!("{name}-{partition} served {len} bytes at offset {at}: {error}");
        Violation::new(Invariant::I6, evidence).raise()
    })
}

/// Writes down the records of a batch from `from` on, and gives the offset after it.
fn note(
    env: &SimEnv,
    stage: &Stage,
    topic: &Topic,
    partition: u32,
    batch: &Batch,
    from: Offset,
    last: bool,
) -> Offset {
    let (mut records, mut base) = (vec![], None);
    for record in batch.records(DECOMPRESSED_BYTES_MAX) {
        // A record that cannot be read is one that nobody sent.
        let Ok(record) = record else {
            records.push(0);
            break;
        };
        let offset = batch.header().offset_of(&record);
        if offset >= from {
            base.get_or_insert(offset.0);
            let timestamp_ms = batch.header().timestamp_ms_of(&record);
            let (key, value) = (record.key.as_ref(), record.value.as_ref());
            records.push(name_of(key, value, &record.headers, timestamp_ms));
        }
    }
    if !records.is_empty() {
        let base = base.unwrap_or(from.0);
        let process = if last { "last-reader" } else { "reader" };
        let topic = topic.name.clone();
        stage.add(env, process, What::Read { topic, partition, base, records, last });
    }
    batch.header().next_offset()
}
