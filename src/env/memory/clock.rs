//! A clock that stands still until a test moves it, or the machine's.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::env::clock::Clock;
use crate::env::tokio::clock::TokioClock;
use crate::types::Instant;

#[derive(Clone)]
pub enum MemoryClock {
    Real(TokioClock),
    Held(Held),
}

#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Instant,
    /// By deadline; the number tells those of one deadline apart.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    slept: u64,
}

/// 2026, so that stamped records are not of long ago.
const EPOCH_MS: i64 = 1_767_225_600_000;

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Moves the time on, and wakes whose time has come.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state.now.after(by);
        let later = (state.now, u64::MAX);
        let still = state.sleepers.split_off(&later);
        for waker in std::mem::replace(&mut state.sleepers, still).into_values() {
            waker.wake();
        }
    }
}

impl Clock for MemoryClock {
    fn now(&self) -> Instant {
        match self {
            MemoryClock::Real(clock) => clock.now(),
            MemoryClock::Held(held) => held.state().now,
        }
    }

    fn wall_ms(&self) -> i64 {
        match self {
            MemoryClock::Real(clock) => clock.wall_ms(),
            MemoryClock::Held(held) => EPOCH_MS + held.state().now.0.as_millis() as i64,
        }
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let clock = self.clone();
        async move {
            let held = match clock {
                MemoryClock::Real(clock) => return clock.sleep_until(deadline).await,
                MemoryClock::Held(held) => held,
            };
            let mut sleep = Sleep { key: None, held };
            poll_fn(|cx| sleep.poll(deadline, cx.waker())).await;
        }
    }
}

struct Sleep {
    held: Held,
    key: Option<(Instant, u64)>,
}

impl Sleep {
    fn poll(&mut self, deadline: Instant, waker: &Waker) -> Poll<()> {
        let mut state = self.held.state();
        if state.now >= deadline {
            return Poll::Ready(());
        }
        let number = state.slept;
        let key = *self.key.get_or_insert((deadline, number));
        state.slept += 1;
        state.sleepers.insert(key, waker.clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.held.state().sleepers.remove(&key);
        }
    }
}
