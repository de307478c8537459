//! A fetch waits only for what is not there, and goes on when it comes (I58): whoever is woken late
//! still answers when its time is up, and no client could tell that it was late.

use std::time::Duration;

use ottla::types::Offset;

use super::batches::Batches;
use super::{Log, Verdict, broken};
use crate::check::Invariant::I58;

/// From the move of a high watermark until those who wait for it have looked.
const WAKE_MAX: Duration = Duration::from_millis(10);

/// A fetch that gave up.
#[derive(Clone, Copy, Debug)]
pub struct Expired {
    pub from: Offset,
    /// The high watermark when it looked last.
    pub limit: Offset,
    pub bytes_min: u64,
    pub bytes_max: u32,
    /// Since it looked last, by a clock that may drift.
    pub waited: Duration,
}

/// When something happened, by the simulator's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    pub to: Offset,
    pub at: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub at: Duration,
    /// When the process was started, or went on after a pause.
    pub runs_since: Duration,
}

impl Expired {
    pub fn check(&self, log: Log, batches: &Batches, moved: Moved, now: Now) -> Verdict {
        let there: Vec<_> =
            batches.after(self.from).take_while(|batch| batch.end <= self.limit).collect();
        let bytes: u64 = there.iter().map(|batch| batch.size).sum();
        if bytes > 0 && bytes.min(self.bytes_max.into()) >= self.bytes_min {
            return broken(I58, format!("{log}: {self:?} waited where {bytes} bytes were there"));
        }
        let segment = there.first().map(|first| first.segment);
        if there.iter().any(|batch| Some(batch.segment) != segment) {
            let evidence = format!("{log}: {self:?} waited for a closed segment to grow");
            return broken(I58, evidence);
        }
        // Its clock may be a twentieth too fast.
        let looked_at = now.at.saturating_sub(self.waited * 9 / 10);
        let ran = moved.at > looked_at.max(now.runs_since);
        if moved.to > self.limit && ran && moved.at + WAKE_MAX < now.at {
            let evidence =
                format!("{log}: {self:?} gave up at {:?}, and was not woken by {moved:?}", now.at);
            return broken(I58, evidence);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::image::Batch;
    use super::super::tests::{LOG, batch, broke, known};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn now(resumed: u32) -> Now {
        Now { at: 1000 * MS, runs_since: resumed * MS }
    }

    /// Of batches at 0, 5 and 6, of 100 bytes each, the last one in a segment of its own.
    fn gives_up(from: i64, limit: i64, bytes_min: u64) -> bool {
        let last = Batch { segment: Offset(6), ..batch(6, 9, 1, 0) };
        let batches = known([batch(0, 5, 1, 0), batch(5, 6, 1, 0), last]);
        let (from, limit) = (Offset(from), Offset(limit));
        let expired = Expired { from, limit, bytes_min, bytes_max: 1000, waited: 500 * MS };
        let moved = Moved { to: limit, at: 900 * MS };
        broke(expired.check(LOG, &batches, moved, now(0))).is_none()
    }

    #[test]
    fn with_too_little_it_waits() {
        assert!(gives_up(6, 6, 1), "nothing is there");
        assert!(gives_up(6, 9, 101));
        assert!(gives_up(0, 5, 101));
        assert!(!gives_up(6, 9, 100));
        assert!(!gives_up(0, 6, 200));
        assert!(!gives_up(3, 5, 1), "the batch that holds it");
    }

    #[test]
    fn nobody_waits_for_a_closed_segment_to_grow() {
        assert!(gives_up(0, 6, 201), "the next one is not known yet");
        assert!(!gives_up(0, 9, 301));
    }

    #[test]
    fn it_is_woken_when_something_comes() {
        let gives_up_after = |to: i64, at: u32, waited: u32, resumed: u32| {
            let (from, limit, waited) = (Offset(6), Offset(6), waited * MS);
            let expired = Expired { from, limit, bytes_min: 1, bytes_max: 1000, waited };
            let moved = Moved { to: Offset(to), at: at * MS };
            broke(expired.check(LOG, &Batches::default(), moved, now(resumed))).is_none()
        };
        let gives_up = |to, at, waited| gives_up_after(to, at, waited, 0);
        assert!(!gives_up(9, 800, 500));
        assert!(gives_up(9, 400, 500), "before it looked: it was seen, or is no concern of its");
        assert!(gives_up(9, 995, 500), "it may be about to look");
        assert!(gives_up(6, 800, 500), "nothing came");
        assert!(gives_up(9, 540, 500), "clocks drift");
        assert!(!gives_up_after(9, 800, 500, 700));
        assert!(gives_up_after(9, 800, 500, 900), "the process was paused meanwhile");
    }
}
