//! The machine's clocks.

use std::future::Future;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::env::clock::Clock;
use crate::types::Instant;

#[derive(Clone, Debug)]
pub struct TokioClock {
    boot: std::time::Instant,
}

impl TokioClock {
    pub fn start() -> TokioClock {
        TokioClock { boot: std::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant(self.boot.elapsed())
    }

    fn wall_ms(&self) -> i64 {
        let ms = |wall: std::time::Duration| i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => -ms(before.duration()),
        }
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let deadline = self.boot.checked_add(deadline.0);
        async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::clock::Elapsed;

    #[tokio::test]
    async fn a_sleep_never_ends_early() {
        let clock = TokioClock::start();
        for wait in [0, 1, 3, 10].map(Duration::from_millis) {
            let deadline = clock.now().after(wait);
            clock.sleep_until(deadline).await;
            assert!(clock.now() >= deadline);
        }
    }

    #[tokio::test]
    async fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
        let clock = TokioClock::start();
        let stuck = clock.timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
        assert_eq!(stuck, Err(Elapsed));
        assert_eq!(clock.timeout(Duration::MAX, async { 7 }).await, Ok(7));
    }

    #[test]
    fn the_wall_clock_counts_from_1970() {
        let year_2020_ms = 1_577_836_800_000;
        assert!(TokioClock::start().wall_ms() > year_2020_ms);
    }
}
