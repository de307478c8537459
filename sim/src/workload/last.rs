//! The last reader: every partition from end to end, for the record, when all is over.

use std::sync::Arc;

use ottla::client::fetch::{EARLIEST, LATEST};
use ottla::client::{CallError, Client};
use ottla::env::Env;
use ottla::types::Offset;

use super::consume::{FETCH, batches};
use super::record::names;
use super::{Stage, told};
use crate::history::What;

pub const NAME: &str = "last-reader";

pub async fn run<E: Env>(env: E, stage: Arc<Stage>) {
    let mut client = stage.client(&env, NAME);
    let mut standing = vec![];
    for planned in &stage.plan.topics {
        let topic = stage.find(&mut client, NAME, &planned.name).await;
        stage.sees(NAME, &topic);
        standing.push(told(&topic));
        for partition in 0..planned.partitions {
            let mut position = None;
            while let Err(error) =
                read_rest(&stage, &mut client, &planned.name, partition, &mut position).await
            {
                stage.rest(&env, NAME, &error).await;
            }
        }
    }
    stage.add(NAME, What::Standing { topics: standing });
    stage.ends(NAME);
}

/// Goes on from `position` to the end.
async fn read_rest<E: Env>(
    stage: &Stage,
    client: &mut Client<E>,
    name: &str,
    partition: u32,
    position: &mut Option<Offset>,
) -> Result<(), CallError> {
    let topic = client.topic(name).await?;
    let start = client.offset_at(&topic, partition, EARLIEST).await?.ok_or(CallError::Missing)?;
    let end = client.offset_at(&topic, partition, LATEST).await?.ok_or(CallError::Missing)?;
    let (start, end) = (start.offset, end.offset);
    let mut at = position.unwrap_or(start);
    while at < end {
        let asked = stage.now();
        let fetched = client.fetch(&topic, partition, at, &FETCH).await?;
        for batch in batches(stage, &fetched, &topic, partition, at) {
            let (base, records) = names(&batch, at);
            at = batch.header().next_offset();
            *position = Some(at);
            let read = What::Read {
                topic: told(&topic),
                partition,
                session: 0,
                base,
                records,
                append_ms: None,
                high_watermark: fetched.high_watermark.0,
                asked,
                last: true,
            };
            stage.add(NAME, read);
        }
    }
    let (topic, start, end) = (told(&topic), start.0, end.0);
    stage.add(NAME, What::Bounds { topic, partition, start, end });
    Ok(())
}
