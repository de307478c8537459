//! Tasks that wait for a partition to move: producers for their commit, fetches for records.
//!
//! Every waiter is woken on every move and looks for itself whether it got what it wanted: one
//! wake-up a commit, not one a request, and a wake-up too many does no harm. Moves are counted, so
//! that who looked some time ago can tell whether anything happened since.

use std::task::Waker;

/// Past this many, all are woken and forgotten: what is left then are tasks that no longer wait
/// here, and whose memory we would hold. Those that do wait come back, so the bound then doubles.
const WAKERS_MAX: usize = 4096;

pub struct Waiters {
    wakers: Vec<Waker>,
    wakers_max: usize,
    moves: u64,
}

impl Default for Waiters {
    fn default() -> Waiters {
        Waiters { wakers: Vec::new(), wakers_max: WAKERS_MAX, moves: 0 }
    }
}

impl Waiters {
    pub fn register(&mut self, waker: &Waker) {
        // A connection that asks again and again is one waiter.
        if self.wakers.iter().rev().any(|known| known.will_wake(waker)) {
            return;
        }
        if self.wakers.len() >= self.wakers_max {
            self.wakers_max *= 2;
            self.wake_all();
        }
        self.wakers.push(waker.clone());
    }

    /// How often the partition has moved so far.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The partition moved: wakes all, in the order in which they came.
    pub fn wake(&mut self) {
        self.moves += 1;
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_each_task_once() {
        let (count, mut waiters) = (Arc::new(Count::default()), Waiters::default());
        let waker = Waker::from(count.clone());
        waiters.register(&waker);
        waiters.register(&waker);
        waiters.wake();
        waiters.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(waiters.moves(), 2);
    }

    #[test]
    fn holds_no_more_than_its_bound() {
        let mut waiters = Waiters::default();
        let tasks: Vec<_> = (0..WAKERS_MAX + 1).map(|_| Arc::new(Count::default())).collect();
        for task in &tasks {
            waiters.register(&Waker::from(task.clone()));
        }
        assert_eq!(waiters.wakers.len(), 1);
        assert_eq!(tasks[0].0.load(Ordering::Relaxed), 1, "woken, to look for itself");
        assert_eq!(waiters.moves(), 0, "nothing happened");
        for task in &tasks {
            waiters.register(&Waker::from(task.clone()));
        }
        assert_eq!(waiters.wakers.len(), tasks.len(), "all that still wait are kept");
    }
}
