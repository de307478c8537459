//! The metadata logs of a real Kafka: opened in place, they say what clients saw; a snapshot of
//! ours and what follows say the same; and the log goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use ottla::config::layers::Layers;
use ottla::controller::brokers::{self, Registration};
use ottla::controller::driver::{Options, Started, start, write_snapshot};
use ottla::controller::operation::{Context, Settings};
use ottla::env::tokio::TokioEnv;
use ottla::log::LogConfig;
use ottla::log::commit::Committer;
use ottla::metadata::image::{ConfigResource, Image};
use ottla::quorum::raft;
use ottla::quorum::snapshot::SnapshotId;
use ottla::quorum::voters::VoterEndpoint;
use ottla::types::{LeaderEpoch, NodeId, Offset, Uuid};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

struct Golden {
    dir: tempfile::TempDir,
    expected: Value,
}

impl Golden {
    fn unpack(name: &str) -> Golden {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let dir = tempfile::tempdir().unwrap();
        let archive = fs::File::open(golden.join(format!("{name}.tar.gz"))).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().into_owned();
            if path.components().count() < 3 || path.starts_with("data/__cluster_metadata-0") {
                entry.unpack_in(dir.path()).unwrap();
            }
        }
        let text = fs::read_to_string(golden.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        Golden { dir, expected: expected[name].clone() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

fn registration(incarnation: u8) -> Registration {
    Registration {
        id: NodeId(1),
        incarnation: Uuid([incarnation; 16]),
        endpoints: vec![],
        rack: None,
        directories: vec![directory_id()],
        stopped_in: None,
    }
}

fn directory_id() -> Uuid {
    Uuid::parse("dNSyhqcwRnafEM9FIKcE8A").unwrap()
}

async fn open(data: &Path, directory_id: Uuid) -> (Started<TokioEnv>, Committer<TokioEnv>) {
    let env = TokioEnv::new(tokio::runtime::Handle::current());
    let committer = Committer::start(&env, data, directory_id);
    let settings = Settings {
        node: NodeId(1),
        layers: Layers::default(),
        num_partitions: 1,
        default_replication_factor: 1,
        delete_topics: true,
    };
    let (name, host) = ("CONTROLLER".to_owned(), "127.0.0.1".to_owned());
    let options = Options {
        metadata_dir: data.to_owned(),
        directory_id,
        endpoints: vec![VoterEndpoint { name, host, port: 49193 }],
        raft: raft::Options {
            election_timeout: SECOND,
            fetch_timeout: SECOND,
            election_backoff_max: SECOND,
        },
        log: LogConfig { retention_ms: None, ..LogConfig::default() },
        retention_bytes: None,
        retention_ms: None,
        snapshot_after_bytes: u64::MAX,
        snapshot_interval: None,
        settings,
    };
    (start(&env, committer.clone(), options).await.unwrap(), committer)
}

fn check(image: &Image, expected: &Value) {
    let entries = |field: &str| expected[field].as_object().unwrap().clone();
    for (topic, id) in entries("topic_ids") {
        let id = Uuid::parse(id.as_str().unwrap()).unwrap();
        assert_eq!(image.topic(&topic).unwrap().id, id, "{topic}");
    }
    let visible = image.topic_ids.keys().filter(|name| !name.starts_with("__")).count();
    assert_eq!(visible, entries("topic_ids").len());
    for (topic, partitions) in entries("topics") {
        let held = image.topic(&topic).unwrap();
        assert_eq!(held.partitions.len(), partitions.as_object().unwrap().len(), "{topic}");
    }
    for (topic, configs) in entries("topic_configs") {
        let held = image.config(&ConfigResource::topic(&topic));
        let held: serde_json::Map<String, Value> =
            held.iter().map(|(name, value)| (name.to_string(), (**value).into())).collect();
        assert_eq!(Value::Object(held), configs, "{topic}");
    }
    for (broker, configs) in entries("broker_configs") {
        let held = image.config(&ConfigResource::new(ConfigResource::BROKER, &broker));
        for (name, value) in configs.as_object().unwrap() {
            assert_eq!(held.get(name.as_str()).map(|held| &**held), value.as_str(), "{name}");
        }
    }
    let users = entries("scram_users");
    let mechanisms: usize = users.values().map(|user| user.as_object().unwrap().len()).sum();
    assert_eq!(image.kept.credentials.len(), mechanisms);
    for ((user, mechanism), credential) in image.kept.credentials.iter() {
        let name = ["", "SCRAM_SHA_256", "SCRAM_SHA_512"][*mechanism as usize];
        assert_eq!(users[&**user][name], credential.iterations);
    }
    let quotas = entries("client_quotas");
    assert_eq!(image.kept.quotas.len(), quotas.len());
    for (entity, rates) in image.kept.quotas.iter() {
        let part = |(kind, name): (&Arc<str>, &Option<Arc<str>>)| {
            format!("{kind}={}", name.as_deref().unwrap_or("<default>"))
        };
        let mut parts: Vec<String> = entity.0.iter().map(part).collect();
        parts.sort_by(|a, b| b.cmp(a));
        let expected = quotas[&parts.join(",")].as_object().unwrap();
        assert_eq!(rates.len(), expected.len());
        for (key, rate) in rates.iter() {
            assert_eq!(expected[&**key], rate.0);
        }
    }
}

async fn opens_and_goes_on(name: &str) {
    let golden = Golden::unpack(name);
    let before: Vec<String> = listed(&golden.data());
    let (first, committer) = open(&golden.data(), directory_id()).await;
    check(&first.image, &golden.expected);
    assert_eq!(first.image.feature("metadata.version"), 33);
    let epoch = first.quorum.describe().epoch;
    assert!(epoch > LeaderEpoch(1), "a new epoch for a new leader");
    let after = listed(&golden.data());
    let holds_records = |file: &&String| file.ends_with(".log") || file.ends_with(".checkpoint");
    for file in before.iter().filter(holds_records) {
        assert!(after.contains(file), "{file} is gone without need");
    }

    // A broker comes, and everything is led again.
    let register = |context: &mut Context<'_>| brokers::register(context, &registration(7));
    let registered = first.controller.commit("register", SECOND * 9, register).await.unwrap();
    let epoch = registered.0.unwrap();
    let unfence = move |context: &mut Context<'_>| brokers::unfence(context, NodeId(1), epoch);
    let (unfenced, end) = first.controller.commit("unfence", SECOND * 9, unfence).await.unwrap();
    unfenced.unwrap();
    let image = committed_image(first, end).await;
    for topic in image.topics.values() {
        for partition in topic.partitions.values() {
            assert_eq!(partition.leader, Some(NodeId(1)), "{}", topic.name);
            assert_eq!(partition.isr, [NodeId(1)]);
        }
    }
    check(&image, &golden.expected);
    committer.close().await.unwrap();

    // From the log alone, and from a snapshot of ours.
    let (second, committer) = open(&golden.data(), directory_id()).await;
    assert!(second.image.says_the_same(&image), "{:#?}\n{image:#?}", second.image);
    write_snapshot(&second.quorum, &second.image).await.unwrap();
    committer.close().await.unwrap();
    let (third, _committer) = open(&golden.data(), directory_id()).await;
    assert_eq!(third.quorum.latest_snapshot().unwrap().end, second.image.provenance.end);
    assert!(third.image.says_the_same(&image));
    check(&third.image, &golden.expected);
}

async fn committed_image(mut started: Started<TokioEnv>, end: Offset) -> Arc<Image> {
    loop {
        let (_, image) = started.updates.next().await.unwrap();
        if image.provenance.end >= end {
            return image;
        }
    }
}

fn listed(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("__cluster_metadata-0")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn kafkas_metadata_after_a_clean_stop() {
    opens_and_goes_on("clean").await;
}

#[tokio::test]
async fn kafkas_metadata_after_a_kill() {
    opens_and_goes_on("killed").await;
}

#[tokio::test]
async fn a_new_cluster_is_formatted_as_kafka_formats_one() {
    let dir = tempfile::tempdir().unwrap();
    let (started, committer) = open(dir.path(), Uuid([7; 16])).await;
    let image = &started.image;
    assert_eq!(image.feature("metadata.version"), 27);
    assert_eq!(image.broker_config(NodeId(1), "min.insync.replicas"), Some("1"));
    let description = started.quorum.describe();
    assert_eq!(description.voters[0].key.directory, Some(Uuid([7; 16])));
    assert_eq!(description.endpoints[0].endpoints[0].port, 49193);
    let files = listed(dir.path());
    assert!(files.contains(&SnapshotId::BOOTSTRAP.to_string()), "{files:?}");
    assert!(files.contains(&"quorum-state".to_owned()), "{files:?}");
    committer.close().await.unwrap();
    let (again, _committer) = open(dir.path(), Uuid([7; 16])).await;
    assert!(again.image.says_the_same(image), "the first records are written once");
}
