//! Index files lead where a walk through the batches leads (I48).
//!
//! Offset index: relative last offset u32, position u32 of that batch. Time index: timestamp i64,
//! relative last offset u32 of the batch that has it: no batch up to there is younger. The indexes
//! of the open segment may end early; those of a closed one name its largest timestamp.

use std::path::Path;

use bytes::Buf;
use ottla::types::Offset;

use super::batches::Batches;
use super::image::{Batch, View};
use super::{Log, Verdict, broken};
use crate::check::Invariant::I48;
use crate::disk::volume::Volume;

/// Segments that end at or before `start` may be gone.
pub fn check(
    log: Log,
    batches: &Batches,
    (volume, dir): (&Volume, &Path),
    start: Offset,
) -> Verdict {
    let all: Vec<&Batch> = batches.iter().collect();
    let segments = all.chunk_by(|one, next| one.segment == next.segment);
    let count = segments.clone().count();
    for (n, segment) in segments.enumerate() {
        let base = segment[0].segment;
        // One whose first batches are forgotten was looked at before.
        if segment[0].position > 0 || segment[segment.len() - 1].end <= start {
            continue;
        }
        let bytes = |ending: &str| {
            let path = dir.join(format!("{:020}.{ending}", base.0));
            View::Cache.file(volume, &path).map(|image| image.to_vec()).unwrap_or_default()
        };
        let is_closed = n + 1 < count;
        let checked = check_offsets(segment, &bytes("index"))
            .and_then(|()| check_times(segment, &bytes("timeindex"), is_closed));
        if let Err(what) = checked {
            return broken(I48, format!("{log}, segment {base}: {what}"));
        }
    }
    Ok(())
}

fn check_offsets(segment: &[&Batch], index: &[u8]) -> Result<(), String> {
    for mut entry in index.chunks_exact(8) {
        let (last, position) = (entry.get_u32(), entry.get_u32());
        if position == 0 {
            break;
        }
        let at = segment.binary_search_by_key(&u64::from(position), |batch| batch.position);
        let found = at.ok().map(|at| segment[at]);
        if found.map(|batch| relative(batch, segment)) != Some(last) {
            return Err(format!(
                "the index says that {last} ends the batch at {position}: {found:?}"
            ));
        }
    }
    Ok(())
}

fn check_times(segment: &[&Batch], index: &[u8], is_closed: bool) -> Result<(), String> {
    let (mut largest, mut walked, mut last_timestamp_ms) = (-1, 0, -1);
    for mut entry in index.chunks_exact(12) {
        if entry.iter().all(|byte| *byte == 0) {
            break;
        }
        let (timestamp_ms, last) = (entry.get_i64(), entry.get_u32());
        while let Some(batch) = segment.get(walked).filter(|b| relative(b, segment) <= last) {
            largest = largest.max(batch.max_timestamp_ms);
            walked += 1;
        }
        let names = walked > 0 && relative(segment[walked - 1], segment) == last;
        let has_it = names && segment[walked - 1].max_timestamp_ms == timestamp_ms;
        if !has_it || largest != timestamp_ms {
            return Err(format!(
                "the time index has {timestamp_ms} at {last}; the largest up to there is {largest}"
            ));
        }
        last_timestamp_ms = timestamp_ms;
    }
    let largest = segment.iter().map(|batch| batch.max_timestamp_ms).max().unwrap_or(-1);
    if is_closed && last_timestamp_ms < largest {
        return Err(format!(
            "the time index ends with {last_timestamp_ms}, the largest is {largest}"
        ));
    }
    Ok(())
}

/// The last offset of the batch, as indexes count.
fn relative(batch: &Batch, segment: &[&Batch]) -> u32 {
    let Offset(base) = segment[0].segment;
    (batch.end.0 - 1 - base) as u32
}

#[cfg(test)]
mod tests {
    use super::super::tests::batch;
    use super::*;

    /// Batches of 100 bytes at 10, 15 and 16, in the segment at 10.
    fn three(timestamps: [i64; 3]) -> [Batch; 3] {
        let at = |n: u64, base, end| Batch {
            segment: Offset(10),
            position: 100 * n,
            max_timestamp_ms: timestamps[n as usize],
            ..batch(base, end, 0, 0)
        };
        [at(0, 10, 15), at(1, 15, 16), at(2, 16, 20)]
    }

    fn offsets(entries: &[(u32, u32)]) -> Result<(), String> {
        let batches = three([0; 3]);
        let index: Vec<u8> = entries
            .iter()
            .flat_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()])
            .flatten()
            .collect();
        check_offsets(&batches.iter().collect::<Vec<_>>(), &index)
    }

    fn times(timestamps: [i64; 3], entries: &[(i64, u32)], is_closed: bool) -> Result<(), String> {
        let batches = three(timestamps);
        let bytes = |(at, last): &(i64, u32)| [&at.to_be_bytes()[..], &last.to_be_bytes()].concat();
        let index: Vec<u8> = entries.iter().flat_map(bytes).collect();
        check_times(&batches.iter().collect::<Vec<_>>(), &index, is_closed)
    }

    #[test]
    fn entries_that_lead_to_their_batches_pass() {
        offsets(&[]).unwrap();
        offsets(&[(5, 100), (9, 200), (0, 0)]).unwrap();
        times([5, 3, 7], &[(5, 4), (7, 9), (0, 0)], true).unwrap();
        times([5, 3, 7], &[(5, 4)], false).unwrap();
        times([-1, -1, -1], &[], true).unwrap();
    }

    #[test]
    fn an_offset_that_leads_astray_is_caught() {
        for wrong in [(5, 200), (4, 100), (5, 150), (9, 100)] {
            offsets(&[wrong]).unwrap_err();
        }
    }

    #[test]
    fn a_timestamp_that_hides_a_record_is_caught() {
        times([5, 3, 7], &[(3, 5)], false).unwrap_err();
        times([5, 9, 7], &[(7, 9)], false).unwrap_err();
        times([5, 3, 7], &[(5, 5)], false).unwrap_err();
        times([5, 3, 7], &[(5, 4)], true).unwrap_err();
    }
}
