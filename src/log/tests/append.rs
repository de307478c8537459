use super::*;
use crate::log::append::AppendError;
use crate::log::segment::{Kind, path};

#[test]
fn an_append_is_one_write() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &LogConfig::default(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(10, 1000, 5));
        let before = env.disk().writes();
        for _ in 0..100 {
            append(&mut log, &batch(10, 5000, 5));
        }
        assert_eq!(env.disk().writes() - before, 100, "index entries are held back");
    });
}

#[test]
fn a_retry_writes_nothing_and_answers_with_the_first_offsets() {
    run(async {
        let (mut log, _) = open(&memory(), &small(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(3, 30, 1));
        let sent = numbered(Some((1, 0)), 4, 100, 77);
        let first = append(&mut log, &sent);
        append(&mut log, &batch(3, 30, 1));
        let again = append(&mut log, &sent);
        assert_eq!((again.base, again.end, again.duplicate), (Offset(3), Offset(7), true));
        assert_eq!((first.base, first.max_timestamp_ms), (again.base, again.max_timestamp_ms));
        assert_eq!(log.end(), Offset(10));
    });
}

#[test]
fn a_full_disk_loses_nothing_and_recovers_when_space_returns() {
    run(async {
        let env = memory();
        let (mut log, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        for n in 0..40 {
            append(&mut log, &batch(2, 200, n));
        }
        let before = all(&log).await;
        for room in [0, 1, 60, 61, 100, 250] {
            env.disk().set_space(Some(room));
            let refused =
                log.append_as_leader(&batch(4, 400, 9), LeaderEpoch(0), Origin::Client, 0);
            assert!(matches!(refused, Err(AppendError::Io(_))), "{room} bytes are too few");
            assert_eq!(all(&log).await, before);
        }
        env.disk().set_space(None);
        append(&mut log, &batch(4, 400, 9));
        assert_eq!(all(&log).await.len(), before.len() + 1);
        let end = log.end();
        let known = close(log).await;
        let (log, report) = open(&env, &small(), known).await.unwrap();
        assert_eq!((log.end(), report.cut_bytes), (end, 0));
    });
}

#[test]
fn segments_roll_by_size_by_time_and_before_an_index_is_full() {
    run(async {
        let config = LogConfig { segment_ms: 1000, ..small() };
        let (mut log, _) = open(&memory(), &config, unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(1, 100, 5000));
        append(&mut log, &batch(1, 1900, 7000));
        assert_eq!(log.segment_count(), 1, "its first name is not durable");
        let (mut log, _) = open(&memory(), &config, unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(1, 100, 5000));
        sync(&mut log).await;
        append(&mut log, &batch(1, 100, 6000));
        assert_eq!(log.segment_count(), 1, "a second is not more than a second");
        append(&mut log, &batch(1, 100, 6001));
        assert_eq!(log.segment_count(), 2);
        append(&mut log, &batch(1, 1700, 6001));
        assert_eq!(log.segment_count(), 2);
        append(&mut log, &batch(1, 100, 6001));
        assert_eq!(log.segment_count(), 3, "the segment would pass segment.bytes");
        let large = log.append_as_leader(&batch(1, 2000, 0), LeaderEpoch(0), Origin::Client, 0);
        assert!(matches!(large, Err(AppendError::TooLarge { segment_bytes: 2000, .. })));

        let config = LogConfig { segment_bytes: 1 << 20, ..small() };
        let (mut log, _) = open(&memory(), &config, unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(1, 200, 0));
        sync(&mut log).await;
        while log.segment_count() == 1 {
            let next = batch(1, 200, log.end().0);
            append(&mut log, &next);
        }
        let closed = path(Path::new(DIR), Offset(0), Kind::TimeIndex);
        let bytes = log.env.disk().contents(&closed).unwrap().len();
        assert_eq!(bytes, 32 * 12, "a time index rolls one entry early, room for the closing one");
    });
}

#[test]
fn a_follower_keeps_batches_as_they_are_and_writes_them_at_once() {
    run(async {
        let env = memory();
        let (mut leader, _) = open(&env, &small(), unclean(Offset(0))).await.unwrap();
        for n in 0..20 {
            append_at(&mut leader, &batch(3, 100, n), n as i32 / 7);
        }
        let batches = all(&leader).await;

        let other = memory();
        let config = LogConfig { segment_bytes: 1 << 20, ..small() };
        let (mut follower, _) = open(&other, &config, unclean(Offset(0))).await.unwrap();
        let before = other.disk().writes();
        follower.append_as_follower(&batches, 0).unwrap();
        assert_eq!(other.disk().writes() - before, 1);
        assert_eq!(all(&follower).await, batches);
        assert_eq!(follower.epochs(), leader.epochs());

        let again = follower.append_as_follower(&batches[3..4], 0);
        assert!(matches!(again, Err(AppendError::OutOfOrder { .. })));
        assert_eq!(follower.end(), leader.end());
    });
}

#[test]
fn a_batch_changed_on_its_way_is_refused_by_a_follower() {
    run(async {
        let (mut log, _) = open(&memory(), &small(), unclean(Offset(0))).await.unwrap();
        let good = batch(2, 100, 3).stamped(Offset(0), LeaderEpoch(0));
        let mut bytes = batch(2, 100, 3).stamped(Offset(2), LeaderEpoch(0)).to_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let bad = Batch::parse(&bytes.into()).unwrap();
        let refused = log.append_as_follower(&[good.clone(), bad], 0);
        assert!(matches!(refused, Err(AppendError::Batch(_))));
        assert_eq!(all(&log).await, [good], "what came before it is kept");
    });
}

#[test]
fn only_what_was_written_before_a_sync_began_is_durable() {
    run(async {
        let (mut log, _) = open(&memory(), &small(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(2, 100, 0));
        let mut round = Round::default();
        let end = log.begin_sync(&mut round).unwrap();
        append(&mut log, &batch(5, 100, 0));
        carry_out(&log, round).await;
        assert_eq!(log.on_synced(end), Offset(2));
        assert!(log.is_dirty());
        sync(&mut log).await;
        assert_eq!(log.durable_end(), Offset(7));
        let mut idle = Round::default();
        assert_eq!(log.begin_sync(&mut idle), None);
    });
}

#[test]
fn reads_near_the_end_need_neither_index_nor_file() {
    run(async {
        let config = LogConfig { index_interval_bytes: 150, ..LogConfig::default() };
        let (mut log, _) = open(&memory(), &config, unclean(Offset(0))).await.unwrap();
        for n in 0..5 {
            append(&mut log, &batch(3, 100, n));
        }
        let memory_knows = |log: &Log<MemoryEnv>, from, limit, bytes_max| {
            let wanted = Wanted { from, limit, bytes_max, at_least_one: true, aborted: true };
            log.read(&wanted).unwrap().ready().ok().map(|region| region.len)
        };
        assert!(memory_knows(&log, Offset(4), Offset(15), 1).is_some());
        sync(&mut log).await;
        let durable = log.durable_end();
        // Many more than are remembered one by one, while the sync is under way.
        for n in 0..300 {
            append(&mut log, &batch(1, 10, n));
        }
        assert_eq!(memory_knows(&log, Offset(0), durable, 1 << 20), Some(5 * 181));
        assert_eq!(memory_knows(&log, Offset(3), durable, 1 << 20), None);
        assert_eq!(read(&log, Offset(4), 100).await.len(), 304);
    });
}

#[test]
fn a_first_batch_comes_whole_or_not_at_all() {
    run(async {
        let (mut log, _) = open(&memory(), &small(), unclean(Offset(0))).await.unwrap();
        append(&mut log, &batch(3, 100, 0));
        append(&mut log, &batch(3, 100, 0));
        let served = async |bytes_max, at_least_one| {
            let (from, limit) = (Offset(0), Offset(6));
            let wanted = Wanted { from, limit, bytes_max, at_least_one, aborted: false };
            log.read(&wanted).unwrap().resolve().await.unwrap().len
        };
        let whole = served(1, true).await;
        assert!(whole > 100);
        assert_eq!(served(whole - 1, false).await, 0);
        assert_eq!(served(whole, false).await, whole);
        assert_eq!(served(whole + 1, false).await, whole + 1, "the last one may be cut off");
    });
}

#[test]
fn an_idle_log_is_small() {
    let bytes = size_of::<Log<TokioEnv>>();
    assert!(bytes <= 700, "{bytes} bytes, and a broker has 100,000 of them");
}
