//! The ledger of copies: what may be destroyed and still must not be lost.
//!
//! A destructive act needs a permit. Within the budget, one less than the copies that every
//! acknowledged record has, it costs nothing but a copy. Beyond it, in runs that are meant for
//! that, what it hits is forfeit: it may be gone, and what must hold instead is a clean refusal
//! (I45) and an honest report (I43). One node holds one copy of everything, so that here each such
//! act is beyond.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::plan::Plan;
use crate::plan::fault::Class;

#[derive(Clone, Default)]
pub struct Budget {
    /// The plan wants more destroyed than there are copies.
    may_exceed: bool,
    /// Copies that can go before the last one.
    spare: u32,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Default)]
struct Ledger {
    destroyed: u32,
    forfeit: BTreeSet<Copy>,
}

/// What an act destroys a copy of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copy {
    Partition {
        topic: String,
        index: u32,
    },
    /// Everything that one broker keeps.
    Broker(usize),
}

impl Budget {
    pub fn of(plan: &Plan) -> Budget {
        let may_exceed = plan.faults.iter().any(|p| p.fault.class() == Class::Damage);
        let spare = plan.brokers.len() as u32 - 1;
        Budget { may_exceed, spare, ledger: Arc::default() }
    }

    /// May a copy of `what` be destroyed? A yes is written down: the copy counts as gone.
    pub fn permit(&self, what: &Copy) -> bool {
        let mut ledger = self.ledger.lock().unwrap();
        if ledger.destroyed < self.spare {
            ledger.destroyed += 1;
            return true;
        }
        if self.may_exceed {
            ledger.forfeit.insert(what.clone());
        }
        self.may_exceed
    }

    /// Was the last copy destroyed?
    pub fn is_forfeit(&self, topic: &str, index: u32) -> bool {
        let ledger = self.ledger.lock().unwrap();
        ledger.forfeit.iter().any(|copy| match copy {
            Copy::Partition { topic: forfeit, index: at } => forfeit == topic && *at == index,
            Copy::Broker(_) => true,
        })
    }

    pub fn is_broker_forfeit(&self, broker: usize) -> bool {
        self.ledger.lock().unwrap().forfeit.contains(&Copy::Broker(broker))
    }

    pub fn is_intact(&self) -> bool {
        self.ledger.lock().unwrap().forfeit.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fault::{Damage, Fault, Planned, Repair};

    fn orders(index: u32) -> Copy {
        Copy::Partition { topic: "orders".to_string(), index }
    }

    fn plan(faults: Vec<Planned>) -> Plan {
        Plan { faults, ..Plan::draw(1, 1000) }
    }

    #[test]
    fn the_only_copy_is_not_destroyed_by_a_plan_that_does_not_mean_to() {
        let budget = Budget::of(&plan(vec![]));
        assert!(!budget.permit(&orders(0)));
        assert!(budget.is_intact());
    }

    #[test]
    fn beyond_the_budget_what_was_hit_is_forfeit_and_nothing_else() {
        let repair = Repair { after_ms: 1, power: None };
        let fault = Fault::Damage { broker: 0, damage: Damage::Rot, repair };
        let budget = Budget::of(&plan(vec![Planned { id: 1, at_ms: 0, moment: None, fault }]));
        assert!(budget.permit(&orders(1)));
        assert!(budget.is_forfeit("orders", 1) && !budget.is_broker_forfeit(0));
        assert!(!budget.is_forfeit("orders", 0) && !budget.is_forfeit("order", 1));
        assert!(budget.permit(&Copy::Broker(0)));
        assert!(budget.is_forfeit("orders", 0) && budget.is_broker_forfeit(0));
    }

    #[test]
    fn spare_copies_come_first() {
        let mut more = plan(vec![]);
        more.brokers.push(more.brokers[0].clone());
        let budget = Budget::of(&more);
        assert!(budget.permit(&orders(0)));
        assert!(budget.is_intact());
        assert!(!budget.permit(&orders(0)), "the last one stays");
    }
}
