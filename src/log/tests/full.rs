//! A full disk: what a log cannot write it writes later, and nothing of it is lost meanwhile.

use std::io::IoSlice;

use super::*;
use crate::env::disk::{File, Open};
use crate::log::segment::{Kind, path};
use crate::log::sync::Checkpoint;
use crate::log::write_error::WriteError;

/// Carries it out, or gives it back to the log when there is no room.
async fn try_checkpoint(log: &mut Log<MemoryEnv>) -> Result<(), WriteError> {
    let begun = log.begin_checkpoint().map_err(WriteError::of_write)?;
    let mut begun: Vec<Checkpoint<MemoryEnv>> = begun.into_iter().collect();
    let env = log.env.clone();
    match sync::carry_out(&env, Path::new("/data"), &mut begun).await {
        Ok(done) => {
            done.into_iter().for_each(|done| log.on_checkpointed(done));
            Ok(())
        }
        Err(error) => {
            begun.into_iter().for_each(|begun| log.on_checkpoint_abandoned(begun));
            Err(error)
        }
    }
}

#[test]
fn a_checkpoint_that_found_no_room_is_made_up_for() {
    run(async {
        // Enough for nothing, for the indexes, and for some of what comes after them.
        for room in [0, 8, 20, 40, 60, 100, 200, 400] {
            let env = memory();
            let config = small();
            let (mut log, _) = open(&env, &config, Known::default()).await.unwrap();
            for n in 0..30 {
                let producer = Some((n / 10, (n % 10) as i32));
                append_at(&mut log, &numbered(producer, 1, 200, n), n as i32 / 7);
            }
            sync(&mut log).await;
            let (before, left) = (log.recovery_point(), env.disk().clone());
            env.disk().set_space(Some(room));
            for _ in 0..3 {
                let Err(error) = try_checkpoint(&mut log).await else { break };
                assert!(matches!(error, WriteError::NoRoom(_)), "{error}");
                assert_eq!(log.recovery_point(), before);
            }
            env.disk().set_space(None);
            append_at(&mut log, &numbered(Some((9, 0)), 1, 200, 31), 5);
            sync(&mut log).await;
            try_checkpoint(&mut log).await.unwrap();
            assert_eq!(log.recovery_point(), log.end(), "room for {room} bytes");

            // Everything that the recovery point vouches for is durable.
            let expected = all(&log).await;
            let oldest = |_| 0;
            let env = env.with_disk(left.after_power_loss(oldest));
            let known = unclean(log.recovery_point());
            let (mut again, report) = open(&env, &config, known).await.unwrap();
            assert_eq!(report.rebuilt_indexes, [], "room for {room} bytes");
            assert_eq!(all(&again).await.len(), expected.len());
            let retried = append_at(&mut again, &numbered(Some((9, 0)), 1, 200, 31), 5);
            assert!(retried.duplicate, "the producers are known");
        }
    });
}

#[test]
fn a_part_of_a_batch_that_found_no_room_is_gone_once_others_are_synced() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), Known::default()).await.unwrap();
        append(&mut log, &batch(2, 1200, 0));
        sync(&mut log).await;
        let path = path(Path::new(DIR), Offset(0), Kind::Log);
        let sound = env.disk().contents(&path).unwrap();
        env.disk().set_space(Some(100));
        log.append_as_leader(&batch(1, 300, 0), LeaderEpoch(0), Origin::Client, 0).unwrap_err();
        env.disk().set_space(None);
        // The system wrote it to the disk before it was taken back.
        let file = env.disk().open(&path, Open::Existing).unwrap();
        file.write_at(sound.len() as u64, &[IoSlice::new(&[7; 100])]).unwrap();
        file.sync().await.unwrap();
        file.set_len(sound.len() as u64).unwrap();
        append(&mut log, &batch(2, 1200, 0));
        assert_eq!(log.active.base, Offset(2), "it has rolled");
        sync(&mut log).await;
        let lost = env.disk().after_power_loss(|_| 0);
        assert!(lost.contents(&path).unwrap() == sound);
    });
}

#[test]
fn a_cut_off_snapshot_of_the_producers_is_not_left_behind() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &LogConfig::default(), Known::default()).await.unwrap();
        for n in 0..5 {
            append(&mut log, &numbered(Some((n, 0)), 1, 1 << 20, n));
        }
        sync(&mut log).await;
        env.disk().set_space(Some(30));
        try_checkpoint(&mut log).await.unwrap_err();
        let snapshots = || {
            let paths = env.disk().paths();
            paths.iter().filter(|path| path.extension().is_some_and(|e| e == "snapshot")).count()
        };
        assert_eq!(snapshots(), 0);
        env.disk().set_space(None);
        try_checkpoint(&mut log).await.unwrap();
        assert_eq!(snapshots(), 1, "it is still due");
    });
}
