//! Kafka's batches, appended by us one by one, make Kafka's files, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ottla::env::tokio::TokioEnv;
use ottla::log::commit::Round;
use ottla::log::identity::{self, IDENTITY_NAME};
use ottla::log::recovery::Known;
use ottla::log::{Log, LogConfig, sync};

use super::golden::{Golden, consume, files};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Partitions that were written once and never cleaned, with their options.
const PARTITIONS: [(&str, u32, u64); 9] = [
    ("plain-0", 1 << 20, 7 * DAY_MS),
    ("plain-1", 1 << 20, 7 * DAY_MS),
    ("plain-2", 1 << 20, 7 * DAY_MS),
    ("transactional-0", 1 << 30, 250),
    ("transactional-1", 1 << 30, 250),
    ("transactional-java-0", 1 << 30, 7 * DAY_MS),
    ("broker-zstd-0", 1 << 30, 7 * DAY_MS),
    ("recreated-0", 1 << 30, 7 * DAY_MS),
    ("recreated-1", 1 << 30, 7 * DAY_MS),
];

/// Producers come in any order, and so does the checksum over them.
fn comparable(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(dir);
    for (name, bytes) in &mut files {
        if name.ends_with(".snapshot") {
            let mut producers: Vec<&[u8]> = bytes[10..].chunks(46).collect();
            producers.sort();
            *bytes = [&bytes[..2], &bytes[6..10], &producers.concat()].concat();
        }
    }
    files
}

async fn rewrite(golden: &Golden, partition: &str, config: LogConfig) -> tempfile::TempDir {
    let (log, _) = golden.open(partition).await;
    let batches = consume(&log, false).await;
    assert!(!batches.is_empty());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(partition);
    let id = golden.data().join(partition).join(IDENTITY_NAME);
    let id = identity::parse(&fs::read_to_string(id).unwrap()).unwrap();
    let env = TokioEnv::new(tokio::runtime::Handle::current());
    let known = Known::default();
    let now_ms = 1_900_000_000_000;
    let opened = Log::open(env.clone(), &path, id, Arc::new(config), known, now_ms).await;
    let (mut log, _) = opened.unwrap();
    for batch in batches {
        log.append_as_follower(&[batch], now_ms).unwrap();
        let end = log.begin_sync(&mut Round::default()).unwrap();
        log.on_synced(end);
    }
    let checkpoint = log.begin_close().unwrap().unwrap();
    sync::carry_out(&env, dir.path(), &mut vec![checkpoint]).await.unwrap();
    dir
}

#[tokio::test]
async fn our_files_are_the_files_that_kafka_wrote() {
    let golden = Golden::unpack("clean");
    for (partition, segment_bytes, segment_ms) in PARTITIONS {
        let config = LogConfig {
            segment_bytes,
            segment_ms,
            segment_index_bytes: 4096,
            ..LogConfig::default()
        };
        let dir = rewrite(&golden, partition, config).await;
        let ours = comparable(&dir.path().join(partition));
        let kafkas = comparable(&golden.data().join(partition));
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&kafkas), "{partition}");
        for (name, bytes) in &kafkas {
            if name == IDENTITY_NAME {
                // Ours has a checksum behind it.
                assert!(ours[name].starts_with(bytes), "{partition}/{name} differs");
                continue;
            }
            assert!(&ours[name] == bytes, "{partition}/{name} differs");
        }
    }
}
