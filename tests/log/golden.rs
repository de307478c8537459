//! Two data directories of a real Kafka, after a clean stop and after kill -9: every partition
//! opens in place and gives the records that clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use ottla::env::disk::File;
use ottla::env::tokio::TokioEnv;
use ottla::log::identity::{self, IDENTITY_NAME};
use ottla::log::read::Wanted;
use ottla::log::recovery::{Known, Recovered};
use ottla::log::{Log, LogConfig};
use ottla::protocol::records::batch::Batch;
use ottla::protocol::records::control::ControlType;
use ottla::types::Offset;
use serde_json::Value;

use super::sha256;

const NOW_MS: i64 = 1_800_000_000_000;

pub struct Golden {
    pub dir: tempfile::TempDir,
    pub clean: bool,
}

impl Golden {
    pub fn unpack(name: &str) -> Golden {
        let dir = tempfile::tempdir().unwrap();
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.tar.gz"));
        let archive = GzDecoder::new(fs::File::open(path).unwrap());
        tar::Archive::new(archive).unpack(dir.path()).unwrap();
        Golden { dir, clean: name == "clean" }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn checkpoint(&self, name: &str) -> BTreeMap<String, i64> {
        let text = fs::read_to_string(self.data().join(name)).unwrap_or_default();
        let entry = |line: &str| {
            let mut words = line.split(' ');
            let (topic, partition) = (words.next().unwrap(), words.next().unwrap());
            (format!("{topic}-{partition}"), words.next().unwrap().parse().unwrap())
        };
        text.lines().skip(2).map(entry).collect()
    }

    pub async fn open(&self, partition: &str) -> (Log<TokioEnv>, Recovered) {
        let dir = self.data().join(partition);
        let offset = |name| Offset(self.checkpoint(name).get(partition).copied().unwrap_or(0));
        let known = Known {
            clean: self.clean,
            recovery_point: offset("recovery-point-offset-checkpoint"),
            log_start: offset("log-start-offset-checkpoint"),
        };
        let id = identity::parse(&fs::read_to_string(dir.join(IDENTITY_NAME)).unwrap()).unwrap();
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        Log::open(env, &dir, id, Arc::new(config(partition)), known, NOW_MS).await.unwrap()
    }
}

fn config(partition: &str) -> LogConfig {
    let compacts = partition.starts_with("compacted") || partition.starts_with("__");
    LogConfig {
        segment_index_bytes: 4096,
        cleanup_compact: compacts,
        cleanup_delete: !compacts,
        ..LogConfig::default()
    }
}

pub fn expected(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/expected.json");
    let all: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    all[name].clone()
}

/// Reads a log as a consumer does, in small fetches.
pub async fn consume(log: &Log<TokioEnv>, committed: bool) -> Vec<Batch> {
    let limit = if committed { log.last_stable(log.end()) } else { log.end() };
    let mut from = log.start();
    let mut batches = Vec::new();
    while from < limit {
        let wanted =
            Wanted { from, limit, bytes_max: 50_000, at_least_one: true, aborted: committed };
        let region = log.read(&wanted).unwrap().resolve().await.unwrap();
        let Some(file) = &region.file else { break };
        let mut bytes = BytesMut::new();
        while (bytes.len() as u32) < region.len {
            let at = region.at + bytes.len() as u64;
            bytes.extend(file.read_at(at, region.len - bytes.len() as u32).await.unwrap());
        }
        let mut bytes = bytes.freeze();
        let aborted: BTreeSet<(i64, i64, i64)> =
            region.aborted.iter().map(|a| (a.producer.0, a.first.0, a.last.0)).collect();
        let before = from;
        while let Ok(Some(batch)) = Batch::split(&mut bytes) {
            from = batch.next_offset();
            let offset = batch.base_offset().0;
            let is_aborted = batch.is_transactional()
                && aborted.iter().any(|(producer, first, last)| {
                    Some(*producer) == batch.producer_id().map(|id| id.0)
                        && (*first..*last).contains(&offset)
                });
            if !(committed && is_aborted) {
                batches.push(batch);
            }
        }
        assert!(from > before, "a fetch brings at least one batch");
    }
    batches
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    out.extend(bytes.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
    out.extend(bytes.map_or(&[][..], |bytes| &bytes[..]));
}

/// Records as clients saw them, laid out for the hash: no control records.
pub fn saw(start: Offset, batches: &[Batch]) -> Value {
    let (mut offsets, mut layout) = (Vec::new(), Vec::new());
    for batch in batches.iter().filter(|batch| !batch.is_control()) {
        for record in batch.records(1 << 30).map(Result::unwrap) {
            let offset = batch.offset_of(&record);
            if offset < start {
                continue;
            }
            offsets.push(offset.0);
            layout.extend(offset.0.to_be_bytes());
            layout.extend(batch.timestamp_ms_of(&record).to_be_bytes());
            put_bytes(&mut layout, record.key.as_ref());
            put_bytes(&mut layout, record.value.as_ref());
            layout.extend((record.headers.len() as i32).to_be_bytes());
            for header in &record.headers {
                put_bytes(&mut layout, Some(&header.key));
                put_bytes(&mut layout, header.value.as_ref());
            }
        }
    }
    serde_json::json!({
        "records": offsets.len(),
        "first": offsets.first(),
        "last": offsets.last(),
        "sha256": sha256::hex(&layout),
    })
}

async fn serves_what_clients_saw(name: &str) {
    let golden = Golden::unpack(name);
    let expected = expected(name);
    let mut seen = 0;
    for (topic, partitions) in expected["topics"].as_object().unwrap() {
        for (partition, wanted) in partitions.as_object().unwrap() {
            let (log, _) = golden.open(&format!("{topic}-{partition}")).await;
            let what = format!("{name} {topic}-{partition}");
            assert_eq!(wanted["start"], log.start().0, "{what}: start");
            assert_eq!(wanted["end"], log.end().0, "{what}: end");
            assert_eq!(wanted["last_stable"], log.last_stable(log.end()).0, "{what}: stable");
            let all = consume(&log, false).await;
            assert_eq!(wanted["read_uncommitted"], saw(log.start(), &all), "{what}: uncommitted");
            let committed = consume(&log, true).await;
            assert_eq!(wanted["read_committed"], saw(log.start(), &committed), "{what}: committed");
            seen += 1;
        }
    }
    for (partition, wanted) in expected["internal_topics"].as_object().unwrap() {
        let (log, _) = golden.open(partition).await;
        assert_eq!(wanted["start"], log.start().0, "{partition}: start");
        assert_eq!(wanted["end"], log.end().0, "{partition}: end");
        seen += 1;
    }
    assert!(seen > 15, "the archive holds all its partitions");
}

#[tokio::test]
async fn after_a_clean_stop_everything_is_served_as_before() {
    serves_what_clients_saw("clean").await;
}

#[tokio::test]
async fn after_kill_9_everything_is_served_as_before() {
    serves_what_clients_saw("killed").await;
}

/// Names and contents of a directory, but for what Kafka itself removes at its next start.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let kept = named.filter(|(name, _)| !name.ends_with(".deleted"));
    kept.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_cleanly_stopped_directory_is_opened_without_rewriting_anything() {
    let golden = Golden::unpack("clean");
    for entry in fs::read_dir(golden.data()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !path.is_dir() || name.ends_with("-delete") {
            continue;
        }
        let before = files(&path);
        let (mut log, report) = golden.open(&name).await;
        assert_eq!((report.scanned_bytes, report.cut_bytes), (0, 0), "{name}");
        assert!(log.begin_checkpoint().unwrap().is_none(), "{name} has nothing to write");
        log.release();
        drop(log);
        assert!(before == files(&path), "{name} was rewritten");
    }
}

#[tokio::test]
async fn opening_a_killed_directory_twice_gives_the_same_logs() {
    let golden = Golden::unpack("killed");
    for partition in ["plain-0", "transactional-0", "open-txn-0", "compacted-0", "trimmed-0"] {
        let (log, first) = golden.open(partition).await;
        let (producers, epochs) = (log.producers().clone(), log.epochs().clone());
        drop(log);
        let (log, second) = golden.open(partition).await;
        assert_eq!((first.start, first.end, 0), (second.start, second.end, second.cut_bytes));
        assert_eq!(&producers, log.producers(), "{partition}");
        assert_eq!(&epochs, log.epochs(), "{partition}");
    }
}

#[tokio::test]
async fn the_metadata_log_opens_whole() {
    for name in ["clean", "killed"] {
        let golden = Golden::unpack(name);
        let (log, report) = golden.open("__cluster_metadata-0").await;
        assert_eq!((log.start(), report.cut_bytes), (Offset(0), 0));
        let batches = consume(&log, false).await;
        let mut next = Offset(0);
        for batch in &batches {
            assert_eq!(batch.base_offset(), next);
            batch.verify_crc().unwrap();
            next = batch.next_offset();
        }
        assert_eq!(next, log.end());
        let leaders = batches.iter().filter(|batch| batch.is_control()).flat_map(|batch| {
            batch.records(1 << 20).map(|r| ControlType::from_key(r.unwrap().key.as_ref()).unwrap())
        });
        assert!(leaders.filter(|kind| *kind == ControlType::LeaderChange).count() >= 1);
    }
}
