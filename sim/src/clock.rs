//! The clocks of a node: one that only goes forward, a little fast or slow, and one that lies.
//!
//! Promises are in `src/env/clock.rs`. Broken here: the wall clock is off by a drawn amount and
//! jumps, both clocks drift, and a sleep ends late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::env::clock::Clock;
use ottla::types::Instant;

use crate::agenda::Agenda;
use crate::chance::Chance;

/// What the wall shows when a run begins and nothing lies: 2026-09-21, 12:26 UTC.
pub const WALL_START_MS: i64 = 1_790_000_760_000;

/// How late a sleep may end: the scheduler's slack.
const LATE_NANOS_MAX: u64 = 200_000;

/// The hardware of one node: it outlives processes and power losses.
#[derive(Clone)]
pub struct NodeClock {
    agenda: Agenda,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The last change of drift: the run's time, and this clock's time then.
    global_base: Duration,
    local_base: Duration,
    drift_ppm: i64,
    wall_offset_ms: i64,
    chance: Chance,
}

impl NodeClock {
    pub fn new(agenda: Agenda, drift_ppm: i64, wall_offset_ms: i64, chance: Chance) -> NodeClock {
        let global_base = agenda.now();
        let local_base = Duration::ZERO;
        let state = State { global_base, local_base, drift_ppm, wall_offset_ms, chance };
        NodeClock { agenda, state: Arc::new(Mutex::new(state)) }
    }

    pub fn set_drift(&self, drift_ppm: i64) {
        let mut state = self.state.lock().unwrap();
        let global = self.agenda.now();
        state.local_base = state.local(global);
        state.global_base = global;
        state.drift_ppm = drift_ppm;
    }

    pub fn jump_wall(&self, by_ms: i64) {
        self.state.lock().unwrap().wall_offset_ms += by_ms;
    }

    pub fn wall_ms(&self) -> i64 {
        let state = self.state.lock().unwrap();
        WALL_START_MS + state.local(self.agenda.now()).as_millis() as i64 + state.wall_offset_ms
    }

    /// A process starts: its monotonic time begins now.
    pub fn boot(&self) -> SimClock {
        SimClock { node: self.clone(), booted: self.local() }
    }

    fn local(&self) -> Duration {
        self.state.lock().unwrap().local(self.agenda.now())
    }
}

impl State {
    fn local(&self, global: Duration) -> Duration {
        let elapsed = (global - self.global_base).as_nanos() as i128;
        let local = elapsed * (1_000_000 + self.drift_ppm as i128) / 1_000_000;
        self.local_base + Duration::from_nanos(local as u64)
    }

    /// How long the run must go on for this clock to advance by `local`, rounded up.
    fn global_wait(&self, local: Duration) -> Duration {
        let rate = 1_000_000 + self.drift_ppm as i128;
        Duration::from_nanos((local.as_nanos() as i128 * 1_000_000 / rate) as u64 + 1)
    }
}

/// The clock as one process sees it.
#[derive(Clone)]
pub struct SimClock {
    node: NodeClock,
    booted: Duration,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant(self.node.local() - self.booted)
    }

    fn wall_ms(&self) -> i64 {
        self.node.wall_ms()
    }

    async fn sleep_until(&self, deadline: Instant) {
        loop {
            let left = deadline.since(self.now());
            if left.is_zero() {
                return;
            }
            let wait = {
                let mut state = self.node.state.lock().unwrap();
                let late = Duration::from_nanos(state.chance.between(0..LATE_NANOS_MAX));
                state.global_wait(left) + late
            };
            // Once more round when the drift changed meanwhile. Centuries fit no agenda.
            self.node.agenda.sleep(wait.min(Duration::from_secs(1 << 32))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use madsim::runtime::{Handle, Runtime};

    use super::*;
    use crate::chance::Subsystem;

    fn with_clock<F: Future<Output = ()>>(drift_ppm: i64, test: impl FnOnce(NodeClock) -> F) {
        Runtime::with_seed_and_config(1, madsim::Config::default()).block_on(async {
            let host = Handle::current().create_node().name("fabric").build();
            let chance = Chance::stream(1, Subsystem::Clock, 0, 0);
            test(NodeClock::new(Agenda::start(&host), drift_ppm, 0, chance)).await;
        });
    }

    #[test]
    fn sleeps_never_end_early_by_the_clock_that_drifts() {
        for drift_ppm in [-50_000, -200, 0, 200, 50_000] {
            with_clock(drift_ppm, |node| async move {
                let clock = node.boot();
                for wait in [1, 999, 1_000_000, 3_600_000_000] {
                    let (before, wait) = (clock.now(), Duration::from_micros(wait));
                    let global = node.agenda.now();
                    clock.sleep(wait).await;
                    assert!(clock.now() >= before.after(wait));
                    assert!(clock.now().since(before) < wait + Duration::from_millis(1));
                    let rate = wait.as_secs_f64() / (node.agenda.now() - global).as_secs_f64();
                    if wait > Duration::from_secs(1000) {
                        assert!((rate - 1.0 - drift_ppm as f64 / 1e6).abs() < 1e-6, "rate {rate}");
                    }
                }
            });
        }
    }

    #[test]
    fn the_wall_jumps_and_the_other_clock_does_not_notice() {
        with_clock(0, |node| async move {
            let clock = node.boot();
            let (now, wall) = (clock.now(), clock.wall_ms());
            node.jump_wall(-86_400_000);
            assert_eq!(clock.wall_ms(), wall - 86_400_000);
            assert!(clock.now() >= now);
            assert!(clock.now().since(now) < Duration::from_millis(1));
        });
    }

    #[test]
    fn a_change_of_drift_never_turns_time_back() {
        with_clock(50_000, |node| async move {
            let clock = node.boot();
            let mut last = clock.now();
            for drift_ppm in [-50_000, 500, -500, 0, 50_000] {
                clock.sleep(Duration::from_secs(100)).await;
                node.set_drift(drift_ppm);
                assert!(clock.now() >= last);
                last = clock.now();
            }
        });
    }

    #[test]
    fn a_process_that_boots_later_counts_from_its_own_start() {
        with_clock(0, |node| async move {
            node.agenda.sleep(Duration::from_secs(5)).await;
            assert!(node.boot().now() < Instant(Duration::from_millis(1)));
        });
    }
}
