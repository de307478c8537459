//! What the clients of a simulated run need of it, beside their own world.

use crate::check::Violation;
use crate::workload::Witness;
use crate::world::World;

impl Witness for World {
    fn now_nanos(&self) -> u64 {
        self.agenda.now().as_nanos() as u64
    }

    fn note(&self, process: &str, what: String) {
        self.record(process, what);
    }

    fn broken(&self, violation: Violation) {
        violation.raise();
    }
}
