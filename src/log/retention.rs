//! Which segments a log lets go of: by age, by size, and those before its start.
//!
//! Pure. Segments go oldest first and whole, never one that ends past the high watermark, so what
//! is left is always the log's end.

use crate::log::LogConfig;
use crate::types::Offset;

/// A segment, as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The next segment's base, or the log's end.
    pub end: Offset,
    pub bytes: u64,
    pub largest_timestamp_ms: i64,
}

/// How many of `segments`, oldest first and the open one last, are to go.
pub fn expired(
    segments: &[Facts],
    config: &LogConfig,
    start: Offset,
    high_watermark: Offset,
    now_ms: i64,
) -> usize {
    let mut gone = 0;
    if config.cleanup_delete {
        gone = too_old(segments, config, high_watermark, now_ms);
        gone += too_large(&segments[gone..], config, high_watermark);
    }
    gone + take(&segments[gone..], high_watermark, |facts, is_open| !is_open && facts.end <= start)
}

fn too_old(segments: &[Facts], config: &LogConfig, high_watermark: Offset, now_ms: i64) -> usize {
    let Some(retention_ms) = config.retention_ms else { return 0 };
    let retention_ms = i64::try_from(retention_ms).unwrap_or(i64::MAX);
    take(segments, high_watermark, |facts, _| {
        now_ms.saturating_sub(facts.largest_timestamp_ms) > retention_ms
    })
}

fn too_large(segments: &[Facts], config: &LogConfig, high_watermark: Offset) -> usize {
    let Some(retention_bytes) = config.retention_bytes else { return 0 };
    let total: u64 = segments.iter().map(|facts| facts.bytes).sum();
    let Some(mut excess) = total.checked_sub(retention_bytes) else { return 0 };
    take(segments, high_watermark, |facts, _| match excess.checked_sub(facts.bytes) {
        None => false,
        Some(rest) => {
            excess = rest;
            true
        }
    })
}

/// The first segments for which `goes` holds. An empty open one stays.
fn take(
    segments: &[Facts],
    high_watermark: Offset,
    mut goes: impl FnMut(&Facts, bool) -> bool,
) -> usize {
    let last = segments.len().saturating_sub(1);
    let taken = segments.iter().enumerate().take_while(|(at, facts)| {
        let is_open = *at == last;
        let empty = is_open && facts.bytes == 0;
        !empty && facts.end <= high_watermark && goes(facts, is_open)
    });
    taken.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of ten offsets and 100 bytes, one second apart; the last one is open.
    fn segments(count: i64) -> Vec<Facts> {
        let facts =
            |n| Facts { end: Offset(10 * (n + 1)), bytes: 100, largest_timestamp_ms: 1000 * n };
        (0..count).map(facts).collect()
    }

    fn config(retention_ms: Option<u64>, retention_bytes: Option<u64>) -> LogConfig {
        LogConfig { retention_ms, retention_bytes, ..LogConfig::default() }
    }

    const HIGH: Offset = Offset(1000);

    #[test]
    fn age_counts_from_the_youngest_record() {
        let old =
            |now_ms| expired(&segments(5), &config(Some(2000), None), Offset(0), HIGH, now_ms);
        assert_eq!(old(2000), 0, "two seconds old is not more than two seconds old");
        assert_eq!(old(2001), 1);
        assert_eq!(old(5500), 4);
        assert_eq!(old(9000), 5, "the open one too, which is rolled first");
    }

    #[test]
    fn size_counts_whole_segments() {
        let large = |bytes| expired(&segments(5), &config(None, Some(bytes)), Offset(0), HIGH, 0);
        assert_eq!(large(500), 0);
        assert_eq!(large(401), 0, "deleting one would leave less than the limit");
        assert_eq!(large(400), 1);
        assert_eq!(large(0), 5);
    }

    #[test]
    fn nothing_past_the_high_watermark_goes() {
        let all = config(Some(0), Some(0));
        assert_eq!(expired(&segments(5), &all, Offset(0), Offset(29), 1 << 40), 2);
        assert_eq!(expired(&segments(5), &all, Offset(0), Offset(30), 1 << 40), 3);
    }

    #[test]
    fn segments_before_the_start_go_even_from_a_compacted_log() {
        let mut keeps = config(Some(0), Some(0));
        keeps.cleanup_delete = false;
        keeps.cleanup_compact = true;
        assert_eq!(expired(&segments(5), &keeps, Offset(25), HIGH, 1 << 40), 2);
        assert_eq!(expired(&segments(5), &keeps, Offset(50), HIGH, 1 << 40), 4, "not the open one");
    }

    #[test]
    fn an_empty_open_segment_stays() {
        let mut two = segments(2);
        two[1].bytes = 0;
        assert_eq!(expired(&two, &config(Some(0), None), Offset(0), HIGH, 1 << 40), 1);
    }
}
