//! What the clients of a simulated run need of it, beside their own world.

use crate::budget::Budget;
use crate::check::Violation;
use crate::workload::Witness;
use crate::world::World;

pub struct Onlooker {
    pub world: World,
    pub budget: Budget,
}

impl Witness for Onlooker {
    fn now_nanos(&self) -> u64 {
        self.world.agenda.now().as_nanos() as u64
    }

    fn note(&self, process: &str, what: String) {
        self.world.record(process, what);
    }

    /// Where a last copy was destroyed clients may be told anything; checkers that know what was hit
    /// judge the rest.
    fn broken(&self, violation: Violation) {
        if self.budget.is_intact() {
            violation.raise();
        }
    }
}
