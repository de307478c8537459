//! The last reader: every partition that there is, from end to end, for the record, when all is
//! over.

use ottla::client::fetch::{EARLIEST, FetchOptions, LATEST, Wanted};
use ottla::client::{CallError, Client, Topic};
use ottla::env::Env;
use ottla::types::Offset;

use super::consume::take_down;
use super::{Sights, Stage, told};
use crate::history::What;

/// An answer must fit through the narrowest link before its client gives up.
const FETCH: FetchOptions = FetchOptions { wait_ms_max: 100, bytes_min: 1, bytes_max: 64 << 10 };

pub async fn run<E: Env>(env: &E, stage: &Stage, name: &str) {
    let mut client = stage.client(env, name);
    let ours = |topic: &Topic| stage.plan.topics.iter().any(|ours| ours.name == topic.name);
    let topics = loop {
        match client.topics().await {
            // A broker that was recorded may have others.
            Ok(topics) => break topics.into_iter().filter(ours).collect::<Vec<_>>(),
            Err(error) => stage.rest(env, name, &error).await,
        }
    };
    let mut sights = Sights::default();
    for topic in &topics {
        sights.note(stage, name, topic);
        for partition in 0..topic.leaders.len() as u32 {
            let mut position = Offset(0);
            while let Err(error) =
                read_rest(stage, name, &mut client, topic, partition, &mut position).await
            {
                stage.rest(env, name, &error).await;
            }
        }
    }
    stage.add(name, What::Standing { topics: topics.iter().map(told).collect() });
}

/// Goes on from `position` to the end.
async fn read_rest<E: Env>(
    stage: &Stage,
    name: &str,
    client: &mut Client<E>,
    topic: &Topic,
    partition: u32,
    position: &mut Offset,
) -> Result<(), CallError> {
    // Perhaps somebody else leads by now.
    let topic = client.topic(&topic.name).await?;
    let start = client.offset_at(&topic, partition, EARLIEST).await?.ok_or(CallError::Missing)?;
    let end = client.offset_at(&topic, partition, LATEST).await?.ok_or(CallError::Missing)?;
    let (start, end) = (start.offset, end.offset);
    *position = start.max(*position);
    while *position < end {
        let asked = stage.now();
        let fetched = client.fetch(&topic, partition, *position, &FETCH).await?;
        let wanted = Wanted::new(&topic, partition, *position);
        *position = take_down(stage, name, &topic, &wanted, &fetched, asked, None);
    }
    let (topic, start, end) = (told(&topic), start.0, end.0);
    stage.add(name, What::Bounds { topic, partition, start, end });
    Ok(())
}
