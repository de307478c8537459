//! Logs made by hand, on a disk made by hand.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ottla::env::disk::Open;
use ottla::env::probe::{Cause, Sent};
use ottla::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord};
use ottla::types::{LeaderEpoch, ProducerId};

use super::Invariant::{I5, I7, I8, I9, I10, I37, I42, I46};
use super::batches::Batches;
use super::image::Batch;
use super::*;
use crate::chance::{Chance, Subsystem};
use crate::disk::loss::Persona;

pub const LOG: Log = Log { node: 0, topic: Uuid([7; 16]), partition: 0 };

const DIR: &str = "/data/orders-0";

pub fn broke<T>(result: Result<T, Violation>) -> Option<Invariant> {
    result.err().map(|violation| violation.invariant)
}

/// Of 100 bytes, in the first segment.
pub fn batch(base: i64, end: i64, epoch: i32, hash: u64) -> Batch {
    Batch {
        base: Offset(base),
        end: Offset(end),
        epoch: LeaderEpoch(epoch),
        hash,
        segment: Offset(0),
        position: 0,
        size: 100,
        max_timestamp_ms: 0,
        sent: None,
        is_control: false,
    }
}

/// The batch number `n` of two records each, of a producer.
pub fn numbered(n: i64, producer: i64, epoch: i16, first_sequence: i32) -> Batch {
    let last_sequence = ottla::protocol::records::batch::sequence_plus(first_sequence, 1);
    let producer = ProducerId(producer);
    let sent = Some(Sent { producer, epoch, first_sequence, last_sequence });
    Batch { sent, ..batch(2 * n, 2 * n + 2, 0, 0) }
}

/// The batches, one after another in the file.
pub fn known<const N: usize>(batches: [Batch; N]) -> Batches {
    let at = |(n, batch): (usize, Batch)| Batch { position: 100 * n as u64, ..batch };
    Batches::from_iter(batches.into_iter().enumerate().map(at))
}

/// A disk with one log, and what is known of it.
struct Bench {
    volume: Volume,
    replica: Replica,
    position: u64,
    losses: u64,
}

impl Bench {
    fn new() -> Bench {
        let mut volume = Volume::new(1 << 30);
        volume.create_dir_all(Path::new(DIR)).unwrap();
        let mut bench = Bench { volume, replica: Replica::new(LOG), position: 0, losses: 0 };
        bench.recovered(0, 0).unwrap();
        bench
    }

    /// Two records, written as a leader of epoch 3 would.
    fn write(&mut self, base: i64) {
        let bytes = two_records(base, 3);
        let ino = self.volume.open(&segment(), Open::OrCreate, 0).unwrap();
        self.volume.write(ino, self.position, bytes.clone(), 0);
        self.volume.close(ino);
        self.position += bytes.len() as u64;
    }

    fn append(&mut self, base: i64) -> Verdict {
        self.write(base);
        self.appended(base, base + 2, 3)
    }

    fn appended(&mut self, base: i64, end: i64, epoch: i32) -> Verdict {
        let (base, end, epoch) = (Offset(base), Offset(end), LeaderEpoch(epoch));
        self.replica.appended(&self.volume, base, end, epoch).map(|_| ())
    }

    fn sync(&mut self) {
        let upto = self.volume.begin_sync();
        self.volume.finish_sync_all(upto);
    }

    fn durable(&mut self, end: i64) -> Verdict {
        self.replica.durable(&self.volume, Offset(end))
    }

    fn high_watermark(&mut self, offset: i64) -> Verdict {
        self.replica.high_watermark(Offset(offset), Duration::ZERO)
    }

    fn lose_power(&mut self) {
        let mut chance = Chance::stream(1, Subsystem::Disk, 0, 0);
        self.volume.power_loss(Persona::Nothing, &mut chance);
        self.losses += 1;
    }

    fn recovered(&mut self, start: i64, end: i64) -> Result<usize, Violation> {
        let span = (Offset(start), Offset(end));
        let dir = Path::new(DIR);
        let change = self.replica.recovered(&self.volume, dir, span, self.losses)?;
        Ok(change.lost.len())
    }
}

fn segment() -> std::path::PathBuf {
    image::segment_path(Path::new(DIR), Offset(0))
}

fn two_records(base: i64, epoch: i32) -> Bytes {
    let (base_offset, leader_epoch) = (Offset(base), LeaderEpoch(epoch));
    let mut batch =
        BatchBuilder::new(BatchOptions { base_offset, leader_epoch, ..BatchOptions::default() });
    for n in 0..2 {
        let value = Some(Bytes::from(format!("record {}", base + n)));
        batch.push(NewRecord { timestamp_ms: 0, key: None, value, headers: vec![] });
    }
    batch.build()
}

#[test]
fn a_sound_log_passes_through_crashes_and_power_losses() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.sync();
    log.durable(2).unwrap();
    log.high_watermark(2).unwrap();
    log.replica.acknowledged(Offset(2), -1).unwrap();
    log.append(2).unwrap();
    assert_eq!(log.recovered(0, 4).unwrap_err().invariant, I9, "recovery must sync what it keeps");
    log.sync();
    assert_eq!(log.recovered(0, 4).unwrap(), 0);
    log.append(4).unwrap();
    log.lose_power();
    assert_eq!(log.recovered(0, 4).unwrap(), 1, "the last batch was not durable");
    log.replica.batches.sweep(LOG, &log.volume, Path::new(DIR), Offset(0)).unwrap();
}

#[test]
fn an_append_that_is_not_there_or_not_next_is_caught() {
    assert_eq!(broke(Bench::new().appended(0, 2, 3)), Some(I5));
    let mut log = Bench::new();
    log.write(0);
    assert_eq!(broke(log.appended(2, 4, 3)), Some(I5), "a gap");
    assert_eq!(broke(log.appended(0, 0, 3)), Some(I5), "nothing");
    assert_eq!(broke(log.appended(0, 3, 3)), Some(I5), "more than there is");
}

#[test]
fn a_leader_that_writes_with_another_epoch_is_caught() {
    let mut log = Bench::new();
    log.write(0);
    assert_eq!(broke(log.appended(0, 2, 4)), Some(I7));
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    assert_eq!(broke(log.replica.acknowledged(Offset(2), -1)), Some(I9));
    assert_eq!(broke(log.replica.acknowledged(Offset(2), 1)), Some(I9));
    assert_eq!(broke(log.durable(2)), Some(I9), "the disk does not hold it");
    log.sync();
    log.durable(2).unwrap();
    log.replica.acknowledged(Offset(2), 1).unwrap();
    assert_eq!(broke(log.replica.acknowledged(Offset(2), -1)), Some(I9), "not committed yet");
    log.high_watermark(2).unwrap();
    log.replica.acknowledged(Offset(2), -1).unwrap();
}

#[test]
fn a_topic_that_does_not_sync_promises_less() {
    let mut log = Bench::new();
    log.replica.configured(false);
    log.append(0).unwrap();
    log.high_watermark(2).unwrap();
    log.replica.acknowledged(Offset(2), -1).unwrap();
    log.lose_power();
    assert_eq!(log.recovered(0, 0).unwrap(), 1);
    let mut crashed = Bench::new();
    crashed.replica.configured(false);
    crashed.append(0).unwrap();
    crashed.high_watermark(2).unwrap();
    crashed.replica.acknowledged(Offset(2), -1).unwrap();
    assert_eq!(broke(crashed.recovered(0, 0)), Some(I10), "the page cache was never lost");
}

#[test]
fn a_high_watermark_that_falls_or_outruns_the_disk_is_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.append(2).unwrap();
    assert_eq!(broke(log.high_watermark(2)), Some(I8));
    log.sync();
    log.durable(4).unwrap();
    log.high_watermark(4).unwrap();
    assert_eq!(broke(log.high_watermark(2)), Some(I8));
}

#[test]
fn a_recovery_that_forgets_is_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.append(2).unwrap();
    assert_eq!(broke(log.recovered(0, 2)), Some(I42), "written, and no power was lost");
    log.sync();
    log.durable(4).unwrap();
    log.lose_power();
    assert_eq!(broke(log.recovered(0, 2)), Some(I42));
    log.lose_power();
    log.high_watermark(4).unwrap();
    log.replica.acknowledged(Offset(4), -1).unwrap();
    assert_eq!(broke(log.recovered(0, 2)), Some(I10));
    log.lose_power();
    assert_eq!(broke(log.recovered(2, 4)), Some(I10), "nobody deleted the first records");
    log.recovered(0, 4).unwrap();
}

#[test]
fn a_recovery_that_invents_or_cuts_a_batch_is_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.sync();
    assert_eq!(broke(log.recovered(0, 3)), Some(I42), "no batch ends there");
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.lose_power();
    assert_eq!(broke(log.recovered(0, 1)), Some(I42), "within a batch");
}

#[test]
fn bytes_that_change_are_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.sync();
    log.durable(2).unwrap();
    let ino = log.volume.find(&segment()).unwrap();
    log.volume.rot(ino, 70, 3);
    let sweep = log.replica.batches.sweep(LOG, &log.volume, Path::new(DIR), Offset(0));
    assert_eq!(broke(sweep), Some(I42));
    assert_eq!(broke(log.recovered(0, 2)), Some(I42));
}

#[test]
fn an_append_that_failed_may_be_found_later() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.write(2);
    log.sync();
    log.recovered(0, 4).unwrap();
    log.append(4).unwrap();
}

#[test]
fn a_closed_segment_that_lost_its_end_is_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.append(2).unwrap();
    log.sync();
    log.recovered(0, 4).unwrap();
    log.recovered(0, 4).unwrap();
    let ino = log.volume.find(&segment()).unwrap();
    log.volume.betray(ino);
    assert_eq!(broke(log.recovered(0, 4)), Some(I42));
}

#[test]
fn segments_that_retention_took_are_not_missed() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.append(2).unwrap();
    log.sync();
    log.durable(4).unwrap();
    log.replica.start = Offset(4);
    log.volume.remove(&segment()).unwrap();
    log.recovered(4, 4).unwrap();
}

#[test]
fn deleted_records_that_come_back_are_caught() {
    let mut log = Bench::new();
    for base in [0, 2, 4] {
        log.append(base).unwrap();
    }
    log.sync();
    log.durable(6).unwrap();
    assert_eq!(broke(log.replica.records_deleted(Offset(2))), Some(I46), "not even begun");
    log.replica.start = Offset(3);
    log.replica.records_deleted(Offset(2)).unwrap();
    log.recovered(2, 6).unwrap();
    assert_eq!(broke(log.recovered(0, 6)), Some(I46));
}

#[test]
fn a_deletion_that_was_asked_for_may_be_found_after_a_crash() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.append(2).unwrap();
    log.sync();
    log.durable(4).unwrap();
    log.high_watermark(4).unwrap();
    assert_eq!(broke(log.replica.deletion_asked(Offset(5))), Some(I46));
    log.replica.deletion_asked(Offset(2)).unwrap();
    assert_eq!(broke(log.recovered(3, 4)), Some(I10), "more than was asked for");
    log.recovered(2, 4).unwrap();
}

#[test]
fn a_start_that_nobody_wanted_is_caught() {
    let mut log = Bench::new();
    log.append(0).unwrap();
    log.append(2).unwrap();
    log.sync();
    log.durable(4).unwrap();
    log.high_watermark(4).unwrap();
    let by = [Cause::Retention, Cause::DeleteRecords];
    by.iter().for_each(|cause| {
        assert_eq!(broke(log.replica.start_moved(Offset(1), cause)), Some(I46), "{cause:?}");
    });
    log.replica.deletion_asked(Offset(1)).unwrap();
    log.replica.start_moved(Offset(1), &Cause::DeleteRecords).unwrap();
    assert_eq!(broke(log.replica.start_moved(Offset(0), &Cause::DeleteRecords)), Some(I46));
    assert_eq!(broke(log.replica.segments_expired(Offset(5))), Some(I46), "not committed");
    log.replica.segments_expired(Offset(2)).unwrap();
    log.replica.start_moved(Offset(2), &Cause::Retention).unwrap();
    assert_eq!(broke(log.replica.start_moved(Offset(5), &Cause::Snapshot)), Some(I46));
}

#[test]
fn a_deleted_topic_that_is_opened_again_is_caught() {
    let mut log = Bench::new();
    log.replica.deleted();
    assert_eq!(broke(log.recovered(0, 0)), Some(I37));
}
