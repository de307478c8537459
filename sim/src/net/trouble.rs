//! What the nemesis does to connections: resets, late bytes, ends within a frame, peers that forget.
//!
//! Which connection it hits is drawn from the fault's own stream.

use std::io::ErrorKind;
use std::time::Duration;

use super::end::{End, Life, wake};
use super::wires::{State, Wires};
use crate::chance::Chance;

impl Wires {
    /// Breaks a drawn share of the connections that `host` has, at both ends.
    pub fn reset_connections(&self, host: usize, share: f64, chance: &mut Chance) -> usize {
        let mut state = self.state();
        let mut count = 0;
        for (id, _) in state.ends_of(host) {
            if chance.happens(share) && state.connections.contains_key(&id) {
                count += 1;
                state.break_end(id, 0, ErrorKind::ConnectionReset);
                state.break_end(id, 1, ErrorKind::ConnectionReset);
                state.reap(id);
            }
        }
        count
    }

    /// Holds back what one drawn connection of `host` sends; it arrives later, in order.
    pub fn hold_one(&self, host: usize, wait: Duration, chance: &mut Chance) {
        let until = self.agenda.now() + wait;
        self.state().with_one(host, chance, |end| end.held_until = until);
    }

    /// One drawn connection of `host` ends when so many more bytes were sent there: the peer reads
    /// them and then the end of the stream.
    pub fn sever_one(&self, host: usize, after_bytes: usize, chance: &mut Chance) {
        self.state().with_one(host, chance, |end| end.severed_after = Some(after_bytes));
    }

    /// `host` forgets one drawn connection. Its peer finds out when it sends something, or never.
    pub fn forget_one(&self, host: usize, chance: &mut Chance) {
        let forget = |end: &mut End| {
            end.life = Life::Forgotten;
            end.received.clear();
            end.wire.clear();
            wake(&mut end.reader);
            wake(&mut end.writer);
        };
        let mut state = self.state();
        if let Some(id) = state.with_one(host, chance, forget) {
            state.reap(id);
        }
    }

    /// Lets go of everything that is held, and mends every link.
    pub fn heal(&self) {
        let mut state = self.state();
        state.links.heal_all();
        for end in state.connections.values_mut().flatten() {
            end.held_until = Duration::ZERO;
            end.severed_after = None;
        }
    }
}

impl State {
    /// Does something to a drawn connection of `host`, if it has one.
    fn with_one(
        &mut self,
        host: usize,
        chance: &mut Chance,
        turn: impl FnOnce(&mut End),
    ) -> Option<u64> {
        let ends = self.ends_of(host);
        let (id, side) = *ends.get(chance.index(ends.len().max(1)))?;
        turn(&mut self.connections.get_mut(&id).expect("just listed")[side]);
        Some(id)
    }

    /// What is on the wire still arrives; the process at this end can do nothing with it any more.
    pub(super) fn sever(&mut self, id: u64, side: usize) {
        let Some(ends) = self.connections.get_mut(&id) else { return };
        let end = &mut ends[side];
        end.finished = true;
        end.broken.get_or_insert(ErrorKind::ConnectionReset);
        end.received.clear();
        wake(&mut end.reader);
        wake(&mut end.writer);
    }
}
