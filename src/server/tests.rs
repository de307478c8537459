//! A whole node in a world of memory: what one wake-up of a connection costs, and how peers that
//! stall are let go.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::node;
use crate::config::layers::Origin;
use crate::config::settings::Settings;
use crate::env::Env;
use crate::env::memory::MemoryEnv;
use crate::env::memory::clock::Held;
use crate::env::memory::net::{MemoryReader, MemoryWriter, PIPE_BYTES};
use crate::env::net::{Conn, Net};
use crate::env::tokio::TokioEnv;
use crate::protocol::frame::{decode_response, encode_request};
use crate::protocol::messages::api_versions_request::ApiVersionsRequest;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use crate::protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use crate::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::records::compression::Codec;
use crate::protocol::wire::writer::Writer;
use crate::protocol::wire::{Records, Request, Text};

const PRODUCE: i16 = 9;
const STALL_MAX: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

struct World {
    env: MemoryEnv,
    held: Held,
    address: SocketAddr,
}

struct Peer {
    reader: MemoryReader,
    writer: MemoryWriter,
    received: BytesMut,
    sent: i32,
}

impl World {
    async fn start(options: &[(&str, &str)]) -> World {
        let (env, held) = MemoryEnv::held(TokioEnv::new(tokio::runtime::Handle::current()));
        env.disk().put(Path::new("/disk/other"), Vec::new());
        let mut settings = Settings::default();
        let own = [("listeners", "PLAINTEXT://127.0.0.1:9092"), ("log.dirs", "/disk/data")];
        for (name, value) in own.iter().chain(options) {
            settings.set(name, value, Origin::CommandLine);
        }
        let start = settings.finish("localhost", true).unwrap();
        let (ready, is_ready) = oneshot::channel();
        let never = std::future::pending();
        let node = node::run(env.clone(), start, |told| drop(ready.send(told)), never);
        env.spawn("node", async move { node.await.unwrap() });
        let address = is_ready.await.unwrap().bound[0].1;
        World { env, held, address }
    }

    async fn connect(&self) -> Peer {
        let (reader, writer) = self.env.net().connect(self.address).await.unwrap().split();
        Peer { reader, writer, received: BytesMut::new(), sent: 0 }
    }

    /// Moves the time on, and lets everybody do what there is to do.
    async fn pass(&self, time: Duration) {
        let (mut left, step) = (time, SECOND);
        while !left.is_zero() {
            self.held.advance(step.min(left));
            left = left.saturating_sub(step);
            settle().await;
        }
    }
}

/// Runs every task until none has anything to do.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Peer {
    fn frame<R: Request>(&mut self, request: &R, version: i16) -> Bytes {
        let client_id = Some(Text::from("test"));
        let frame = encode_request(&mut Writer::new(), version, self.sent, client_id, request);
        self.sent += 1;
        frame.unwrap().to_bytes()
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.unwrap();
    }

    async fn receive(&mut self) -> Bytes {
        loop {
            if let Some(size) = self.received.first_chunk::<4>() {
                let size = u32::from_be_bytes(*size) as usize;
                if self.received.len() >= 4 + size {
                    self.received.advance(4);
                    return self.received.split_to(size).freeze();
                }
            }
            let read = self.reader.read_buf(&mut self.received).await.unwrap();
            assert!(read > 0, "the broker closed the connection");
        }
    }

    async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let frame = self.frame(request, version);
        self.send(&frame).await;
        decode_response::<R>(self.receive().await, version).unwrap().1
    }

    async fn create(&mut self, name: &str) {
        let topic = CreatableTopic {
            name: Text::new(name),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        assert_eq!(self.call(&request, 5).await.topics[0].error_code, 0);
    }

    async fn expect_service(&mut self) {
        assert_eq!(self.call(&ApiVersionsRequest::default(), 0).await.error_code, 0);
    }

    /// Reads what is left and says whether the connection then ends.
    async fn is_closed(&mut self) -> bool {
        loop {
            let reading = self.reader.read_buf(&mut self.received);
            tokio::select! {
                biased;
                read = reading => if read.unwrap_or(0) == 0 { return true },
                () = settle() => return false,
            }
        }
    }
}

fn produce(record_count: usize, acks: i16) -> ProduceRequest {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    for _ in 0..record_count {
        let value = Some(Bytes::from_static(&[7; 100]));
        batch.push(NewRecord { timestamp_ms: -1, value, ..NewRecord::default() });
    }
    let partition = PartitionProduceData { index: 0, records: Some(Records::Bytes(batch.build())) };
    let topic = TopicProduceData {
        name: Text::new("t"),
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![topic], ..ProduceRequest::default() }
}

fn fetch() -> FetchRequest {
    let partition = FetchPartition { partition_max_bytes: i32::MAX, ..FetchPartition::default() };
    let topic =
        FetchTopic { topic: Text::new("t"), partitions: vec![partition], ..FetchTopic::default() };
    FetchRequest {
        max_bytes: i32::MAX,
        session_epoch: -1,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

#[tokio::test]
async fn a_wakeup_reads_once_writes_once_for_each_request_and_answers_once() {
    let world = World::start(&[]).await;
    let mut peer = world.connect().await;
    peer.create("t").await;
    for (record_count, acks, requests) in [(1, -1, 20), (100, -1, 2), (10, 1, 10), (1, -1, 1)] {
        let request = produce(record_count, acks);
        for round in 0..8 {
            let frames: Vec<Bytes> = (0..requests).map(|_| peer.frame(&request, PRODUCE)).collect();
            settle().await;
            let counts = |peer: &Peer| {
                let socket = (peer.writer.reads(), peer.reader.writes());
                (socket, world.env.disk().writes())
            };
            let ((reads, answers), writes) = counts(&peer);
            peer.send(&frames.concat()).await;
            for _ in 0..requests {
                let answer = decode_response::<ProduceRequest>(peer.receive().await, PRODUCE);
                let answer = answer.unwrap().1;
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            }
            let ((reads_now, answers_now), writes_now) = counts(&peer);
            let what = format!("{requests} requests of {record_count} records, round {round}");
            assert_eq!(writes_now - writes, requests, "{what}");
            assert_eq!(answers_now - answers, 1, "{what}");
            // The first rounds find out how much there is to read.
            if round >= 3 {
                assert_eq!(reads_now - reads, 1, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn records_that_take_long_to_check_keep_their_place() {
    let world = World::start(&[]).await;
    let mut peer = world.connect().await;
    peer.create("t").await;
    let mut zeros = BatchBuilder::new(BatchOptions {
        compression: Codec::Zstd.into(),
        ..BatchOptions::default()
    });
    for _ in 0..30 {
        let value = Some(vec![0; 200_000].into());
        zeros.push(NewRecord { timestamp_ms: -1, value, ..NewRecord::default() });
    }
    let mut long = produce(1, -1);
    let mut second = long.topic_data[0].partition_data[0].clone();
    second.index = 7;
    long.topic_data[0].partition_data[0].records = Some(Records::Bytes(zeros.build()));
    long.topic_data[0].partition_data.push(second);
    let short = produce(3, -1);
    let order = [&short, &long, &short, &long, &long, &short];
    let frames: Vec<Bytes> = order.iter().map(|request| peer.frame(*request, PRODUCE)).collect();
    peer.send(&frames.concat()).await;
    let mut base = 0;
    for request in order {
        let answer = decode_response::<ProduceRequest>(peer.receive().await, PRODUCE).unwrap().1;
        let partitions = &answer.responses[0].partition_responses;
        assert_eq!((partitions[0].error_code, partitions[0].base_offset), (0, base));
        base += if std::ptr::eq(request, &long) { 30 } else { 3 };
        if let Some(unknown) = partitions.get(1) {
            assert_eq!(unknown.error_code, 3, "the others are answered for themselves");
        }
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_within_a_frame_gives_its_memory_back() {
    let world = World::start(&[("queued.max.request.bytes", "65536")]).await;
    let mut hoarder = world.connect().await;
    hoarder.send(&60_000i32.to_be_bytes()).await;
    hoarder.send(&[0; 100]).await;
    let mut other = world.connect().await;
    other.create("t").await;
    let large = other.frame(&produce(200, -1), PRODUCE);
    other.send(&large).await;
    world.pass(STALL_MAX - 5 * SECOND).await;
    assert!(!hoarder.is_closed().await);
    assert!(!other.is_closed().await && other.received.is_empty(), "it waits for memory");
    world.pass(20 * SECOND).await;
    assert!(hoarder.is_closed().await);
    other.receive().await;
}

#[tokio::test]
async fn a_peer_that_sends_a_byte_now_and_then_is_as_good_as_gone() {
    let world = World::start(&[]).await;
    let (mut slow, mut trickling) = (world.connect().await, world.connect().await);
    for peer in [&mut slow, &mut trickling] {
        peer.send(&1_000_000i32.to_be_bytes()).await;
    }
    let mut seconds = 0;
    while !trickling.is_closed().await {
        let _ = trickling.writer.write_all(&[0]).await;
        slow.send(&[0; 200]).await;
        world.pass(SECOND).await;
        seconds += 1;
        assert!(seconds < 90);
    }
    assert!(seconds >= 60, "{seconds}");
    for _ in 0..120 {
        slow.send(&[0; 200]).await;
        world.pass(SECOND).await;
    }
    assert!(!slow.is_closed().await, "slow, and yet it comes on");
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_is_let_go() {
    let world = World::start(&[]).await;
    let mut deaf = world.connect().await;
    let frame = deaf.frame(&ApiVersionsRequest::default(), 0);
    let frames = frame.repeat(PIPE_BYTES / 100);
    let mut reader = world.connect().await;
    let frames_of_reader = frames.clone();
    tokio::join!(async { assert!(deaf.writer.write_all(&frames).await.is_ok()) }, async {
        assert!(reader.writer.write_all(&frames_of_reader).await.is_ok())
    },);
    settle().await;
    for _ in 0..5 {
        world.pass(STALL_MAX - 10 * SECOND).await;
        for _ in 0..50 {
            reader.receive().await;
        }
    }
    assert!(!reader.is_closed().await);
    assert!(deaf.is_closed().await);
    world.connect().await.expect_service().await;
}

#[tokio::test]
async fn a_consumer_that_stops_within_its_records_is_let_go_and_a_slow_one_is_not() {
    let world = World::start(&[]).await;
    let mut producer = world.connect().await;
    producer.create("t").await;
    for _ in 0..40 {
        producer.call(&produce(500, -1), PRODUCE).await;
    }
    let (mut deaf, mut slow) = (world.connect().await, world.connect().await);
    for peer in [&mut deaf, &mut slow] {
        let frame = peer.frame(&fetch(), 4);
        peer.send(&frame).await;
    }
    let mut piece = vec![0; PIPE_BYTES];
    let mut read = 0;
    for _ in 0..5 {
        world.pass(STALL_MAX - 10 * SECOND).await;
        read += slow.reader.read_exact(&mut piece).await.unwrap();
    }
    assert!(read < 40 * 500 * 100, "there is more to read");
    assert!(!slow.is_closed().await);
    assert!(deaf.is_closed().await);
}
