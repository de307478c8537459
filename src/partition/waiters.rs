//! Tasks that wait for a partition to move: producers for their commit, fetches for records.
//!
//! Every waiter is woken on every move and looks for itself whether it got what it wanted: one
//! wake-up a commit, not one a request, and a wake-up too many does no harm. Moves are counted, so
//! that who looked some time ago can tell whether anything happened since.
//!
//! A task that asks again is a waiter twice until those that came twice are sorted out, which is
//! done when their number has doubled. So to register costs the same with ten thousand waiters as
//! with ten, and there are never more than twice as many wakers as tasks, but for a few.

use std::collections::BTreeSet;
use std::task::Waker;

/// Past this many, all are woken and forgotten: what is left then are tasks that no longer wait
/// here, and whose memory we would hold. Those that do wait come back, so the bound then doubles.
const WAKERS_MAX: usize = 4096;

/// The newest so many are looked through at once: mostly it is they who ask again.
const RECENT: usize = 8;

/// So many are held before it is worth while to look for those that came twice.
const UNSORTED_MAX: usize = 64;

pub struct Waiters {
    wakers: Vec<Waker>,
    wakers_max: usize,
    /// With so many, those that came twice are sorted out.
    unsorted_max: usize,
    moves: u64,
}

impl Default for Waiters {
    fn default() -> Waiters {
        let (wakers_max, unsorted_max) = (WAKERS_MAX, UNSORTED_MAX);
        Waiters { wakers: Vec::new(), wakers_max, unsorted_max, moves: 0 }
    }
}

impl Waiters {
    pub fn register(&mut self, waker: &Waker) {
        if self.wakers.iter().rev().take(RECENT).any(|known| known.will_wake(waker)) {
            return;
        }
        if self.wakers.len() >= self.unsorted_max {
            self.sort_out();
        }
        if self.wakers.len() >= self.wakers_max {
            self.wakers_max *= 2;
            self.wake_all();
        }
        self.wakers.push(waker.clone());
    }

    /// Keeps the first of those that wake one task. In the order in which they came: where their
    /// tasks are in memory decides nothing.
    fn sort_out(&mut self) {
        let mut seen = BTreeSet::new();
        let task =
            |waker: &Waker| (waker.data() as usize, std::ptr::from_ref(waker.vtable()) as usize);
        self.wakers.retain(|waker| seen.insert(task(waker)));
        self.unsorted_max = (2 * self.wakers.len()).max(UNSORTED_MAX);
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
        self.unsorted_max = UNSORTED_MAX;
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

    fn tasks(count: usize) -> Vec<Arc<Count>> {
        (0..count).map(|_| Arc::default()).collect()
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
        let tasks = tasks(WAKERS_MAX + 1);
        for task in &tasks {
            waiters.register(&Waker::from(task.clone()));
        }
        assert_eq!(waiters.wakers.len(), 1);
        assert_eq!(tasks[0].0.load(Ordering::Relaxed), 1, "woken, to look for itself");
        assert_eq!(waiters.moves(), 0, "nothing happened");
        for task in &tasks {
            waiters.register(&Waker::from(task.clone()));
        }
        assert_eq!(waiters.wakers.len(), tasks.len() + 1, "all that still wait are kept");
    }

    #[test]
    fn ten_thousand_fetches_that_ask_again_and_again_are_held_twice_at_most() {
        const ROUNDS: usize = 200;
        let (tasks, mut waiters) = (tasks(10_000), Waiters::default());
        let wakers: Vec<Waker> = tasks.iter().map(|task| Waker::from(task.clone())).collect();
        // Looking through all of them each time would be ten thousand million looks.
        for _ in 0..ROUNDS {
            for waker in &wakers {
                waiters.register(waker);
                assert!(waiters.wakers.len() <= 2 * tasks.len() + UNSORTED_MAX);
            }
        }
        for task in &tasks {
            task.0.store(0, Ordering::Relaxed);
        }
        waiters.wake();
        for task in &tasks {
            assert!((1..=2).contains(&task.0.load(Ordering::Relaxed)));
        }
    }

    #[test]
    fn sorting_out_keeps_the_order_in_which_they_came() {
        let (tasks, mut waiters) = (tasks(20), Waiters::default());
        let wakers: Vec<Waker> = tasks.iter().map(|task| Waker::from(task.clone())).collect();
        for waker in wakers.iter().cycle().take(60) {
            waiters.register(waker);
        }
        assert_eq!(waiters.wakers.len(), 60);
        waiters.sort_out();
        assert_eq!(waiters.wakers.len(), 20);
        assert!(waiters.wakers.iter().zip(&wakers).all(|(kept, came)| kept.will_wake(came)));
    }
}
