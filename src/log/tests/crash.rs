use proptest::prelude::*;

use super::*;
use crate::env::memory::SECTOR_BYTES;
use crate::log::epochs::Epochs;
use crate::log::segment::{Kind, path};
use crate::log::sync::EPOCHS_NAME;
use crate::log::transactions::AbortedTransaction;
use crate::protocol::records::control::ControlType;

/// A log of a few segments, all of it written and nothing promised.
async fn written(env: &MemoryEnv, batches: i64) -> Vec<Batch> {
    let (mut log, _) = open(env, &small(), unclean(Offset(0))).await.unwrap();
    for n in 0..batches {
        append(&mut log, &numbered(Some((n % 3, (n / 3 * 2) as i32)), 2, 40 + n as usize * 7, n));
        if n == 0 {
            // Until then it does not roll.
            sync(&mut log).await;
        }
    }
    log.write_index().unwrap();
    all(&log).await
}

fn active_log(env: &MemoryEnv) -> std::path::PathBuf {
    let paths = env.disk().paths();
    let mut logs = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.next_back().unwrap()
}

/// Opens twice: the second time finds what the first one left, and cuts nothing more.
async fn reopened(env: &MemoryEnv, known: Known) -> Vec<Batch> {
    let (log, _) = open(env, &small(), known).await.unwrap();
    let (found, producers) = (all(&log).await, log.producers().clone());
    assert_eq!(log.durable_end(), log.end(), "what recovery keeps is synced");
    drop(log);
    let lost = env.with_disk(env.disk().after_power_loss(|_| 0));
    let (log, again) = open(&lost, &small(), known).await.unwrap();
    assert_eq!((all(&log).await, again.cut_bytes), (found.clone(), 0));
    assert_eq!(log.producers(), &producers);
    found
}

fn whole_below(batches: &[Batch], bytes: usize, base: Offset) -> usize {
    let before = batches.iter().take_while(|batch| batch.base_offset() < base).count();
    let mut left = bytes;
    let fits = |batch: &&Batch| match left.checked_sub(batch.size_bytes() as usize) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    before + batches[before..].iter().take_while(fits).count()
}

#[test]
fn every_prefix_of_the_last_segment_opens_to_its_whole_batches() {
    run(async {
        let env = memory();
        let batches = written(&env, 24).await;
        let file = active_log(&env);
        let bytes = env.disk().contents(&file).unwrap();
        let (base, _) =
            crate::log::segment::parse_name(file.file_name().unwrap().to_str().unwrap()).unwrap();
        assert!(base > Offset(0) && bytes.len() > 500);
        for len in 0..=bytes.len() {
            let cut = env.with_disk(env.disk().copy());
            cut.disk().put(&file, bytes[..len].to_vec());
            let found = reopened(&cut, unclean(Offset(0))).await;
            assert_eq!(found, batches[..whole_below(&batches, len, base)], "cut to {len}");
        }
    });
}

#[test]
fn every_torn_sector_of_an_unsynced_log_ends_it_there() {
    run(async {
        let env = memory();
        let batches = written(&env, 24).await;
        for file in
            env.disk().paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "log"))
        {
            let bytes = env.disk().contents(&file).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            let (base, _) = crate::log::segment::parse_name(name).unwrap();
            for start in (0..bytes.len()).step_by(SECTOR_BYTES) {
                for fill in [0x00, 0xff, 0x5a] {
                    let mut torn = bytes.clone();
                    let end = torn.len().min(start + SECTOR_BYTES);
                    torn[start..end].fill(fill);
                    let lost = env.with_disk(env.disk().copy());
                    lost.disk().put(&file, torn);
                    let found = reopened(&lost, unclean(Offset(0))).await;
                    assert_eq!(found, batches[..whole_below(&batches, start, base)]);
                }
            }
        }
    });
}

#[test]
fn damage_below_the_recovery_point_is_reported_and_cuts_nothing() {
    run(async {
        let env = memory();
        let batches = written(&env, 24).await;
        let end = batches.last().unwrap().next_offset();
        let file = active_log(&env);
        let bytes = env.disk().contents(&file).unwrap();
        // The last batch, of which the index says nothing yet.
        let mut rotten = bytes.clone();
        *rotten.last_mut().unwrap() ^= 1;
        let short = bytes[..bytes.len() - 1].to_vec();
        for damaged in [rotten, short] {
            let env = env.with_disk(env.disk().copy());
            env.disk().put(&file, damaged.clone());
            let point = Offset(end.0 + 2);
            let Err(OpenError::Damaged { at, recovery_point, what, .. }) =
                open(&env, &small(), unclean(point)).await
            else {
                panic!("damage is reported")
            };
            assert_eq!(at, batches.last().unwrap().base_offset(), "{what}");
            assert_eq!(recovery_point, point);
            assert_eq!(env.disk().contents(&file).unwrap(), damaged);
        }
        // All of it gone.
        let empty = memory();
        let missing = open(&empty, &small(), unclean(Offset(5))).await;
        assert!(matches!(missing, Err(OpenError::Damaged { .. })));
    });
}

#[test]
fn a_missing_index_is_made_again_as_it_was() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        for n in 0..40 {
            append(&mut log, &batch(2, 120, n));
            sync(&mut log).await;
        }
        let bases: Vec<Offset> = log.closed.iter().map(|closed| closed.base).collect();
        assert!(bases.len() > 1);
        let known = close(log).await;
        for base in bases {
            for kind in [Kind::Index, Kind::TimeIndex] {
                let file = path(Path::new(DIR), base, kind);
                let before = env.disk().contents(&file).unwrap();
                env.disk().remove(&file).unwrap();
                let (_, report) = open(&env, &small(), known).await.unwrap();
                assert_eq!(report.rebuilt_indexes, [base]);
                assert_eq!(env.disk().contents(&file).unwrap(), before);
            }
        }
    });
}

#[test]
fn an_index_that_was_made_in_part_is_made_again() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        for n in 0..40 {
            append(&mut log, &batch(2, 120, n));
            sync(&mut log).await;
        }
        let (first, last) = (log.closed[0].base, log.active.base);
        let known = close(log).await;
        let files = |base| [Kind::Index, Kind::TimeIndex].map(|k| path(Path::new(DIR), base, k));
        let contents = |env: &MemoryEnv| {
            [first, last].map(|base| files(base).map(|file| env.disk().contents(&file).unwrap()))
        };
        let before = contents(&env);
        let disk = env.disk().copy();
        for base in [first, last] {
            for room in 0..200 {
                for gone in [&files(base)[..], &files(base)[..1], &files(base)[1..]] {
                    let env = env.with_disk(disk.copy());
                    gone.iter().for_each(|file| env.disk().remove(file).unwrap());
                    env.disk().set_space(Some(room));
                    let opened = open(&env, &small(), Known { clean: false, ..known }).await;
                    drop(opened);
                    env.disk().set_space(None);
                    open(&env, &small(), Known { clean: false, ..known }).await.unwrap();
                    assert!(contents(&env) == before, "room for {room} bytes");
                }
            }
        }
    });
}

#[test]
fn what_an_index_says_past_the_recovery_point_is_forgotten() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        for n in 0..4 {
            append(&mut log, &batch(2, 200, n));
        }
        let known = Known { clean: false, ..close(log).await };
        for kind in [Kind::Index, Kind::TimeIndex] {
            let file = path(Path::new(DIR), Offset(0), kind);
            let sound = env.disk().contents(&file).unwrap();
            // Of a batch that a power loss took: a later one, and noise.
            let lost = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 99].repeat(2);
            env.disk().put(&file, [&sound[..], &lost[..]].concat());
            let (log, _) = open(&env, &small(), known).await.unwrap();
            assert_eq!(log.end(), known.recovery_point);
            assert_eq!(env.disk().contents(&file).unwrap(), sound, "{kind:?}");
        }
    });
}

#[test]
fn junk_behind_a_segment_that_goes_on_in_the_next_costs_nothing() {
    run(async {
        let env = memory();
        let batches = written(&env, 24).await;
        let first = path(Path::new(DIR), Offset(0), Kind::Log);
        let sound = env.disk().contents(&first).unwrap();
        for junk in [&[0][..], &[0; 100], &[7; 100], &sound[..70]] {
            env.disk().put(&first, [&sound[..], junk].concat());
            assert_eq!(reopened(&env, unclean(Offset(0))).await, batches);
            assert!(env.disk().contents(&first).unwrap() == sound);
        }
    });
}

#[test]
fn junk_behind_the_segment_before_the_recovery_point_costs_nothing() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(2, 1200, 0));
        sync(&mut log).await;
        append(&mut log, &batch(2, 1200, 0));
        let (expected, next) = (all(&log).await, log.active.base);
        assert_eq!(next, Offset(2), "it has rolled");
        let known = close(log).await;
        let first = path(Path::new(DIR), Offset(0), Kind::Log);
        let sound = env.disk().contents(&first).unwrap();
        for known in [unclean(next), Known { clean: false, ..known }, known] {
            for junk in [&[0][..], &[0; 100], &[7; 100], &sound[..70]] {
                env.disk().put(&first, [&sound[..], junk].concat());
                env.disk().remove(&path(Path::new(DIR), Offset(0), Kind::TimeIndex)).unwrap();
                assert_eq!(reopened(&env, known).await, expected);
                assert!(env.disk().contents(&first).unwrap() == sound);
            }
        }
    });
}

#[test]
fn a_torn_batch_says_nothing_of_epochs() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(2, 50, 0));
        log.begin_epoch(LeaderEpoch(4));
        append_at(&mut log, &batch(2, 50, 1), 4);
        let (known, epochs) = (close(log).await, [(0, 0), (4, 2)]);
        let file = path(Path::new(DIR), Offset(0), Kind::Log);
        let sound = env.disk().contents(&file).unwrap();
        // As after a power loss that took the sector with the end of its base offset.
        let mut torn = sound[..sound.len() / 2].to_vec();
        torn[..8].copy_from_slice(&1i64.to_be_bytes());
        torn[12..16].copy_from_slice(&9i32.to_be_bytes());
        env.disk().put(&file, [&sound[..], &torn].concat());
        env.disk().remove(&Path::new(DIR).join(EPOCHS_NAME)).unwrap();
        let (log, _) = open(&env, &small(), Known { clean: false, ..known }).await.unwrap();
        let epochs = epochs.map(|(epoch, start)| (LeaderEpoch(epoch), Offset(start)));
        assert_eq!(log.told_epochs(), epochs);
    });
}

#[test]
fn a_log_of_another_topic_is_refused() {
    run(async {
        let env = memory();
        drop(open(&env, &small(), unclean(Offset(0))).await.unwrap());
        let other = Uuid([1; 16]);
        let known = unclean(Offset(0));
        let config = Arc::new(small());
        let opened = Log::open(env, Path::new(DIR), other, config, known, 0).await;
        assert!(matches!(opened, Err(OpenError::Identity { found: ID, .. })));
    });
}

fn in_transaction(id: i64, control: Option<ControlType>) -> Batch {
    let (id, base_sequence) = (ProducerId(id), if control.is_some() { -1 } else { 0 });
    let producer = Some(build::Producer { id, epoch: 0, base_sequence });
    let control_batch = control.is_some();
    let mut builder = BatchBuilder::new(BatchOptions {
        producer,
        transactional: true,
        control: control_batch,
        ..BatchOptions::default()
    });
    match control {
        Some(kind) => builder.push_control(kind, 5, Bytes::from_static(&[0, 0, 0, 0, 0, 1])),
        None => builder.push(NewRecord { timestamp_ms: 5, ..NewRecord::default() }),
    }
    builder.build_batch()
}

#[test]
fn aborted_and_open_transactions_are_known_after_a_power_loss_that_took_their_index() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(1, 10, 0));
        append(&mut log, &in_transaction(1, None));
        append(&mut log, &in_transaction(2, None));
        let abort = in_transaction(1, Some(ControlType::Abort));
        log.append_as_leader(&abort, LeaderEpoch(0), Origin::Coordinator, 0).unwrap();
        append(&mut log, &batch(1, 10, 0));
        sync(&mut log).await;
        let index = path(Path::new(DIR), Offset(0), Kind::TxnIndex);
        let written = env.disk().contents(&index).unwrap();
        assert_eq!(written.len(), 34);
        for known in [unclean(Offset(0)), unclean(Offset(3)), unclean(Offset(4))] {
            // The entry is durable only once the recovery point is past the marker.
            let lost = match known.recovery_point {
                Offset(4) => env.with_disk(env.disk().copy()),
                _ => env.with_disk(env.disk().after_power_loss(|_| 0)),
            };
            let (log, _) = open(&lost, &small(), known).await.unwrap();
            assert_eq!(lost.disk().contents(&index).unwrap(), written);
            assert_eq!(log.last_stable(log.end()), Offset(2), "producer 2 is in a transaction");
            let (from, limit) = (Offset(0), log.end());
            let wanted = Wanted { from, limit, bytes_max: 9999, at_least_one: true, aborted: true };
            let aborted = log.read(&wanted).unwrap().resolve().await.unwrap().aborted;
            let entry = AbortedTransaction {
                producer: ProducerId(1),
                first: Offset(1),
                last: Offset(3),
                last_stable: Offset(2),
            };
            assert_eq!(aborted, [entry]);
        }
    });
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(u8),
    Sync,
    /// A sync begins, and the power goes before it ends or after.
    BeginSync,
    Checkpoint,
    /// The owner writes the checkpoint file.
    Publish,
    Truncate(u8),
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Append),
        3 => Just(Step::Sync),
        1 => Just(Step::BeginSync),
        2 => Just(Step::Checkpoint),
        2 => Just(Step::Publish),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => Just(Step::PowerLoss),
    ]
}

/// Runs the steps, loses the power at the end too, and opens what is left each time.
async fn survives(steps: Vec<Step>, seed: u64) {
    let mut env = memory();
    let mut random = seed | 1;
    let mut draw = move |bound: u32| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as u32 % bound
    };
    let mut epoch = 0;
    let (mut published, mut begun) = (Offset(0), None);
    let mut unsynced_truncation: Option<Vec<Batch>> = None;
    let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
    for step in steps {
        match step {
            Step::Append(n) => {
                if unsynced_truncation.is_some() {
                    if let Some(end) = begun.take() {
                        log.on_synced(end);
                    }
                    sync(&mut log).await;
                    unsynced_truncation = None;
                }
                let stamp = i64::from(n);
                append_at(
                    &mut log,
                    &batch(1 + usize::from(n % 4), 30 + 5 * usize::from(n), stamp),
                    epoch,
                );
            }
            Step::Sync if begun.is_none() => {
                sync(&mut log).await;
                unsynced_truncation = None;
            }
            Step::BeginSync if begun.is_none() => {
                let mut round = Round::default();
                begun = log.begin_sync(&mut round);
                if begun.is_some() {
                    carry_out(&log, round).await;
                }
            }
            Step::Sync | Step::BeginSync => {
                log.on_synced(begun.take().unwrap());
            }
            Step::PowerLoss => {
                log = lose_power(&mut env, log, published, unsynced_truncation.take(), &mut draw)
                    .await;
                begun = None;
            }
            Step::Checkpoint => checkpoint(&mut log).await,
            Step::Publish => published = log.recovery_point(),
            Step::Truncate(n) => {
                let to = Offset(log.start().0 + i64::from(n) % (log.end().0 - log.start().0 + 1));
                // As the contract asks: the recovery point goes down on the disk first.
                published = published.min(to);
                if let Some(truncation) = log.begin_truncate(to).unwrap() {
                    let before = all(&log).await;
                    unsynced_truncation.get_or_insert(before);
                    let cut = truncation.resolve().await.unwrap();
                    published = published.min(cut.end());
                    log.truncate(cut, 0).unwrap();
                    epoch += 1;
                }
            }
        }
    }
    lose_power(&mut env, log, published, unsynced_truncation, &mut draw).await;
}

/// What is left is a prefix of what was written, with all that was synced.
async fn lose_power(
    env: &mut MemoryEnv,
    log: Log<MemoryEnv>,
    published: Offset,
    unsynced_truncation: Option<Vec<Batch>>,
    draw: &mut impl FnMut(u32) -> u32,
) -> Log<MemoryEnv> {
    let (durable, mut before) = (log.durable_end(), all(&log).await);
    if let Some(longer) = unsynced_truncation {
        assert!(longer.starts_with(&before));
        before = longer;
    }
    *env = env.with_disk(env.disk().after_power_loss(draw));
    let (log, _) = match open(env, &small(), unclean(published)).await {
        Ok(opened) => opened,
        Err(error) => panic!("{error}"),
    };
    let after = all(&log).await;
    assert!(log.end() >= durable, "{} kept of {durable} synced", log.end());
    assert!(before.starts_with(&after), "a prefix of what was written");
    let mut expected = Epochs::default();
    for batch in &after {
        expected.assign(batch.leader_epoch(), batch.base_offset());
    }
    assert_eq!(log.epochs(), &expected, "the epochs of what is left");
    log
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_loss_leaves_a_prefix_that_holds_all_that_was_synced(
        steps in proptest::collection::vec(step(), 0..40),
        seed in any::<u64>(),
    ) {
        run(survives(steps, seed));
    }
}
