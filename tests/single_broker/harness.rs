//! Starts nodes, speaks to them in whole requests or in single bytes, and kills them.

pub mod calls;
pub mod faults;
pub mod node;
pub mod wire;

use std::time::{Duration, Instant};

/// Nothing here takes so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`, looking again and again.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
