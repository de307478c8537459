//! Counts allocations, with an allocator of its own: hence a binary of its own.
//!
//! Checking what a producer sent must not cost memory per record, and a bomb must not cost the
//! memory that it claims. Counted per thread, so tests may run side by side. The zstd library
//! allocates in C, unseen from here; its window is bounded by its own limit.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use ottla::config::layers::Origin;
use ottla::config::settings::Settings;
use ottla::env::tokio::TokioEnv;
use ottla::protocol::frame::{decode_response, encode_request};
use ottla::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use ottla::protocol::messages::produce_request::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use ottla::protocol::records::batch::{Batch, TimestampType};
use ottla::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord};
use ottla::protocol::records::compression::Codec;
use ottla::protocol::records::record::Header;
use ottla::protocol::records::validate::{Rules, validate};
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Records, Request, Text};
use ottla::server::node;

struct Counting;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Allocated {
    times: usize,
    bytes: usize,
}

thread_local! {
    static ALLOCATED: Cell<Allocated> = const { Cell::new(Allocated { times: 0, bytes: 0 }) };
    /// This thread runs the tasks of a broker.
    static IS_BROKER: Cell<bool> = const { Cell::new(false) };
}

/// Allocations of the thread that runs the tasks of a broker.
static BROKER_TIMES: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    // The thread may be ending, and its cell gone.
    let _ = ALLOCATED.try_with(|cell| {
        let Allocated { times, bytes: before } = cell.get();
        cell.set(Allocated { times: times + 1, bytes: before + bytes });
    });
    if IS_BROKER.try_with(Cell::get).unwrap_or(false) {
        BROKER_TIMES.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let before = ALLOCATED.get();
    let result = work();
    let after = ALLOCATED.get();
    let (times, bytes) = (after.times - before.times, after.bytes - before.bytes);
    (result, Allocated { times, bytes })
}

const NOW_MS: i64 = 1_795_262_305_459;

fn rules() -> Rules {
    Rules {
        now_ms: NOW_MS,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        message_bytes_max: 64 << 20,
        segment_bytes: 1 << 30,
        compacted: true,
        compression: None,
        zstd_allowed: true,
        decompressed_record_bytes_max: i32::MAX as u32,
        decompressed_bytes_max: 64 << 20,
    }
}

fn batch(codec: Codec, record_count: usize, record: NewRecord) -> Batch {
    let options = BatchOptions { compression: codec.into(), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for _ in 0..record_count {
        builder.push(record.clone());
    }
    builder.build_batch()
}

/// A record of about 120 bytes, with a header.
fn record() -> NewRecord {
    let header = Header { key: "trace".into(), value: Some("0123456789".into()) };
    let (key, value) = (Some("some key".into()), Some(vec![b'v'; 80].into()));
    NewRecord { timestamp_ms: NOW_MS, key, value, headers: vec![header] }
}

#[test]
fn checking_plain_records_allocates_nothing() {
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let rules = Rules { timestamp_type, ..rules() };
        for record_count in [1, 1000, 20_000] {
            // As on a connection: the batch is a part of a buffer that others share.
            let bytes = batch(Codec::None, record_count, record()).to_bytes();
            let _shared = bytes.clone();
            let (valid, cost) = allocated(|| validate(&bytes, &rules).unwrap());
            assert_eq!(cost, Allocated::default(), "{record_count} records");
            assert_eq!(valid.record_count() as usize, record_count);
        }
    }
}

#[test]
fn checking_compressed_records_allocates_nothing_per_record() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let cost = |record_count| {
            let bytes = batch(codec, record_count, record()).to_bytes();
            let _shared = bytes.clone();
            allocated(|| validate(&bytes, &rules()).unwrap()).1
        };
        let (some, many) = (cost(1000), cost(50_000));
        assert_eq!(some, many, "{codec:?}");
        assert!((1..=16).contains(&some.times), "{codec:?}: {some:?}");
    }
}

#[test]
fn a_bomb_costs_no_memory() {
    let zeros = NewRecord { value: Some(vec![0; 32 << 20].into()), ..record() };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes = batch(codec, 1, zeros.clone()).to_bytes();
        let tight = Rules { decompressed_bytes_max: 16 << 20, ..rules() };
        let (result, cost) = allocated(|| validate(&bytes, &tight));
        result.expect_err("larger than allowed");
        assert!(cost.bytes < 256 << 10, "{codec:?}: {cost:?}");
    }
}

#[test]
fn absurd_counts_cost_no_memory() {
    // One record of seven bytes that claims two thousand million headers.
    let whole = batch(Codec::None, 1, NewRecord::default()).to_bytes();
    let mut bytes = whole.to_vec();
    let record_at = 61;
    bytes.truncate(record_at);
    let record = [20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    bytes.extend_from_slice(&record);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let batch = Batch::parse(&bytes.into()).unwrap();
    let (result, cost) = allocated(|| batch.records(1 << 20).next().unwrap());
    result.expect_err("so many headers do not fit");
    assert!(cost.bytes < 1024, "{cost:?}");
}

#[test]
fn reading_records_costs_at_most_a_hundred_bytes_per_byte() {
    let tiny = Header { key: Bytes::new(), value: None };
    let record = NewRecord { headers: vec![tiny; 10_000], ..NewRecord::default() };
    let batch = batch(Codec::None, 1, record);
    let (records, cost) = allocated(|| batch.records(1 << 20).collect::<Vec<_>>());
    assert_eq!(records.len(), 1);
    assert!(cost.bytes < 100 * batch.size_bytes() as usize, "{cost:?}");
}

/// A broker whose tasks all run on one thread, which is counted. Lives as long as the process.
fn start_broker(dir: &Path) -> SocketAddr {
    let mut settings = Settings::default();
    let dir = dir.to_str().expect("temporary directories have names in ASCII");
    for (name, value) in [("listeners", "PLAINTEXT://127.0.0.1:0"), ("log.dirs", dir)] {
        settings.set(name, value, Origin::CommandLine);
    }
    let start = settings.finish("localhost", true).expect("the options are right");
    let (tell, ready) = mpsc::channel();
    thread::spawn(move || {
        IS_BROKER.set(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = TokioEnv::new(runtime.handle().clone());
        let on_ready = move |ready: node::Ready| tell.send(ready.bound[0].1).unwrap();
        let _ = runtime.block_on(node::run(env, start, on_ready, std::future::pending()));
    });
    ready.recv().expect("the broker starts")
}

fn frame<R: Request>(request: &R, version: i16) -> Bytes {
    let client_id = Some(Text::from("test"));
    encode_request(&mut Writer::new(), version, 0, client_id, request).unwrap().to_bytes()
}

fn call<R: Request>(stream: &mut TcpStream, frame: &Bytes, version: i16) -> R::Response {
    stream.write_all(frame).unwrap();
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer).unwrap();
    decode_response::<R>(answer.into(), version).unwrap().1
}

fn produce(record_count: usize, value_bytes: usize, acks: i16) -> Bytes {
    let value = Some(vec![b'v'; value_bytes].into());
    let record = NewRecord { timestamp_ms: -1, value, ..NewRecord::default() };
    let records = Some(Records::Bytes(batch(Codec::None, record_count, record).to_bytes()));
    let partition = PartitionProduceData { index: 0, records };
    let topic = TopicProduceData {
        name: Text::from("t"),
        partition_data: vec![partition],
        ..TopicProduceData::default()
    };
    let topic_data = vec![topic];
    frame(&ProduceRequest { acks, timeout_ms: 1000, topic_data, ..Default::default() }, 9)
}

/// From the socket through the log to the answer: what a request costs does not depend on how many
/// records its bytes hold.
#[test]
fn producing_allocates_nothing_per_record() {
    const REQUESTS: usize = 300;
    /// A timer of the broker's own may fall among them.
    const OTHERS_MAX: f64 = 0.2;
    let dir = tempfile::tempdir().unwrap();
    let mut stream = TcpStream::connect(start_broker(dir.path())).unwrap();
    stream.set_nodelay(true).unwrap();
    let topic = CreatableTopic {
        name: Text::from("t"),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let created = call::<CreateTopicsRequest>(&mut stream, &frame(&create, 5), 5);
    assert_eq!(created.topics[0].error_code, 0);
    for acks in [1, -1] {
        let mut cost = |record_count: usize, value_bytes: usize| {
            let request = produce(record_count, value_bytes, acks);
            let mut send = || {
                let answer = call::<ProduceRequest>(&mut stream, &request, 9);
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            };
            (0..50).for_each(|_| send());
            let before = BROKER_TIMES.load(Ordering::SeqCst);
            (0..REQUESTS).for_each(|_| send());
            (BROKER_TIMES.load(Ordering::SeqCst) - before) as f64 / REQUESTS as f64
        };
        // About as many bytes each time: a larger frame is read into a larger buffer.
        let (few, many) = (cost(10, 2493), cost(1000, 17));
        assert!((few - many).abs() <= OTHERS_MAX, "acks={acks}: {few} for 10, {many} for 1000");
        assert!(few < 30.0, "acks={acks}: {few} for a request");
    }
}
