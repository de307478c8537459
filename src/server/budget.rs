//! Memory for requests: taken before a frame is read, returned when its answer is written.
//!
//! A connection that finds the budget empty is simply not read: TCP then slows its client down.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT_BYTES: usize = 1 << 10;

#[derive(Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    units_max: u32,
}

/// Part of the budget; given back when dropped.
pub struct Share(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    pub fn new(bytes_max: usize) -> Budget {
        let units_max = bytes_max.div_ceil(UNIT_BYTES).clamp(1, u32::MAX as usize >> 3) as u32;
        Budget { free: Arc::new(Semaphore::new(units_max as usize)), units_max }
    }

    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        self.free.clone().try_acquire_many_owned(self.units(bytes)).ok().map(Share)
    }

    /// In the order of asking, so that a large frame is not starved by small ones.
    pub async fn take(&self, bytes: usize) -> Share {
        let permit = self.free.clone().acquire_many_owned(self.units(bytes)).await;
        Share(permit.expect("nobody closes the semaphore"))
    }

    /// A frame above the whole budget takes all of it: it is read alone.
    fn units(&self, bytes: usize) -> u32 {
        (bytes.div_ceil(UNIT_BYTES) as u64).clamp(1, u64::from(self.units_max)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_no_more_than_it_has() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let half = budget.try_take(5 * UNIT_BYTES).expect("all free");
        assert!(budget.try_take(6 * UNIT_BYTES).is_none());
        drop(half);
        assert!(budget.try_take(6 * UNIT_BYTES).is_some());
    }

    #[test]
    fn a_frame_above_the_budget_is_read_alone() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let all = budget.try_take(100 * UNIT_BYTES).expect("all free");
        assert!(budget.try_take(1).is_none());
        drop(all);
        assert!(budget.try_take(1).is_some());
    }
}
