//! When snapshots of the metadata are written, and what they let go of.

use super::*;
use crate::protocol::error::ErrorCode;

/// Names of complete snapshots, or of segments, oldest first.
fn files(env: &MemoryEnv, suffix: &str) -> Vec<String> {
    let paths = env.disk().paths();
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    names.filter(|name| name.ends_with(suffix)).map(str::to_owned).collect()
}

fn snapshots(env: &MemoryEnv) -> Vec<String> {
    files(env, ".checkpoint")
}

/// The controller writes its snapshots after it has answered.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_snapshot_is_written_when_enough_was_appended() {
    let env = world();
    let node = start_node_with(&env, 1, |options| options.snapshot_after_bytes = 3000).await;
    let bootstrap = SnapshotId::BOOTSTRAP.to_string();
    assert_eq!(snapshots(&env), [&*bootstrap]);
    let mut created = 0;
    while snapshots(&env).len() == 1 {
        assert_eq!(node.create(&format!("topic-{created}")).await, 0);
        settle().await;
        created += 1;
        assert!(created < 100, "3000 bytes are not so many topics");
    }
    assert!(created > 3, "not for each of them: {created}");
    let first = snapshots(&env);
    assert_eq!(node.create("one-more").await, 0);
    settle().await;
    assert_eq!(snapshots(&env), first, "it counts from the last one");
    for n in 0..2 * created {
        assert_eq!(node.create(&format!("later-{n}")).await, 0);
        settle().await;
    }
    assert!(snapshots(&env).len() > first.len());
}

#[tokio::test]
async fn a_snapshot_is_written_after_a_time_if_anything_changed() {
    let (env, held) = MemoryEnv::held(TokioEnv::new(tokio::runtime::Handle::current()));
    let minute = Duration::from_secs(60);
    let node = start_node_with(&env, 1, |options| options.snapshot_interval = Some(minute)).await;
    assert_eq!(node.create("a").await, 0);
    settle().await;
    assert_eq!(snapshots(&env).len(), 1, "too early");
    held.advance(minute);
    settle().await;
    assert_eq!(snapshots(&env).len(), 1, "an idle controller leaves its disk alone");
    assert_eq!(node.create("b").await, 0);
    settle().await;
    assert_eq!(snapshots(&env).len(), 2);
    assert_eq!(node.create("c").await, 0);
    settle().await;
    assert_eq!(snapshots(&env).len(), 2, "not so soon again");
}

#[tokio::test]
async fn a_snapshot_that_found_no_room_is_written_after_the_next_commit() {
    let env = world();
    let node = start_node_with(&env, 1, |options| options.snapshot_after_bytes = 1).await;
    assert_eq!(node.create("a").await, 0);
    settle().await;
    let before = snapshots(&env);
    // Enough for the log, and not for a snapshot, which says everything again.
    env.disk().set_space(Some(1000));
    assert_eq!(node.create("b").await, 0);
    settle().await;
    assert_eq!(snapshots(&env), before);
    assert_eq!(files(&env, ".part"), [""; 0], "what was cut short is gone");
    assert_eq!(node.create("refused").await, ErrorCode::KafkaStorageError.code());
    env.disk().set_space(None);
    assert_eq!(node.create("c").await, 0, "the controller goes on");
    settle().await;
    assert!(snapshots(&env).len() > before.len());
    assert!(node.topic("refused").is_none() && node.topic("b").is_some());
}

/// Writes `count` snapshots, with changes between them, over a log of small segments.
async fn written(env: &MemoryEnv, count: usize, set: impl FnOnce(&mut Options)) -> Node {
    let node = start_node_with(env, 1, |options| {
        options.log.segment_bytes = 500;
        set(options);
    })
    .await;
    for n in 0..count {
        for name in ["a", "b", "c"] {
            assert_eq!(node.create(&format!("{name}-{n}")).await, 0);
        }
        write_snapshot(&node.started.quorum, &node.image()).await.unwrap();
    }
    node
}

/// What a start finds is what there was.
async fn check_restart(env: &MemoryEnv, node: Node) {
    node.started.quorum.close().await.unwrap();
    node.committer.close().await.unwrap();
    let (again, _) = try_start(&env.with_disk(env.disk().copy())).await.unwrap();
    assert!(again.image.says_the_same(&node.image()));
}

#[tokio::test]
async fn without_a_bound_every_snapshot_and_all_of_the_log_stay() {
    let env = world();
    let node = written(&env, 4, |_| ()).await;
    assert_eq!(snapshots(&env).len(), 5);
    assert_eq!(files(&env, ".log")[0], "00000000000000000000.log");
    check_restart(&env, node).await;
}

#[tokio::test]
async fn too_large_a_log_is_cut_up_to_its_last_snapshot() {
    let env = world();
    let node = written(&env, 4, |options| options.retention_bytes = Some(1)).await;
    let last = node.started.quorum.latest_snapshot().unwrap();
    assert_eq!(snapshots(&env), [last.to_string()], "the last one stays, however large");
    let oldest = &files(&env, ".log")[0];
    assert!(**oldest > *"00000000000000000000.log", "segments below it are gone");
    check_restart(&env, node).await;
}

#[tokio::test]
async fn snapshots_go_when_they_are_too_old_and_others_follow_them() {
    let env = world();
    let hour_ms = 3_600_000;
    env.disk().set_modified_ms(env.clock().wall_ms() - hour_ms);
    let node = written(&env, 3, |options| options.retention_ms = Some(2 * hour_ms as u64)).await;
    assert_eq!(snapshots(&env).len(), 4, "they are young enough");
    env.disk().set_modified_ms(env.clock().wall_ms() - 3 * hour_ms);
    node.started.quorum.retain().await.unwrap();
    let last = node.started.quorum.latest_snapshot().unwrap();
    assert_eq!(snapshots(&env), [last.to_string()]);
    check_restart(&env, node).await;
}
