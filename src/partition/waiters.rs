//! Tasks that wait for a partition to move: producers for their commit, fetches for records.
//!
//! Every waiter is woken on every move and looks for itself whether it got what it wanted: one
//! wake-up a commit, not one a request, and a wake-up too many does no harm.

use std::task::Waker;

/// Past this many, all are woken and forgotten: what is left then are tasks that no longer wait
/// here, and whose memory we would hold.
const WAKERS_MAX: usize = 4096;

#[derive(Default)]
pub struct Waiters {
    wakers: Vec<Waker>,
}

impl Waiters {
    pub fn register(&mut self, waker: &Waker) {
        // A connection that asks again and again is one waiter.
        if self.wakers.iter().rev().any(|known| known.will_wake(waker)) {
            return;
        }
        if self.wakers.len() >= WAKERS_MAX {
            self.wake();
        }
        self.wakers.push(waker.clone());
    }

    /// Wakes all, in the order in which they came.
    pub fn wake(&mut self) {
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
    }
}
