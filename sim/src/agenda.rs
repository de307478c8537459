//! What will happen, and when: every sleep, delivery and disk completion of a run.
//!
//! madsim's own sleeps have a floor of 1 ms and cannot be cancelled, so that thousands of timeouts
//! that never fire would fill its heap. Here one queue holds everything, ordered by (virtual time,
//! order of insertion), a dropped sleep leaves it at once, and madsim holds a timer for the head.
//!
//! Invariant: an event never runs before its time, and never under a lock of this file.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::runtime::NodeHandle;
use madsim::time::TimeHandle;

#[derive(Clone)]
pub struct Agenda {
    time: TimeHandle,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    events: BTreeMap<Key, Event>,
    inserted: u64,
    /// The task that runs what is due. Known once it was polled.
    driver: Option<Waker>,
    /// When madsim will wake the driver.
    armed: Option<Duration>,
}

/// Virtual time, then order of insertion.
type Key = (Duration, u64);

enum Event {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

impl Agenda {
    /// Starts the driver on `host`, a node that is never killed.
    pub fn start(host: &NodeHandle) -> Agenda {
        let agenda = Agenda { time: TimeHandle::current(), queue: Arc::default() };
        let driver = agenda.clone();
        host.spawn(poll_fn(move |cx| driver.run_due(cx)));
        agenda
    }

    /// Time since the run began, the same for all nodes.
    pub fn now(&self) -> Duration {
        self.time.elapsed()
    }

    pub fn run_at(&self, at: Duration, event: impl FnOnce() + Send + 'static) {
        self.insert(at, Event::Run(Box::new(event)));
    }

    pub fn run_after(&self, wait: Duration, event: impl FnOnce() + Send + 'static) {
        self.run_at(self.now() + wait, event);
    }

    pub fn sleep_until(&self, at: Duration) -> Sleep {
        Sleep { agenda: self.clone(), at, waiting: None }
    }

    pub fn sleep(&self, wait: Duration) -> Sleep {
        self.sleep_until(self.now() + wait)
    }

    fn insert(&self, at: Duration, event: Event) -> Key {
        let mut queue = self.queue.lock().unwrap();
        queue.inserted += 1;
        let key = (at, queue.inserted);
        queue.events.insert(key, event);
        queue.arm(&self.time);
        key
    }

    fn run_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let event = {
                let mut queue = self.queue.lock().unwrap();
                queue.driver = Some(cx.waker().clone());
                let due = queue.events.first_entry().filter(|e| e.key().0 <= self.time.elapsed());
                match due {
                    Some(entry) => entry.remove(),
                    None => {
                        queue.armed = None;
                        queue.arm(&self.time);
                        return Poll::Pending;
                    }
                }
            };
            match event {
                Event::Wake(waker) => waker.wake(),
                Event::Run(run) => run(),
            }
        }
    }
}

impl Queue {
    /// Has madsim wake the driver when the first event is due, unless it will already.
    fn arm(&mut self, time: &TimeHandle) {
        let (Some((&(at, _), _)), Some(driver)) = (self.events.first_key_value(), &self.driver)
        else {
            return;
        };
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.armed = Some(at);
        // A madsim sleep has a floor of 1 ms when made, but not when reset.
        let mut timer = pin!(time.sleep(Duration::ZERO));
        timer.as_mut().reset(time.now_instant() + at.saturating_sub(time.elapsed()));
        if timer.poll(&mut Context::from_waker(driver)).is_ready() {
            driver.wake_by_ref();
        }
    }
}

/// Ends once the run's time reaches `at`. One entry in the agenda, gone when dropped.
pub struct Sleep {
    agenda: Agenda,
    at: Duration,
    waiting: Option<(Key, Waker)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.agenda.now() >= self.at {
            return Poll::Ready(());
        }
        if self.waiting.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.forget();
        let key = self.agenda.insert(self.at, Event::Wake(cx.waker().clone()));
        self.waiting = Some((key, cx.waker().clone()));
        Poll::Pending
    }
}

impl Sleep {
    fn forget(&mut self) {
        if let Some((key, _)) = self.waiting.take() {
            // Dropped after the lock is released: a waker may own the last piece of a task.
            let forgotten = self.agenda.queue.lock().unwrap().events.remove(&key);
            drop(forgotten);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use madsim::runtime::{Handle, Runtime};

    use super::*;

    fn in_simulation<F: Future>(test: impl FnOnce(Agenda) -> F) -> F::Output {
        Runtime::with_seed_and_config(1, madsim::Config::default()).block_on(async {
            let host = Handle::current().create_node().name("fabric").build();
            test(Agenda::start(&host)).await
        })
    }

    #[test]
    fn sleeps_end_at_their_time_and_events_run_in_order() {
        in_simulation(|agenda| async move {
            let seen = Arc::new(Mutex::new(vec![]));
            for micros in [30, 10, 20, 10] {
                let (seen, agenda2) = (seen.clone(), agenda.clone());
                agenda.run_after(Duration::from_micros(micros), move || {
                    seen.lock().unwrap().push((micros, agenda2.now().as_micros() as u64));
                });
            }
            agenda.sleep(Duration::from_micros(100)).await;
            let order: Vec<_> = seen.lock().unwrap().iter().map(|(due, _)| *due).collect();
            assert_eq!(order, [10, 10, 20, 30]);
            assert!(seen.lock().unwrap().iter().all(|(due, ran)| ran >= due && *ran <= due + 5));
        });
    }

    #[test]
    fn a_dropped_sleep_leaves_nothing_behind() {
        in_simulation(|agenda| async move {
            for _ in 0..100 {
                let mut long = pin!(agenda.sleep(Duration::from_secs(1000)));
                poll_fn(|cx| {
                    assert!(long.as_mut().poll(cx).is_pending());
                    Poll::Ready(())
                })
                .await;
            }
            agenda.sleep(Duration::from_millis(1)).await;
            assert_eq!(agenda.queue.lock().unwrap().events.len(), 0);
        });
    }
}
