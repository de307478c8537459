//! Peers without manners: noise, half a request, silence, much asked for and little read. The broker
//! owes them nothing but must go on serving the others.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use ottla::client::CallError;
use ottla::client::fetch::{FetchOptions, Wanted};
use ottla::client::fetch_session::sessionless;
use ottla::env::clock::Clock;
use ottla::env::net::{Conn, Net};
use ottla::env::{Env, ReaderOf, WriterOf};
use ottla::protocol::frame::encode_request;
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Request, Text};
use ottla::types::Offset;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Stage;
use crate::chance::{Chance, Subsystem};
use crate::history::What;
use crate::plan::clients::{Manner, Visit};

/// For connecting, and for a broker to answer or to close.
const PATIENCE: Duration = Duration::from_secs(2);

/// For a whole visit: a broker that lost its power takes nothing and says nothing.
const VISIT_MAX: Duration = Duration::from_secs(30);

/// Streams of noise are told from those of records by their number.
const NOISE: u64 = 1 << 32;

const EVERYTHING: FetchOptions =
    FetchOptions { wait_ms_max: 0, bytes_min: 0, bytes_max: i32::MAX as u32 };

/// Fetch as it has been for long: by name, so that nothing must be known.
const FETCH_VERSION: i16 = 12;

pub async fn run<E: Env>(env: &E, stage: &Stage, name: &str, index: usize) {
    stage.wait_for_topics(env).await;
    for (number, visit) in (0..).zip(&stage.plan.peers[index].visits) {
        let Visit { after_ms, manner } = visit;
        env.clock().sleep(Duration::from_millis(*after_ms)).await;
        if stage.is_healed() {
            return;
        }
        let noise =
            Chance::stream(stage.plan.seed, Subsystem::Workload, NOISE + index as u64, number);
        let behaved = env.clock().timeout(VISIT_MAX, behave(env, stage, manner, noise)).await;
        match behaved.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => stage.add(name, What::Hostile { manner: manner.name().to_string() }),
            Err(error) => stage.note(name, format!("is told: {error}")),
        }
    }
}

/// Ok once it has done its worst.
async fn behave<E: Env>(
    env: &E,
    stage: &Stage,
    manner: &Manner,
    mut noise: Chance,
) -> io::Result<()> {
    let (mut reader, mut writer) = connect(env, stage).await?;
    let clock = env.clock();
    match *manner {
        Manner::Garbage { bytes } => {
            let mut garbage = vec![0; bytes as usize];
            noise.fill(&mut garbage);
            writer.write_all(&garbage).await?;
            listen(env, &mut reader).await;
        }
        Manner::Oversized { length } => {
            let mut frame = length.to_be_bytes().to_vec();
            frame.resize(100, 7);
            writer.write_all(&frame).await?;
            listen(env, &mut reader).await;
        }
        Manner::Truncated { percent } => {
            let whole = ask_for_all(stage)?;
            let body = &whole[4..][..(whole.len() - 4) * percent as usize / 100];
            writer.write_all(&(body.len() as u32).to_be_bytes()).await?;
            writer.write_all(body).await?;
            listen(env, &mut reader).await;
        }
        Manner::Half { percent, ms } => {
            let whole = ask_for_all(stage)?;
            writer.write_all(&whole[..whole.len() * percent as usize / 100]).await?;
            clock.sleep(Duration::from_millis(ms)).await;
        }
        Manner::Silent { ms } => clock.sleep(Duration::from_millis(ms)).await,
        Manner::Greedy { requests, bytes_per_second, ms } => {
            let request = ask_for_all(stage)?;
            let asking = async {
                for _ in 0..requests {
                    writer.write_all(&request).await?;
                }
                sip(env, &mut reader, bytes_per_second).await
            };
            // Whoever is not read from stops reading, too.
            clock.timeout(Duration::from_millis(ms), asking).await.unwrap_or(Ok(()))?;
        }
        Manner::BreakOff { bytes } => {
            writer.write_all(&ask_for_all(stage)?).await?;
            let mut some = vec![0; bytes as usize];
            let reading = reader.read_exact(&mut some);
            clock.timeout(PATIENCE, reading).await.unwrap_or(Ok(0))?;
        }
    }
    Ok(())
}

async fn connect<E: Env>(env: &E, stage: &Stage) -> io::Result<(ReaderOf<E>, WriterOf<E>)> {
    let (host, port) = &stage.bootstrap[0];
    let addresses = env.net().resolve(host, *port).await?;
    let address = *addresses.first().ok_or(io::ErrorKind::NotFound)?;
    let connecting = env.net().connect(address);
    let conn = env.clock().timeout(PATIENCE, connecting).await;
    Ok(conn.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.split())
}

/// Reads until the broker has had enough of it.
async fn listen<E: Env>(env: &E, reader: &mut ReaderOf<E>) {
    let mut some = [0; 256];
    let reading = async { while matches!(reader.read(&mut some).await, Ok(1..)) {} };
    // A broker may as well wait for more.
    let _ = env.clock().timeout(PATIENCE, reading).await;
}

/// Reads a little, for ever.
async fn sip<E: Env>(env: &E, reader: &mut ReaderOf<E>, bytes_per_second: u32) -> io::Result<()> {
    let mut some = vec![0; bytes_per_second as usize];
    loop {
        env.clock().sleep(Duration::from_secs(1)).await;
        if bytes_per_second > 0 && reader.read(&mut some).await? == 0 {
            return Ok(());
        }
    }
}

/// A fetch of all partitions from their start, framed.
fn ask_for_all(stage: &Stage) -> io::Result<Bytes> {
    let mut wanted = vec![];
    for topic in &stage.plan.topics {
        for partition in 0..topic.partitions {
            let (name, topic_id) = (topic.name.clone(), ottla::types::Uuid::ZERO);
            wanted.push(Wanted { name, topic_id, partition, from: Offset(0) });
        }
    }
    let request = sessionless(&wanted, &EVERYTHING);
    frame(&request, FETCH_VERSION).map_err(io::Error::other)
}

fn frame<R: Request>(request: &R, version: i16) -> Result<Bytes, CallError> {
    let mut writer = Writer::new();
    let client_id = Some(Text::new("hostile"));
    Ok(encode_request(&mut writer, version, 0, client_id, request)?.to_bytes())
}
