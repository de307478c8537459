//! A disk that is full, a disk that fails: producers are told, nothing that was acknowledged is
//! lost, and whoever does not need the disk goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ottla::protocol::error::ErrorCode;
use ottla::protocol::messages::fetch_request::FetchRequest;
use ottla::server::node::RunError;

use super::harness::calls::{FETCH, batch, code, fetch_request, idempotent, values};
use super::harness::eventually;
use super::harness::faults::{Faults, FaultyEnv};
use super::harness::node::{Node, configured};

fn start(dir: &Path, options: &[(&str, &str)], faults: &Faults) -> Node {
    let start = configured(dir, options);
    Node::start_in(|runtime| FaultyEnv::new(runtime, faults), start).expect("the node starts")
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    for torn_bytes in [0, 70, 1 << 20] {
        let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
        let node = start(dir.path(), &[], &faults);
        let mut wire = node.connect();
        wire.create("t", 1, &[]);
        let (id, epoch) = wire.new_producer();
        let first = wire.produce("t", idempotent(id, epoch, 0, &["a"]));
        assert_eq!(code(first.error_code), ErrorCode::None);
        faults.fill_disk(torn_bytes);
        for _ in 0..2 {
            let refused = wire.produce("t", idempotent(id, epoch, 1, &["b"]));
            assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
        }
        assert_eq!(wire.read_all("t"), ["a"], "reading goes on");
        faults.free_disk();
        let again = wire.produce("t", idempotent(id, epoch, 1, &["b"]));
        assert_eq!((code(again.error_code), again.base_offset), (ErrorCode::None, 1));
        node.stop().unwrap();
        let node = Node::start(dir.path(), &[]);
        assert_eq!(node.connect().read_all("t"), ["a", "b"]);
    }
}

#[test]
fn a_stop_with_a_full_disk_loses_nothing() {
    for torn_bytes in [0, 70, 1 << 20] {
        let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
        let node = start(dir.path(), &[], &faults);
        let mut wire = node.connect();
        wire.create("t", 1, &[]);
        wire.append("t", &["a"]);
        faults.fill_disk(torn_bytes);
        let refused = wire.produce("t", batch(&["b"]));
        assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
        let _ = node.stop();
        for _ in 0..2 {
            let node = Node::start(dir.path(), &[]);
            let mut wire = node.connect();
            assert_eq!(wire.read_all("t")[0], "a");
            assert!(wire.append("t", &["c"]) >= 1);
            assert_eq!(wire.read_all("t").last().unwrap(), "c");
            node.stop().unwrap();
        }
    }
}

const OFTEN: [(&str, &str); 2] = [
    ("log.flush.offset.checkpoint.interval.ms", "0"),
    ("replica.high.watermark.checkpoint.interval.ms", "20"),
];

#[test]
fn checkpoints_wait_for_room_and_nothing_goes_offline() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let node = start(dir.path(), &OFTEN, &faults);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    wire.append("t", &["a"]);
    faults.fill_disk_under(dir.path());
    assert_eq!(code(wire.produce("t", batch(&["b"])).error_code), ErrorCode::KafkaStorageError);
    assert_eq!(code(wire.try_create("u", 1, &[]).error_code), ErrorCode::KafkaStorageError);
    // Long enough for both kinds of checkpoints to find no room.
    thread::sleep(Duration::from_millis(2200));
    assert_eq!(code(wire.produce("t", batch(&["b"])).error_code), ErrorCode::KafkaStorageError);
    assert_eq!(wire.read_all("t"), ["a"], "reading goes on");
    faults.free_disk();
    assert_eq!(wire.append("t", &["b"]), 1);
    assert_eq!(code(wire.try_create("u", 1, &[]).error_code), ErrorCode::None);
    assert_eq!(wire.append("u", &["c"]), 0);
    let recovery_points = dir.path().join("recovery-point-offset-checkpoint");
    eventually("the checkpoint that waited is written", || {
        fs::read_to_string(&recovery_points).is_ok_and(|lines| lines.contains("t 0 2"))
    });
    node.stop().unwrap();
    assert!(dir.path().join(".kafka_cleanshutdown").exists());
    let node = Node::start(dir.path(), &[]);
    assert_eq!(node.connect().read_all("t"), ["a", "b"]);
}

#[test]
fn a_topic_that_found_no_room_is_served_once_there_is_some() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let (first, second, _) = two_directories(dir.path());
    let (metadata, logs) = (first.to_str().unwrap(), second.to_str().unwrap());
    let options = [("metadata.log.dir", metadata), ("log.dirs", logs)];
    let node = start(dir.path(), &options, &faults);
    faults.fill_disk_under(&second);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    assert_eq!(code(wire.produce("t", batch(&["a"])).error_code), ErrorCode::KafkaStorageError);
    wire.create("gone", 1, &[]);
    wire.delete("gone");
    faults.free_disk();
    eventually("it is opened", || {
        code(wire.produce("t", batch(&["a"])).error_code) == ErrorCode::None
    });
    assert_eq!(wire.read_all("t"), ["a"]);
    wire.create("gone", 1, &[]);
    assert_eq!(wire.append("gone", &["b"]), 0);
    node.stop().unwrap();
}

#[test]
fn deleting_topics_frees_a_full_disk() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let (first, second, _) = two_directories(dir.path());
    let (metadata, logs) = (first.to_str().unwrap(), second.to_str().unwrap());
    let options = [("metadata.log.dir", metadata), ("log.dirs", logs), OFTEN[0], OFTEN[1]];
    let node = start(dir.path(), &options, &faults);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    wire.append("t", &["a"]);
    let recovery_points = second.join("recovery-point-offset-checkpoint");
    eventually("a checkpoint speaks of it", || {
        fs::read_to_string(&recovery_points).is_ok_and(|lines| lines.contains("t 0 1"))
    });
    faults.fill_disk_under(&second);
    let mut other = node.connect();
    thread::scope(|scope| {
        scope.spawn(|| wire.delete("t"));
        eventually("its records are gone before there is room for a checkpoint", || {
            let names = fs::read_dir(second.join("t-0")).unwrap();
            names.map(|entry| entry.unwrap().file_name()).eq(["partition.metadata"])
        });
        faults.free_disk();
    });
    other.create("t", 1, &[]);
    assert_eq!(other.append("t", &["b"]), 0, "a new log, that no old line speaks of");
    node.kill();
    let node = Node::start_in(ottla::env::tokio::TokioEnv::new, configured(dir.path(), &options));
    assert_eq!(node.unwrap().connect().read_all("t"), ["b"]);
}

#[test]
fn partitions_are_spread_over_the_directories() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second, both) = two_directories(dir.path());
    let node = Node::start(dir.path(), &[("log.dirs", &both)]);
    node.connect().create("t", 10, &[]);
    for directory in [first, second] {
        let logs = (0..10).filter(|n| directory.join(format!("t-{n}")).exists());
        assert_eq!(logs.count(), 5, "{}", directory.display());
    }
}

#[test]
fn a_move_during_a_slow_read_is_not_slept_through() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let node = start(dir.path(), &[], &faults);
    let mut writer = node.connect();
    for name in ["moving", "cold"] {
        writer.create(name, 1, &[]);
    }
    // Old enough to be read from the file: not what was appended last.
    let filler = "f".repeat(300_000);
    for value in ["little", &*filler, &*filler, &*filler] {
        writer.append("cold", &[value]);
    }
    faults.slow_reads(150);
    let mut request =
        FetchRequest { max_wait_ms: 20_000, min_bytes: 1000, ..fetch_request("moving", 0) };
    let mut cold = fetch_request("cold", 0).topics.remove(0);
    cold.partitions[0].partition_max_bytes = 100;
    request.topics.push(cold);
    let mut reader = node.connect();
    let begun = Instant::now();
    reader.send(&request, FETCH);
    thread::sleep(Duration::from_millis(50));
    writer.append("moving", &[&"v".repeat(1000)]);
    let response = reader.receive::<FetchRequest>(FETCH);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(values(&response.responses[0].partitions[0].records).len(), 1);
}

fn two_directories(dir: &Path) -> (PathBuf, PathBuf, String) {
    let (first, second) = (dir.join("first"), dir.join("second"));
    let both = format!("{},{}", first.display(), second.display());
    (first, second, both)
}

#[test]
fn a_failed_sync_takes_its_directory_offline_and_no_other() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let (first, second, both) = two_directories(dir.path());
    let options = [("log.dirs", &*both)];
    let node = start(dir.path(), &options, &faults);
    let mut wire = node.connect();
    let names: Vec<String> = (0..6).map(|n| format!("t{n}")).collect();
    for name in &names {
        wire.create(name, 1, &[]);
        wire.append(name, &["a"]);
    }
    let (lost, kept): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| second.join(format!("{name}-0")).exists());
    assert!(lost.len() > 1 && kept.len() > 1, "both directories are used");

    faults.fail_syncs(&second);
    let refused = wire.produce(lost[0], batch(&["b"]));
    assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
    for name in &lost {
        // Those that nobody writes to, as well.
        eventually("its topics are not served", || {
            code(wire.fetch(name, 0).error_code) == ErrorCode::KafkaStorageError
        });
        let refused = wire.produce(name, batch(&["b"]));
        assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
    }
    for name in &kept {
        assert_eq!(wire.append(name, &["b"]), 1);
        assert_eq!(values(&wire.fetch(name, 0).records), ["a", "b"]);
    }
    wire.create("new", 9, &[]);
    assert_eq!(wire.append("new", &["a"]), 0);
    assert!(first.join("new-8").exists(), "placed where there is a disk");
    let _ = node.stop();
    assert!(first.join(".kafka_cleanshutdown").exists());
    assert!(!second.join(".kafka_cleanshutdown").exists());

    let node = Node::start(dir.path(), &options);
    let mut wire = node.connect();
    for name in &lost {
        assert_eq!(wire.read_all(name)[0], "a", "what was acknowledged is there");
    }
    for name in &kept {
        assert_eq!(wire.read_all(name), ["a", "b"]);
    }
}

#[test]
fn a_node_whose_metadata_cannot_be_written_ends() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::default());
    let mut node = start(dir.path(), &[], &faults);
    let mut wire = node.connect();
    wire.create("t", 1, &[]);
    wire.append("t", &["a"]);
    faults.fail_syncs(dir.path());
    let refused = wire.produce("t", batch(&["b"]));
    assert_eq!(code(refused.error_code), ErrorCode::KafkaStorageError);
    let error = node.ended().unwrap_err();
    assert!(matches!(error, RunError::Offline(_)), "{error}");
    drop(node);
    assert!(!dir.path().join(".kafka_cleanshutdown").exists());
    let node = Node::start(dir.path(), &[]);
    assert_eq!(node.connect().read_all("t")[0], "a");
}
