//! What we ask of a clock, and what we do not believe about it.
//!
//! 1. `now` never goes back and is not suspended. It may run a little fast or slow.
//! 2. `wall_ms` may jump either way, by any amount, at any time: it stamps records and ages files,
//!    and no safety rests on it.
//! 3. A sleep never ends early by `now`; it may end late.

use std::future::Future;
use std::time::Duration;

use crate::types::Instant;

pub trait Clock: Clone + Send + Sync + 'static {
    /// Monotonic time since this process booted.
    fn now(&self) -> Instant;

    /// Milliseconds since 1970, UTC.
    fn wall_ms(&self) -> i64;

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send;

    fn sleep(&self, wait: Duration) -> impl Future<Output = ()> + Send {
        self.sleep_until(self.now().after(wait))
    }

    /// `Err` when `wait` passes first. The future is dropped then.
    fn timeout<F>(
        &self,
        wait: Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + Send
    where
        F: Future + Send,
        F::Output: Send,
    {
        let expiry = self.sleep(wait);
        async move {
            tokio::select! {
                biased;
                output = future => Ok(output),
                () = expiry => Err(Elapsed),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;
