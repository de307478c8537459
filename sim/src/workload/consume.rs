//! Consumers: read along for as long as they live.

use std::sync::Arc;

use ottla::client::fetch::{FetchOptions, Fetched};
use ottla::client::{CallError, Client, Topic};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::records::batch::Batch;
use ottla::types::Offset;

use super::record::names;
use super::{RETRY, Stage, told};
use crate::check::{Invariant, Violation};
use crate::history::What;

/// An answer must fit through the narrowest link before its client gives up.
pub const FETCH: FetchOptions =
    FetchOptions { wait_ms_max: 100, bytes_min: 1, bytes_max: 64 << 10 };

pub async fn run<E: Env>(env: E, stage: Arc<Stage>) {
    let name = "reader";
    super::admin::prepare(env.clone(), stage.clone()).await;
    let mut client = stage.client(&env, name);
    let mut positions = vec![];
    for planned in &stage.plan.topics {
        let topic = stage.find(&mut client, name, &planned.name).await;
        stage.sees(name, &topic);
        for partition in 0..planned.partitions {
            let (topic, at) = (topic.clone(), Offset(0));
            let begins =
                What::Position { topic: told(&topic), partition, session: 0, offset: at.0 };
            stage.add(name, begins);
            positions.push((topic, partition, at));
        }
    }
    loop {
        let mut rested = false;
        for (topic, partition, at) in &mut positions {
            let read = read_on(&stage, &mut client, topic, *partition, at).await;
            if let Err(error) = read {
                stage.rest(&env, name, &error).await;
                rested = true;
            }
        }
        if !rested {
            env.clock().sleep(RETRY / 2).await;
        }
    }
}

async fn read_on<E: Env>(
    stage: &Stage,
    client: &mut Client<E>,
    topic: &Topic,
    partition: u32,
    at: &mut Offset,
) -> Result<(), CallError> {
    let topic = client.topic(&topic.name).await?;
    let asked = stage.now();
    let fetched = client.fetch(&topic, partition, *at, &FETCH).await?;
    for batch in batches(stage, &fetched, &topic, partition, *at) {
        let (base, records) = names(&batch, *at);
        *at = batch.header().next_offset();
        if !records.is_empty() {
            let read = What::Read {
                topic: told(&topic),
                partition,
                session: 0,
                base,
                records,
                append_ms: None,
                high_watermark: fetched.high_watermark.0,
                asked,
                last: false,
            };
            stage.add("reader", read);
        }
    }
    Ok(())
}

pub fn batches(
    stage: &Stage,
    fetched: &Fetched,
    topic: &Topic,
    partition: u32,
    at: Offset,
) -> Vec<Batch> {
    fetched.batches().unwrap_or_else(|error| {
        let (name, len) = (&topic.name, fetched.records.len());
        let evidence = format!("{name}-{partition} served {len} bytes at offset {at}: {error}");
        stage.witness.broken(Violation::new(Invariant::I6, evidence));
        vec![]
    })
}
