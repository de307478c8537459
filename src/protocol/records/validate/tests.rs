//! Every rule once, with the code that a Kafka 4.4.0 gave to the same bytes.

use bytes::{BufMut, BytesMut};

use super::*;
use crate::protocol::records::batch::Attributes;
use crate::protocol::records::build::{BatchBuilder, BatchOptions, NewRecord, Producer};
use crate::protocol::records::compression::compress;
use crate::protocol::records::record::Record;
use crate::protocol::records::varint::write_varint;
use crate::types::{LeaderEpoch, Offset, ProducerId};

const NOW_MS: i64 = 1_795_262_305_459;
const HOUR_MS: i64 = 3_600_000;

fn rules() -> Rules {
    Rules {
        now_ms: NOW_MS,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: HOUR_MS,
        message_bytes_max: 1_048_588,
        segment_bytes: 1 << 30,
        compacted: false,
        compression: None,
        zstd_allowed: true,
        decompressed_record_bytes_max: i32::MAX as u32,
        decompressed_bytes_max: 64 << 20,
    }
}

fn record(timestamp_ms: i64) -> NewRecord {
    let (key, value) = (Some(Bytes::from_static(b"k")), Some(Bytes::from_static(b"v")));
    NewRecord { timestamp_ms, key, value, headers: vec![] }
}

fn batch(compression: impl Into<Compression>, records: Vec<NewRecord>) -> Batch {
    let options = BatchOptions { compression: compression.into(), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for record in records {
        builder.push(record);
    }
    builder.build_batch()
}

fn two() -> Batch {
    batch(Codec::None, vec![record(NOW_MS), record(NOW_MS + 5)])
}

/// The batch with another header, its checksum right again.
fn changed(batch: &Batch, change: impl Fn(&mut BatchHeader)) -> Bytes {
    let mut header = *batch.header();
    change(&mut header);
    header.crc = crc(crc(0, &header.encode()[BatchHeader::CHECKED_AT..]), batch.body());
    let mut bytes = BytesMut::from(&header.encode()[..]);
    bytes.put_slice(batch.body());
    bytes.freeze()
}

/// A batch around any body at all.
fn with_body(codec: Codec, record_count: i32, body: &[u8]) -> Bytes {
    let batch = batch(Codec::None, vec![record(NOW_MS)]);
    let attributes = Attributes::default().with_codec(codec);
    let last_offset_delta = record_count - 1;
    let header = BatchHeader { attributes, record_count, last_offset_delta, ..*batch.header() };
    Batch::sealed(header, Bytes::copy_from_slice(body)).to_bytes()
}

fn body(deltas: &[i32]) -> Vec<u8> {
    let mut out = vec![];
    for &offset_delta in deltas {
        let key = Some(Bytes::from_static(b"k"));
        Record { offset_delta, key, ..Record::default() }.encode(&mut out);
    }
    out
}

#[track_caller]
fn refused(records: &Bytes, rules: &Rules, code: ErrorCode) -> Invalid {
    let invalid = validate(records, rules).expect_err("must be refused");
    assert_eq!(invalid.code(), code, "{invalid}");
    invalid
}

#[track_caller]
fn invalid_record(records: &Bytes) -> Invalid {
    refused(records, &rules(), ErrorCode::InvalidRecord)
}

#[track_caller]
fn corrupt(records: &Bytes) -> Invalid {
    refused(records, &rules(), ErrorCode::CorruptMessage)
}

fn joined(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

#[test]
fn a_good_batch_passes_as_it_came() {
    for codec in Codec::ALL {
        let batch = batch(codec, vec![record(NOW_MS), record(NOW_MS - 7), record(NOW_MS - 3)]);
        let bytes = batch.to_bytes();
        let valid = validate(&bytes, &rules()).unwrap();
        assert_eq!(valid, batch);
        assert_eq!(valid.body().as_ptr(), bytes[HEADER_BYTES..].as_ptr(), "nothing was copied");
        assert_eq!(valid.log_append_time_ms(), None);
    }
}

#[test]
fn no_whole_batch_is_an_invalid_record() {
    let bytes = two().to_bytes();
    for size in [0, 5, 11, 12, 16, 17, 30, 60, bytes.len() - 1] {
        assert_eq!(invalid_record(&bytes.slice(..size)), Invalid::NoBatch { have: size });
    }
}

#[test]
fn a_second_batch_is_an_invalid_record() {
    let one = two().to_bytes();
    assert_eq!(invalid_record(&joined(&[&one, &one])), Invalid::SecondBatch);
    let mut old = one.to_vec();
    old[MAGIC_AT] = 1;
    assert_eq!(invalid_record(&joined(&[&one, &old])), Invalid::SecondBatch);
}

#[test]
fn a_cut_second_batch_is_passed_over() {
    let one = two();
    let bytes = one.to_bytes();
    for size in [1, 11, 12, 16, 40, bytes.len() - 1] {
        assert_eq!(validate(&joined(&[&bytes, &bytes[..size]]), &rules()).unwrap(), one);
    }
}

#[test]
fn a_damaged_second_batch_is_corrupt() {
    let bytes = two().to_bytes();
    corrupt(&joined(&[&bytes, &[0; 20]]));
    let mut strange = bytes.to_vec();
    strange[MAGIC_AT] = 3;
    corrupt(&joined(&[&bytes, &strange]));
}

#[test]
fn old_formats_are_invalid_and_unknown_ones_corrupt() {
    for (magic, code) in [
        (0, ErrorCode::InvalidRecord),
        (1, ErrorCode::InvalidRecord),
        (3, ErrorCode::CorruptMessage),
        (-1, ErrorCode::CorruptMessage),
    ] {
        refused(&changed(&two(), |header| header.magic = magic), &rules(), code);
    }
}

#[test]
fn a_length_shorter_than_a_header_is_corrupt() {
    for length in [-1, 0, 13, 14, 48] {
        corrupt(&changed(&two(), |header| header.length = length));
    }
}

#[test]
fn a_wrong_checksum_is_corrupt() {
    let mut bytes = two().to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let invalid = corrupt(&bytes.into());
    assert!(matches!(invalid, Invalid::Damaged(BatchError::Crc { .. })));
}

#[test]
fn a_base_offset_is_an_invalid_record_before_anything_else() {
    for base_offset in [-1, 5, i64::MAX, i64::MIN] {
        let bytes = changed(&two(), |header| header.base_offset = base_offset);
        assert_eq!(invalid_record(&bytes), Invalid::BaseOffset { base_offset });
        let small = Rules { message_bytes_max: 10, ..rules() };
        refused(&bytes, &small, ErrorCode::InvalidRecord);
    }
}

#[test]
fn the_size_limit_is_inclusive_and_comes_before_the_checksum() {
    let bytes = two().to_bytes();
    let size_max = bytes.len() as u32;
    validate(&bytes, &Rules { message_bytes_max: size_max, ..rules() }).unwrap();
    let small = Rules { message_bytes_max: size_max - 1, ..rules() };
    refused(&bytes, &small, ErrorCode::MessageTooLarge);
    let mut damaged = bytes.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    refused(&damaged.into(), &small, ErrorCode::MessageTooLarge);
}

#[test]
fn a_batch_larger_than_a_segment_is_too_large_a_list() {
    let bytes = two().to_bytes();
    let size = bytes.len() as u32;
    validate(&bytes, &Rules { segment_bytes: size, ..rules() }).unwrap();
    let small = Rules { segment_bytes: size - 1, ..rules() };
    refused(&bytes, &small, ErrorCode::RecordListTooLarge);
}

#[test]
fn counts_that_disagree_are_invalid_records() {
    for (record_count, last_offset_delta) in
        [(0, 0), (0, -1), (-1, 0), (2, 2), (3, 1), (i32::MIN, i32::MAX), (i32::MAX, i32::MAX - 1)]
    {
        invalid_record(&changed(&two(), |header| {
            header.record_count = record_count;
            header.last_offset_delta = last_offset_delta;
        }));
    }
}

#[test]
fn more_or_fewer_records_than_counted_are_invalid_records() {
    for codec in Codec::ALL {
        let data = compress(codec.into(), &body(&[0, 1]));
        invalid_record(&with_body(codec, 1, &data));
        invalid_record(&with_body(codec, 3, &data));
        let trailing = compress(codec.into(), &[&body(&[0, 1])[..], &[0]].concat());
        invalid_record(&with_body(codec, 2, &trailing));
    }
}

#[test]
fn a_producer_must_number_its_records() {
    let numbered = |id, base_sequence| {
        changed(&two(), |header| {
            (header.producer_id, header.base_sequence) = (id, base_sequence);
        })
    };
    invalid_record(&numbered(5, -1));
    for (id, base_sequence) in [(5, 0), (-1, 3), (-5, 3), (-1, -1)] {
        validate(&numbered(id, base_sequence), &rules()).unwrap();
    }
}

#[test]
fn producer_fields_survive() {
    let producer = Producer { id: ProducerId(7), epoch: 2, base_sequence: i32::MAX };
    let options =
        BatchOptions { producer: Some(producer), transactional: true, ..Default::default() };
    let mut builder = BatchBuilder::new(options);
    builder.push(record(NOW_MS));
    builder.push(record(NOW_MS));
    let valid = validate(&builder.build(), &rules()).unwrap();
    assert_eq!(valid.producer_id(), Some(ProducerId(7)));
    assert_eq!((valid.producer_epoch(), valid.base_sequence()), (2, i32::MAX));
    assert_eq!(valid.last_sequence(), 0, "after the last sequence comes the first");
    assert!(valid.is_transactional());
}

#[test]
fn control_batches_are_for_brokers() {
    let control = |header: &mut BatchHeader| header.attributes = Attributes(0x20);
    assert_eq!(invalid_record(&changed(&two(), control)), Invalid::Control);
}

#[test]
fn unknown_codecs_and_bad_compressed_data_are_unknown_errors() {
    for id in 5..8 {
        let bytes = changed(&two(), |header| header.attributes = Attributes(id));
        refused(&bytes, &rules(), ErrorCode::UnknownServerError);
    }
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let garbage = with_body(codec, 1, b"garbage!garbage!garbage!");
        refused(&garbage, &rules(), ErrorCode::UnknownServerError);
        let data = compress(codec.into(), &body(&[0]));
        let cut = with_body(codec, 1, &data[..data.len() - 3]);
        refused(&cut, &rules(), ErrorCode::UnknownServerError);
    }
}

#[test]
fn zstd_needs_version_7() {
    let bytes = batch(Codec::Zstd, vec![record(NOW_MS)]).to_bytes();
    let old = Rules { zstd_allowed: false, ..rules() };
    refused(&bytes, &old, ErrorCode::UnsupportedCompressionType);
    let twice = joined(&[&bytes, &bytes]);
    refused(&twice, &old, ErrorCode::UnsupportedCompressionType);
    validate(&two().to_bytes(), &old).unwrap();
}

#[test]
fn gzip_may_come_in_members_and_with_trailing_bytes() {
    let first = compress(Codec::Gzip.into(), &body(&[0]));
    let second = compress(Codec::Gzip.into(), &body(&[1]));
    validate(&with_body(Codec::Gzip, 2, &[&first[..], &second].concat()), &rules()).unwrap();
    validate(&with_body(Codec::Gzip, 1, &[&first[..], b"xyz"].concat()), &rules()).unwrap();
}

#[test]
fn records_made_wrong_are_invalid_records() {
    let good = body(&[0]);
    let mut surplus = good.clone();
    surplus[0] += 4;
    surplus.extend_from_slice(b"xx");
    let mut header_without_key = good.clone();
    header_without_key[0] += 4;
    *header_without_key.last_mut().unwrap() = 2;
    header_without_key.extend_from_slice(&[1, 1]);
    let header_count = |count| {
        let mut body = good.clone();
        body.pop();
        write_varint(&mut body, count);
        body[0] = 2 * (body.len() as u8 - 1);
        body
    };
    let length = |length| [&[length], &good[1..]].concat();
    let key_length = |length| [&good[..4], &[length], &good[5..]].concat();
    for body in [
        vec![0],
        length(1),
        length(120),
        length(good[0] - 2),
        key_length(40),
        surplus,
        header_without_key,
        header_count(-1),
        header_count(5),
        header_count(i32::MAX),
        [&good[..], b"xx"].concat(),
        vec![0x80; 11],
    ] {
        let bytes = with_body(Codec::None, 1, &body);
        assert!(matches!(invalid_record(&bytes), Invalid::Structure(_)), "{body:x?}");
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            invalid_record(&with_body(codec, 1, &compress(codec.into(), &body)));
        }
    }
}

#[test]
fn any_negative_length_is_a_null() {
    let with_key_length = |length| with_body(Codec::None, 1, &[14, 0, 0, 0, length, 2, b'v', 0]);
    validate(&with_key_length(3), &rules()).unwrap();
    let compacted = Rules { compacted: true, ..rules() };
    refused(&with_key_length(3), &compacted, ErrorCode::InvalidRecord);
    validate(&with_key_length(0), &compacted).unwrap();
}

#[test]
fn compacted_topics_need_keys_and_say_which_records_have_none() {
    let without = NewRecord { key: None, ..record(NOW_MS) };
    let empty = NewRecord { key: Some(Bytes::new()), ..record(NOW_MS) };
    let compacted = Rules { compacted: true, ..rules() };
    for codec in Codec::ALL {
        let bytes = batch(codec, vec![without.clone(), empty.clone(), without.clone()]).to_bytes();
        let invalid = refused(&bytes, &compacted, ErrorCode::InvalidRecord);
        let fault = |index| Fault { index, kind: FaultKind::NoKey };
        let told = vec![fault(0), fault(2)];
        assert_eq!(invalid, Invalid::Records(Faults { told, count: 2, of_timestamps: false }));
        validate(&bytes, &rules()).unwrap();
    }
}

#[test]
fn a_broken_record_outweighs_those_without_a_key() {
    let mut data = vec![14, 0, 0, 0, 1, 2, b'v', 0];
    data.push(b'x');
    let compacted = Rules { compacted: true, ..rules() };
    let invalid = refused(&with_body(Codec::None, 1, &data), &compacted, ErrorCode::InvalidRecord);
    assert_eq!(invalid, Invalid::Structure(RecordError::Trailing));
}

#[test]
fn timestamps_outside_the_bounds_are_named() {
    let late = NOW_MS + 2 * HOUR_MS;
    let bytes = batch(Codec::None, vec![record(NOW_MS), record(late)]).to_bytes();
    let invalid = refused(&bytes, &rules(), ErrorCode::InvalidTimestamp);
    let (from_ms, to_ms) = (NOW_MS - i64::MAX, NOW_MS + HOUR_MS);
    let kind = FaultKind::Timestamp { timestamp_ms: late, from_ms, to_ms };
    let told = vec![Fault { index: 1, kind }];
    assert_eq!(invalid, Invalid::Records(Faults { told, count: 1, of_timestamps: true }));

    let old = batch(Codec::Lz4, vec![record(NOW_MS), record(NOW_MS - 11_000)]).to_bytes();
    validate(&old, &rules()).unwrap();
    let strict = Rules { timestamp_before_max_ms: 10_000, ..rules() };
    refused(&old, &strict, ErrorCode::InvalidTimestamp);
    for extreme in [i64::MIN, i64::MAX] {
        let bytes = batch(Codec::None, vec![record(extreme)]).to_bytes();
        refused(&bytes, &rules(), ErrorCode::InvalidTimestamp);
    }
}

#[test]
fn a_bad_timestamp_decides_the_code_among_other_faults() {
    let without = NewRecord { key: None, ..record(NOW_MS) };
    let bytes = batch(Codec::None, vec![without, record(NOW_MS + 2 * HOUR_MS)]).to_bytes();
    let compacted = Rules { compacted: true, ..rules() };
    let invalid = refused(&bytes, &compacted, ErrorCode::InvalidTimestamp);
    assert!(matches!(invalid, Invalid::Records(Faults { count: 2, of_timestamps: true, .. })));
}

#[test]
fn no_timestamp_passes_and_the_bounds_do_not_concern_append_times() {
    let strict = Rules { timestamp_before_max_ms: 10, timestamp_after_max_ms: 10, ..rules() };
    let bytes = batch(Codec::None, vec![record(-1)]).to_bytes();
    assert_eq!(validate(&bytes, &strict).unwrap().max_timestamp_ms(), -1);
    let append = Rules { timestamp_type: TimestampType::LogAppendTime, ..strict };
    validate(&batch(Codec::None, vec![record(NOW_MS + HOUR_MS)]).to_bytes(), &append).unwrap();
}

#[test]
fn a_wrong_max_timestamp_is_repaired() {
    for codec in Codec::ALL {
        let right = batch(codec, vec![record(NOW_MS + 5), record(NOW_MS)]);
        for wrong in [NOW_MS, NOW_MS + HOUR_MS, -1, i64::MIN] {
            let bytes = changed(&right, |header| header.max_timestamp_ms = wrong);
            let valid = validate(&bytes, &rules()).unwrap();
            assert_eq!(valid, right);
            valid.verify_crc().unwrap();
        }
    }
}

#[test]
fn the_time_of_the_append_replaces_the_max_timestamp_alone() {
    let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    for codec in Codec::ALL {
        let sent = batch(codec, vec![record(NOW_MS - HOUR_MS), record(NOW_MS - 2 * HOUR_MS)]);
        let valid = validate(&sent.to_bytes(), &rules).unwrap();
        valid.verify_crc().unwrap();
        assert_eq!(valid.log_append_time_ms(), Some(NOW_MS));
        assert_eq!(valid.base_timestamp_ms(), sent.base_timestamp_ms());
        assert_eq!(valid.body(), sent.body());
        let records: Vec<_> = valid.records(1 << 20).map(Result::unwrap).collect();
        assert!(records.iter().all(|record| valid.timestamp_ms_of(record) == NOW_MS));
    }
}

#[test]
fn a_producer_may_not_claim_the_time_of_the_append() {
    let append = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let claim = |max_timestamp_ms| {
        changed(&two(), |header| {
            header.attributes = Attributes(8);
            header.max_timestamp_ms = max_timestamp_ms;
        })
    };
    refused(&claim(NOW_MS), &append, ErrorCode::InvalidTimestamp);
    refused(&claim(-1), &rules(), ErrorCode::InvalidTimestamp);
    refused(&claim(NOW_MS + 3 * HOUR_MS), &rules(), ErrorCode::InvalidTimestamp);

    let valid = validate(&claim(NOW_MS - 5), &rules()).unwrap();
    assert_eq!(valid.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(valid.max_timestamp_ms(), NOW_MS - 5, "as Kafka leaves it");
    valid.verify_crc().unwrap();
}

#[test]
fn the_topic_may_want_another_codec() {
    for from in Codec::ALL {
        let sent = batch(from, vec![record(NOW_MS), record(NOW_MS + 5)]);
        for to in Codec::ALL {
            let rules = Rules { compression: Some(to.into()), ..rules() };
            let valid = validate(&sent.to_bytes(), &rules).unwrap();
            assert_eq!(valid.codec(), Ok(to));
            valid.verify_crc().unwrap();
            assert!(valid.records(1000).eq(sent.records(1000)));
            assert_eq!(valid == sent, from == to);
        }
    }
}

#[test]
fn what_grows_too_large_when_rebuilt_is_too_large() {
    let large = NewRecord { value: Some(vec![0; 3 << 20].into()), ..record(NOW_MS) };
    let bytes = batch(Codec::Zstd, vec![large]).to_bytes();
    validate(&bytes, &rules()).unwrap();
    let plain = Rules { compression: Some(Codec::None.into()), ..rules() };
    refused(&bytes, &plain, ErrorCode::MessageTooLarge);
}

#[test]
fn misnumbered_records_are_numbered_anew() {
    for codec in Codec::ALL {
        for deltas in [[0, 5], [1, 0], [-1, i32::MIN]] {
            let data = compress(codec.into(), &body(&deltas));
            let valid = validate(&with_body(codec, 2, &data), &rules()).unwrap();
            valid.verify_crc().unwrap();
            assert_eq!(valid.codec(), Ok(codec));
            let offsets = valid.records(1000).map(|record| record.unwrap().offset_delta);
            assert!(offsets.eq([0, 1]));
        }
    }
}

#[test]
fn a_bomb_is_too_large_and_costs_no_memory() {
    let zeros = vec![0; 8 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes =
            batch(codec, vec![NewRecord { value: Some(zeros.clone().into()), ..record(0) }]);
        let tight = Rules { decompressed_bytes_max: 4 << 20, ..rules() };
        refused(&bytes.to_bytes(), &tight, ErrorCode::MessageTooLarge);
        assert!(matches!(
            bytes.records(4 << 20).next(),
            Some(Err(RecordError::Compression(CompressionError::TooLarge { .. })))
        ));
        validate(&bytes.to_bytes(), &rules()).unwrap();
    }
}

#[test]
fn a_large_record_in_a_compressed_batch_is_an_invalid_record() {
    let large = NewRecord { value: Some(vec![0; 70_000].into()), ..record(NOW_MS) };
    let tight = Rules { decompressed_record_bytes_max: 1000, ..rules() };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes = batch(codec, vec![record(NOW_MS), large.clone()]).to_bytes();
        refused(&bytes, &tight, ErrorCode::InvalidRecord);
        let many = batch(codec, vec![record(NOW_MS); 500]).to_bytes();
        validate(&many, &tight).unwrap();
    }
    validate(&batch(Codec::None, vec![large]).to_bytes(), &tight).unwrap();
}

#[test]
fn what_passed_can_be_stamped() {
    let valid = validate(&two().to_bytes(), &rules()).unwrap();
    let stamped = valid.stamped_header(Offset(42), LeaderEpoch(7));
    let whole = joined(&[&stamped, valid.body()]);
    let stored = Batch::parse(&whole).unwrap();
    stored.verify_crc().unwrap();
    assert_eq!((stored.base_offset(), stored.next_offset()), (Offset(42), Offset(44)));
    assert_eq!(stored.leader_epoch(), LeaderEpoch(7));
}

proptest::proptest! {
    /// Whatever passes is whole and readable; whatever does not, is refused without a panic.
    #[test]
    fn hostile_bytes_never_panic(
        codec in 0..8i16,
        record_count in -1..5i32,
        attributes in 0..16i16,
        data in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        compressed in proptest::bool::ANY,
    ) {
        let known = Codec::from_id(codec as u8).unwrap_or_default();
        let data = if compressed { compress(known.into(), &data) } else { data };
        let bytes = with_body(Codec::None, 1, &data);
        let bytes = changed(&Batch::parse(&bytes).unwrap(), |header| {
            header.attributes = Attributes(codec | attributes << 3);
            header.record_count = record_count;
            header.last_offset_delta = record_count - 1;
        });
        if let Ok(valid) = validate(&bytes, &rules()) {
            valid.verify_crc().unwrap();
            assert!(valid.records(1 << 20).all(|record| record.is_ok()));
        }
    }
}

#[test]
fn what_is_checked_briefly_is_judged_as_ever() {
    let many = |count: usize| vec![record(NOW_MS); count];
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let good = batch(codec, many(2000)).to_bytes();
        let judged = validate_briefly(&good, &rules()).unwrap().expect("it takes no time");
        assert_eq!(judged.to_bytes(), validate(&good, &rules()).unwrap().to_bytes());
        let late = batch(codec, vec![record(NOW_MS + 2 * HOUR_MS)]).to_bytes();
        let (brief, whole) = (validate_briefly(&late, &rules()), validate(&late, &rules()));
        assert_eq!(brief.unwrap_err(), whole.unwrap_err());
        for cut in [0, 1, 61, good.len() - 1] {
            let cut = good.slice(..cut);
            assert!(validate_briefly(&cut, &rules()).is_err(), "{codec:?}");
        }
    }
}

#[test]
fn what_would_hold_others_up_is_not_checked_briefly() {
    let filled = |count: usize, byte: fn(usize) -> u8| {
        let value = |n: usize| (0..1000).map(|at| byte(n * 1000 + at)).collect::<Vec<u8>>();
        (0..count).map(|n| NewRecord { value: Some(value(n).into()), ..record(NOW_MS) }).collect()
    };
    let noise = |n: usize| {
        let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()[0]
    };
    let large = Rules { message_bytes_max: 64 << 20, ..rules() };
    let is_brief = |batch: &Batch, rules: &Rules| {
        validate(&batch.to_bytes(), rules).unwrap();
        validate_briefly(&batch.to_bytes(), rules).unwrap().is_some()
    };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        assert!(is_brief(&batch(codec, filled(30, noise)), &large), "{codec:?}");
        // Small to look at, and large inside.
        assert!(!is_brief(&batch(codec, filled(1500, |_| 0)), &large), "{codec:?}");
    }
    assert!(!is_brief(&batch(Codec::Lz4, filled(300, noise)), &large));
    assert!(is_brief(&batch(Codec::None, filled(1500, noise)), &large));
    assert!(!is_brief(&batch(Codec::None, filled(5000, noise)), &large));
    let compressing = Rules { compression: Some(Codec::Gzip.into()), ..large };
    assert!(is_brief(&batch(Codec::None, filled(20, noise)), &compressing));
    assert!(!is_brief(&batch(Codec::None, filled(100, noise)), &compressing));
}
