//! What a fetch is given: bytes from the batch that holds the offset on, and nothing that consumers
//! may not read yet (I11). A search through an index finds what a walk would find (I48).

use ottla::types::Offset;

use super::batches::Batches;
use super::{Log, Verdict, broken};
use crate::check::Invariant::{I11, I48};

#[derive(Clone, Copy, Debug)]
pub struct Fetched {
    pub from: Offset,
    pub at: u64,
    pub len: u32,
    /// The high watermark when it was read.
    pub limit: Offset,
}

impl Fetched {
    pub fn check(&self, log: Log, batches: &Batches, high_watermark: Offset) -> Verdict {
        let Fetched { from, at, len, limit } = *self;
        let Some(first) = batches.after(from).next() else {
            return broken(I11, format!("{log} serves {self:?}, where nothing was written"));
        };
        if first.position != at {
            let evidence = format!("{log} serves {self:?}; the batch that holds it is {first:?}");
            return broken(I48, evidence);
        }
        let end = at + u64::from(len);
        let inside = batches
            .after(from)
            .take_while(|batch| batch.segment == first.segment && batch.position < end)
            .last()
            .expect("the first one is");
        if limit > high_watermark || inside.end > limit || inside.position_end() < end {
            let evidence = format!(
                "{log} serves {self:?}, up to offset {} and byte {} of its segment, where the high \
                 watermark is {high_watermark}",
                inside.end,
                inside.position_end()
            );
            return broken(I11, evidence);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LOG, batch, broke, known};
    use super::*;
    use crate::check::Invariant;

    /// Of batches at 0, 5 and 6, of 100 bytes each; the last one is not committed.
    fn serves(from: i64, at: u64, len: u32, limit: i64) -> Option<Invariant> {
        let batches = known([batch(0, 5, 1, 0), batch(5, 6, 1, 0), batch(6, 9, 1, 0)]);
        let fetched = Fetched { from: Offset(from), at, len, limit: Offset(limit) };
        broke(fetched.check(LOG, &batches, Offset(6)))
    }

    #[test]
    fn what_is_committed_is_served_whole_or_in_part() {
        for (from, at, len) in [(0, 0, 200), (3, 0, 100), (5, 100, 100), (0, 0, 150), (0, 0, 1)] {
            assert_eq!(serves(from, at, len, 6), None);
        }
    }

    #[test]
    fn what_is_not_committed_is_not_served() {
        assert_eq!(serves(0, 0, 201, 6), Some(I11));
        assert_eq!(serves(6, 200, 100, 6), Some(I11));
        assert_eq!(serves(0, 0, 300, 9), Some(I11), "the limit itself is wrong");
        assert_eq!(serves(9, 300, 100, 6), Some(I11), "nothing is there");
    }

    #[test]
    fn a_search_that_goes_astray_is_caught() {
        assert_eq!(serves(5, 0, 200, 6), Some(I48));
        assert_eq!(serves(3, 100, 100, 6), Some(I48));
    }
}
