//! What a log lets go of: only what consumers could read, and in whole segments that the topic's own
//! rules name (I46).

use std::collections::BTreeMap;
use std::path::Path;

use ottla::env::probe::Rules;
use ottla::types::Offset;

use super::batches::Batches;
use super::image::{View, segment_path, segments};
use super::{Log, Verdict, broken};
use crate::check::Invariant::I46;
use crate::disk::volume::Volume;

/// The segments before `first` are to go.
pub struct Expired {
    pub log: Log,
    /// Where the log begins until then.
    pub from: Offset,
    pub first: Offset,
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    end: Offset,
    bytes: u64,
    /// `None` when no batch of it is known.
    largest_timestamp_ms: Option<i64>,
}

type Segments = BTreeMap<Offset, Segment>;

impl Expired {
    pub fn check(&self, batches: &Batches, volume: &Volume, dir: &Path) -> Verdict {
        self.check_segments(&measure(batches, volume, dir))
    }

    /// Each segment that goes is wholly before the start, too old, or too much.
    fn check_segments(&self, segments: &Segments) -> Verdict {
        let Expired { log, from, first, rules } = *self;
        let Rules { now_ms, retention_ms, retention_bytes } = rules;
        let mut left: u64 = segments.values().map(|segment| segment.bytes).sum();
        for (base, segment) in segments.range(..first) {
            if segment.end > first {
                let evidence =
                    format!("{log} is to begin at {first}, within the segment at {base}");
                return broken(I46, evidence);
            }
            left -= segment.bytes;
            let age_ms = segment.largest_timestamp_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
            let is_old = |max: u64| age_ms.is_none_or(|age_ms| age_ms > max as i64);
            let goes = segment.end <= from
                || retention_ms.is_some_and(is_old)
                || retention_bytes.is_some_and(|max| left >= max);
            if !goes {
                let evidence = format!(
                    "{log} lets go of the segment at {base}, {segment:?}, by {rules:?}, with {left} \
                     bytes left"
                );
                return broken(I46, evidence);
            }
        }
        Ok(())
    }
}

/// The files are still there when a log says that it lets go of them.
fn measure(batches: &Batches, volume: &Volume, dir: &Path) -> Segments {
    let bases = segments(volume, dir);
    let ends = bases.iter().skip(1).copied().chain(batches.end());
    let bytes = |base: Offset| {
        View::Cache.file(volume, &segment_path(dir, base)).map_or(0, |image| image.len())
    };
    let mut measured: Segments = bases
        .iter()
        .zip(ends)
        .map(|(base, end)| {
            (*base, Segment { end, bytes: bytes(*base), largest_timestamp_ms: None })
        })
        .collect();
    for batch in batches.iter() {
        if let Some(segment) = measured.get_mut(&batch.segment) {
            let largest = segment.largest_timestamp_ms.unwrap_or(i64::MIN);
            segment.largest_timestamp_ms = Some(largest.max(batch.max_timestamp_ms));
        }
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOG, broke};
    use super::*;

    /// Three segments of ten offsets and 100 bytes, one second apart.
    fn three() -> Segments {
        let segment = |n: i64| Segment {
            end: Offset(10 * n + 10),
            bytes: 100,
            largest_timestamp_ms: Some(1000 * n),
        };
        (0..3).map(|n| (Offset(10 * n), segment(n))).collect()
    }

    fn retention(first: i64, ms: Option<u64>, bytes: Option<u64>) -> Verdict {
        expired(0, first, ms, bytes)
    }

    fn expired(
        from: i64,
        first: i64,
        retention_ms: Option<u64>,
        retention_bytes: Option<u64>,
    ) -> Verdict {
        let rules = Rules { now_ms: 3000, retention_ms, retention_bytes };
        let (from, first) = (Offset(from), Offset(first));
        Expired { log: LOG, from, first, rules }.check_segments(&three())
    }

    #[test]
    fn segments_that_the_rules_name_may_go() {
        retention(10, Some(2999), None).unwrap();
        retention(20, Some(1999), None).unwrap();
        retention(20, None, Some(100)).unwrap();
        expired(25, 20, None, None).unwrap();
    }

    #[test]
    fn segments_that_no_rule_names_are_missed() {
        for (to, ms, bytes) in [
            (10, Some(3000), None),
            (20, Some(2500), None),
            (20, None, Some(101)),
            (10, None, None),
        ] {
            assert_eq!(broke(retention(to, ms, bytes)), Some(I46), "{to} {ms:?} {bytes:?}");
        }
        assert_eq!(broke(retention(15, Some(0), None)), Some(I46), "half a segment");
    }
}
