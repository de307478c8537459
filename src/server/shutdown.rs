//! Tells every task of the server to come to an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set once, by anybody; clones share it.
#[derive(Clone, Default)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    set: AtomicBool,
    notify: Notify,
}

impl Shutdown {
    pub fn set(&self) {
        self.shared.set.store(true, Ordering::Release);
        self.shared.notify.notify_waiters();
    }

    pub fn is_set(&self) -> bool {
        self.shared.set.load(Ordering::Acquire)
    }

    /// Returns once it is set.
    pub async fn wait(&self) {
        // Registered before the flag is read, so that no notice falls between the two.
        let mut notified = std::pin::pin!(self.shared.notify.notified());
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}
