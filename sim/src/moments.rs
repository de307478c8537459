//! The sensitive moments of one node, and who waits for them.
//!
//! Disk and world say when a window opens. A fault that waits for one is carried out soon after, as
//! its plan says, so that faults meet syncs, rolls and recoveries far more often than by chance.

use std::sync::{Arc, Mutex};

use crate::plan::fault::Window;

type Then = Box<dyn FnOnce() + Send>;

#[derive(Clone, Default)]
pub struct Moments {
    waiting: Arc<Mutex<Vec<(Window, Then)>>>,
}

impl Moments {
    /// Calls `then` when `window` opens next. It is called from within what opens the window: it
    /// may plan things, not do them.
    pub fn next(&self, window: Window, then: impl FnOnce() + Send + 'static) {
        self.waiting.lock().unwrap().push((window, Box::new(then)));
    }

    pub fn opened(&self, window: Window) {
        let called: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.extract_if(.., |(awaited, _)| *awaited == window).collect()
        };
        called.into_iter().for_each(|(_, then)| then());
    }

    /// Nobody waits any more.
    pub fn close(&self) {
        self.waiting.lock().unwrap().clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn who_waits_is_called_once_when_the_window_opens() {
        let (moments, called) = (Moments::default(), Arc::new(AtomicU32::new(0)));
        for window in [Window::Syncing, Window::Recovering] {
            let called = called.clone();
            moments.next(window, move || {
                called.fetch_add(1, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            moments.opened(Window::Syncing);
            assert_eq!(called.load(Ordering::Relaxed), 1);
        }
        moments.close();
        moments.opened(Window::Recovering);
        assert_eq!(called.load(Ordering::Relaxed), 1);
    }
}
