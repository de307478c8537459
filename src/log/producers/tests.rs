use bytes::Bytes;

use super::*;
use crate::protocol::records::batch::Batch;
use crate::protocol::records::build::{self, BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::records::control::ControlType;
use crate::types::LeaderEpoch;

const ID: ProducerId = ProducerId(7);
const CLIENT: Origin = Origin::Client;

struct Sent {
    epoch: i16,
    sequence: i32,
    count: i32,
    transactional: bool,
}

fn batch(sent: Sent, base_offset: i64) -> Batch {
    let Sent { epoch, sequence, count, transactional } = sent;
    let producer = Some(build::Producer { id: ID, epoch, base_sequence: sequence });
    let base_offset = Offset(base_offset);
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        leader_epoch: LeaderEpoch(0),
        producer,
        transactional,
        ..BatchOptions::default()
    });
    for n in 0..count {
        builder.push(NewRecord { timestamp_ms: 1000 + i64::from(n), ..NewRecord::default() });
    }
    builder.build_batch()
}

fn data(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> Batch {
    batch(Sent { epoch, sequence, count, transactional: false }, base_offset)
}

fn in_transaction(epoch: i16, sequence: i32, base_offset: i64) -> Batch {
    batch(Sent { epoch, sequence, count: 1, transactional: true }, base_offset)
}

fn end_of_transaction(epoch: i16, base_offset: i64) -> Batch {
    let producer = Some(build::Producer { id: ID, epoch, base_sequence: -1 });
    let base_offset = Offset(base_offset);
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset,
        producer,
        transactional: true,
        control: true,
        ..BatchOptions::default()
    });
    builder.push_control(ControlType::Commit, 5, Bytes::from_static(&[0, 0, 0, 0, 0, 1]));
    builder.build_batch()
}

/// Five batches of two records at sequences 0 to 9.
fn five() -> Producers {
    let mut producers = Producers::default();
    for n in 0..5 {
        let batch = data(0, n * 2, 2, i64::from(n) * 2);
        assert_eq!(producers.check(&batch, CLIENT), Ok(Verdict::Append));
        producers.on_data(&batch);
    }
    producers
}

#[test]
fn a_retry_of_one_of_the_last_five_batches_finds_its_offsets() {
    let mut producers = five();
    for n in 0..5 {
        let Ok(Verdict::Duplicate(known)) = producers.check(&data(0, n * 2, 2, 99), CLIENT) else {
            panic!("batch {n} is known")
        };
        assert_eq!(known.base_offset(), Offset(i64::from(n) * 2));
        assert_eq!(known.timestamp_ms, 1001);
    }
    producers.on_data(&data(0, 10, 1, 10));
    let forgotten = producers.check(&data(0, 0, 2, 99), CLIENT);
    let expected = ProducerError::OutOfOrder { producer: ID, asked: 0, expected: 11 };
    assert_eq!(forgotten, Err(expected), "the sixth batch back is not");
}

#[test]
fn a_batch_that_matches_in_part_is_out_of_order() {
    let producers = five();
    for (sequence, count) in [(8, 1), (8, 3), (7, 2), (9, 2), (11, 1), (12, 1)] {
        let error = producers.check(&data(0, sequence, count, 99), CLIENT).unwrap_err();
        let expected = ProducerError::OutOfOrder { producer: ID, asked: sequence, expected: 10 };
        assert_eq!(error, expected);
    }
}

#[test]
fn an_unknown_producer_may_begin_anywhere_and_a_new_epoch_only_at_zero() {
    let producers = Producers::default();
    assert_eq!(producers.check(&data(3, 500, 2, 0), CLIENT), Ok(Verdict::Append));
    let producers = five();
    assert_eq!(producers.check(&data(1, 0, 1, 10), CLIENT), Ok(Verdict::Append));
    let error = producers.check(&data(1, 10, 1, 10), CLIENT).unwrap_err();
    assert_eq!(error, ProducerError::OutOfOrder { producer: ID, asked: 10, expected: 0 });
}

#[test]
fn an_older_epoch_is_fenced() {
    let mut producers = five();
    producers.on_data(&data(4, 0, 1, 10));
    let error = producers.check(&data(3, 10, 1, 11), CLIENT).unwrap_err();
    assert_eq!(error, ProducerError::StaleEpoch { producer: ID, asked: 3, stored: 4 });
    let replicated = producers.check(&data(3, 10, 1, 11), Origin::Replication);
    assert_eq!(replicated, Ok(Verdict::Append), "the leader has decided");
}

#[test]
fn sequences_wrap_between_batches_and_inside_one() {
    let mut producers = Producers::default();
    let inside = data(0, i32::MAX - 1, 4, 0);
    producers.on_data(&inside);
    assert_eq!(producers.get(ID).unwrap().last().unwrap().last_sequence, 1);
    let Ok(Verdict::Duplicate(known)) = producers.check(&inside, CLIENT) else {
        panic!("a retry across the wrap is known")
    };
    assert_eq!(known.first_sequence(), i32::MAX - 1);
    assert_eq!(producers.check(&data(0, 2, 1, 4), CLIENT), Ok(Verdict::Append));

    let mut producers = Producers::default();
    producers.on_data(&data(0, i32::MAX, 1, 0));
    assert_eq!(producers.check(&data(0, 0, 1, 1), CLIENT), Ok(Verdict::Append));
    assert!(producers.check(&data(0, 1, 1, 1), CLIENT).is_err());
}

#[test]
fn idle_producers_expire_but_not_within_a_transaction() {
    let mut producers = five();
    producers.expire(1001 + 99, 100);
    assert!(producers.get(ID).is_some());
    producers.expire(1001 + 100, 100);
    assert!(producers.get(ID).is_none());
    producers.on_data(&in_transaction(0, 0, 20));
    producers.expire(1 << 50, 100);
    assert!(producers.get(ID).is_some());
}

#[test]
fn the_stable_offset_waits_for_the_marker_and_for_its_replication() {
    let mut producers = five();
    producers.on_data(&in_transaction(0, 10, 10));
    producers.on_data(&in_transaction(0, 11, 11));
    assert_eq!(producers.last_stable(Offset(8)), Offset(8));
    assert_eq!(producers.last_stable(Offset(12)), Offset(10));
    let outside = producers.check(&data(0, 12, 1, 12), CLIENT).unwrap_err();
    assert_eq!(outside, ProducerError::OutsideTransaction { producer: ID });

    let marker = Marker { aborts: true, coordinator_epoch: 3 };
    let ended = producers.on_marker(&end_of_transaction(0, 12), marker).unwrap();
    assert_eq!((ended.first, ended.last, ended.aborted), (Offset(10), Offset(12), true));
    assert_eq!(producers.stable_after(&ended), Offset(13));
    assert_eq!(producers.last_stable(Offset(12)), Offset(10), "the marker is not replicated");
    assert_eq!(producers.last_stable(Offset(13)), Offset(13));
    producers.on_high_watermark(Offset(13));
    assert_eq!(producers.last_stable(Offset(13)), Offset(13));
}

#[test]
fn a_marker_of_an_older_coordinator_is_fenced_and_a_newer_epoch_empties_the_state() {
    let mut producers = five();
    let marker = |coordinator_epoch| Marker { aborts: false, coordinator_epoch };
    assert_eq!(producers.on_marker(&end_of_transaction(1, 10), marker(3)), None, "none was open");
    let known = producers.get(ID).unwrap();
    assert_eq!((known.epoch(), known.last(), known.coordinator_epoch()), (1, None, 3));
    let check =
        |batch: Batch, epoch| producers.check_marker(&batch, marker(epoch), Origin::Coordinator);
    let error = ProducerError::CoordinatorFenced { producer: ID, asked: 2, stored: 3 };
    assert_eq!(check(end_of_transaction(1, 11), 2), Err(error));
    assert_eq!(check(end_of_transaction(1, 11), -1), Ok(()), "an operator's marker");
    assert!(check(end_of_transaction(0, 11), 3).is_err());
    assert!(producers.check(&data(1, 5, 1, 11), CLIENT).is_err(), "a new epoch begins at 0");
    assert!(producers.check(&data(1, 0, 1, 11), CLIENT).is_ok());
}
