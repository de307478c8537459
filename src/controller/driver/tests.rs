//! The controller over a disk that loses what was not synced.

use std::path::Path;

use super::*;
use crate::controller::brokers;
use crate::controller::testing::World;
use crate::env::memory::{MemoryDisk, MemoryEnv};
use crate::env::tokio::TokioEnv;
use crate::metadata::topic::Topic;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::wire::Text;
use crate::types::BrokerEpoch;

const DIR: &str = "/data";

fn world() -> MemoryEnv {
    MemoryEnv::new(TokioEnv::new(tokio::runtime::Handle::current()))
}

struct Node {
    started: Started<MemoryEnv>,
    committer: Committer<MemoryEnv>,
    epoch: BrokerEpoch,
}

async fn try_start(
    env: &MemoryEnv,
) -> Result<(Started<MemoryEnv>, Committer<MemoryEnv>), StartError> {
    try_start_with(env, |_| ()).await
}

async fn try_start_with(
    env: &MemoryEnv,
    set: impl FnOnce(&mut Options),
) -> Result<(Started<MemoryEnv>, Committer<MemoryEnv>), StartError> {
    use crate::env::disk::Disk;
    env.disk().create_dir_all(Path::new(DIR)).unwrap();
    let directory_id = Uuid([101; 16]);
    let committer = Committer::start(env, Path::new(DIR), directory_id);
    let second = Duration::from_secs(1);
    let name = "CONTROLLER".to_owned();
    let endpoint = VoterEndpoint { name, host: "localhost".to_owned(), port: 9093 };
    let mut options = Options {
        metadata_dir: DIR.into(),
        directory_id,
        endpoints: vec![endpoint],
        raft: raft::Options {
            election_timeout: second,
            fetch_timeout: second,
            election_backoff_max: second,
        },
        log: LogConfig { retention_ms: None, ..LogConfig::default() },
        retention_bytes: None,
        retention_ms: None,
        snapshot_after_bytes: u64::MAX,
        snapshot_interval: None,
        settings: World::empty().settings,
    };
    set(&mut options);
    Ok((start(env, committer.clone(), options).await?, committer))
}

/// Starts the controller, and a broker that publishes everything at once.
async fn start_node(env: &MemoryEnv, incarnation: u8) -> Node {
    start_node_with(env, incarnation, |_| ()).await
}

async fn start_node_with(env: &MemoryEnv, incarnation: u8, set: impl FnOnce(&mut Options)) -> Node {
    let (mut started, committer) = try_start_with(env, set).await.unwrap();
    let (publisher, metadata) = published(Arc::default());
    let publisher = std::mem::replace(&mut started.publisher, publisher);
    let updates = watch::channel(Arc::default()).1;
    let mut updates = std::mem::replace(&mut started.updates, Subscription::new(updates));
    drop(metadata);
    tokio::spawn(async move {
        while let Some((_, image)) = updates.next().await {
            publisher.publish(image);
        }
    });
    let registration = World::registration(incarnation);
    let second = Duration::from_secs(5);
    let register = move |context: &mut Context<'_>| brokers::register(context, &registration);
    let epoch = started.controller.write("register", second, register).await.unwrap().unwrap();
    let unfence = move |context: &mut Context<'_>| brokers::unfence(context, NodeId(1), epoch);
    started.controller.write("unfence", second, unfence).await.unwrap().unwrap();
    Node { started, committer, epoch }
}

use crate::types::NodeId;

impl Node {
    async fn create(&self, name: &str) -> i16 {
        let topic = CreatableTopic {
            name: Text::new(name),
            num_partitions: 2,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let topics = vec![topic];
        let request = CreateTopicsRequest { topics, timeout_ms: 5000, validate_only: false };
        self.started.controller.create_topics(request).await.topics[0].error_code
    }

    fn image(&self) -> Arc<Image> {
        self.started.metadata.image()
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.image().topic(name).cloned()
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_power_loss_at_any_time() {
    let env = world();
    let node = start_node(&env, 1).await;
    let mut disks: Vec<(MemoryDisk, Vec<(String, Uuid)>)> = Vec::new();
    let mut answered = Vec::new();
    for n in 0..12 {
        let name = format!("topic-{n}");
        // Power may go before the answer.
        let creating = node.create(&name);
        tokio::pin!(creating);
        let early = tokio::time::timeout(Duration::ZERO, &mut creating).await;
        disks.push((env.disk().copy(), answered.clone()));
        let code = match early {
            Ok(code) => code,
            Err(_) => creating.await,
        };
        assert_eq!(code, 0);
        answered.push((name.clone(), node.topic(&name).expect("published").id));
        disks.push((env.disk().copy(), answered.clone()));
    }
    let mut seed = 7u32;
    for (disk, answered) in disks {
        let torn = disk.after_power_loss(|bound| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % bound
        });
        let again = start_node(&env.with_disk(torn), 2).await;
        for (name, id) in answered {
            let topic = again.topic(&name).unwrap_or_else(|| panic!("{name} was acknowledged"));
            assert_eq!(topic.id, id);
        }
        assert_eq!(again.create("after").await, 0);
    }
}

#[tokio::test]
async fn a_restart_leads_a_new_epoch_and_registers_anew() {
    let env = world();
    let node = start_node(&env, 1).await;
    assert_eq!(node.create("kept").await, 0);
    let (before, epoch) = (node.started.quorum.describe(), node.epoch);
    node.started.quorum.close().await.unwrap();
    let files = env.disk().paths();
    assert!(files.iter().any(|path| path.ends_with("leader-epoch-checkpoint")), "{files:?}");
    node.committer.close().await.unwrap();
    let again = start_node(&env.with_disk(env.disk().copy()), 2).await;
    let after = again.started.quorum.describe();
    assert_eq!(after.epoch.0, before.epoch.0 + 1);
    assert_eq!(after.leader, Some(NodeId(1)));
    assert!(after.high_watermark > before.high_watermark);
    assert!(again.epoch > epoch);
    assert_eq!(again.topic("kept").unwrap().id, node.topic("kept").unwrap().id);
    assert_eq!(after.voters.len(), 1);
}

#[tokio::test]
async fn a_snapshot_and_the_log_after_it_say_what_the_whole_log_said() {
    let env = world();
    let node = start_node(&env, 1).await;
    for name in ["a", "b.c", "d"] {
        assert_eq!(node.create(name).await, 0);
    }
    write_snapshot(&node.started.quorum, &node.image()).await.unwrap();
    assert_eq!(node.create("later").await, 0);
    node.committer.close().await.unwrap();
    let image = node.image();

    let (again, _) = try_start(&env.with_disk(env.disk().copy())).await.unwrap();
    assert!(again.image.says_the_same(&image), "{:?}\n{image:?}", again.image);
    let snapshot = again.quorum.latest_snapshot().unwrap();
    assert!(snapshot.end > Offset(0));
}

#[tokio::test]
async fn an_operation_that_comes_too_late_is_not_begun() {
    let env = world();
    let node = start_node(&env, 1).await;
    let topics = vec![CreatableTopic { name: Text::new("never"), ..CreatableTopic::default() }];
    let request = CreateTopicsRequest { topics, timeout_ms: 0, validate_only: false };
    let response = node.started.controller.create_topics(request).await;
    assert_eq!(response.topics[0].error_code, 7);
    assert!(node.topic("never").is_none());
}

#[tokio::test]
async fn a_failed_disk_stops_the_controller_and_answers_everyone() {
    let env = world();
    let node = start_node(&env, 1).await;
    node.committer.fail(std::io::Error::other("pulled out"));
    assert_eq!(node.create("lost").await, 41, "NOT_CONTROLLER: the client asks again elsewhere");
    assert!(node.topic("lost").is_none());
}

#[tokio::test]
async fn a_log_of_other_voters_is_not_led() {
    let env = world();
    use crate::env::disk::Disk;
    env.disk().create_dir_all(Path::new(DIR)).unwrap();
    let key = ReplicaKey { id: NodeId(2), directory: Some(Uuid([50; 16])) };
    let other = Voter { key, endpoints: vec![], kraft_versions: 0..=1 };
    driver::open::format(&env, Path::new(DIR), other, vec![]).await.unwrap();
    let refused = try_start(&env).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, StartError::Quorum(QuorumError::NotSoleVoter { .. })), "{refused}");
}

/// A Kafka that led before may have died in the middle of one.
#[tokio::test]
async fn a_transaction_that_was_left_open_is_aborted_before_anything_else() {
    use crate::protocol::messages::begin_transaction_record::BeginTransactionRecord;
    use crate::protocol::messages::topic_record::TopicRecord;
    let env = world();
    let node = start_node(&env, 1).await;
    assert_eq!(node.create("whole").await, 0);
    let begin = BeginTransactionRecord::default().into();
    let half = TopicRecord { name: Text::new("half"), topic_id: Uuid([9; 16]) }.into();
    let level = MetadataVersion::of(&node.image());
    let values = [begin, half].iter().map(|record| encode(record, level).unwrap()).collect();
    let quorum = &node.started.quorum;
    let end = quorum.append(quorum.describe().epoch, values).unwrap();
    quorum.committed().wait_for(|committed| committed.end >= end).await.unwrap();

    for incarnation in 2..4 {
        let again = start_node(&env.with_disk(env.disk().copy()), incarnation).await;
        assert!(again.topic("whole").is_some() && again.topic("half").is_none());
        assert_eq!(again.create("half").await, 0);
        assert_ne!(again.topic("half").unwrap().id, Uuid([9; 16]));
    }
}

mod snapshots;
