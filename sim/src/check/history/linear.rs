//! Is there one order of concurrent calls that explains every answer?
//!
//! The search of Wing and Gong, with Lowe's memory of what was tried: a call may come next when no
//! other open one ended before it began. A call without an answer may have its effect at any time
//! after it began, or never.

use std::collections::{BTreeMap, BTreeSet};

/// Another order of answered calls is tried before it is assumed that one without an answer had its
/// effect, as far as that order is this much shorter. About as many calls as overlap.
const ASSUMED_COSTS: i64 = 10;

/// What one object does, one call after another.
pub trait Model<C> {
    type State: Clone + Ord;

    /// The state after `call`; none when in `state` it would have been answered otherwise.
    fn step(&self, state: &Self::State, call: &C) -> Option<Self::State>;

    /// Does the call never change what is there? It may still tell what that is.
    fn only_looks(&self, call: &C) -> bool;
}

/// A call in real time, by its places in the history.
#[derive(Clone, Debug)]
pub struct Span<C> {
    pub began: u64,
    /// None: nobody was told what became of it.
    pub ended: Option<u64>,
    pub call: C,
}

#[derive(Debug, PartialEq)]
pub enum Verdict<S> {
    Explained,
    /// The longest order that was found ends in `state`; none of the calls `open` can be next.
    Impossible {
        explained: usize,
        state: S,
        open: Vec<usize>,
    },
    /// Too many orders to try.
    Undecided,
}

/// Tries at most `orders_max` beginnings of orders. `spans` are sorted by `began`.
pub fn explain<C, M: Model<C>>(
    model: &M,
    begin: M::State,
    spans: &[Span<C>],
    orders_max: usize,
) -> Verdict<M::State> {
    assert!(spans.is_sorted_by_key(|span| span.began), "calls come in the order of their begin");
    let mut tried = BTreeSet::new();
    let mut ahead = Ahead::default();
    ahead.push(0, Beginning { done: Done::none(spans.len()), state: begin });
    let mut farthest: Option<(usize, M::State, Vec<usize>)> = None;
    while let Some(mut beginning) = ahead.pop() {
        let open = beginning.take_looks(model, spans);
        if open.iter().all(|&call| spans[call].ended.is_none()) {
            return Verdict::Explained;
        }
        if !tried.insert((beginning.done.clone(), beginning.state.clone())) {
            continue;
        }
        if tried.len() > orders_max {
            return Verdict::Undecided;
        }
        let (explained, _) = beginning.done.count(spans);
        if farthest.as_ref().is_none_or(|(most, ..)| *most < explained) {
            farthest = Some((explained, beginning.state.clone(), open.clone()));
        }
        beginning.push_next(model, spans, &open, &mut ahead);
    }
    let (explained, state, open) = farthest.expect("the first beginning was looked at");
    Verdict::Impossible { explained, state, open }
}

/// An order of some of the calls, and where it leads.
struct Beginning<S> {
    done: Done,
    state: S,
}

impl<S: Clone + Ord> Beginning<S> {
    /// An answered look that fits may as well come now: whatever order has it later is as good with
    /// it here. Gives the calls that may come next.
    fn take_looks<C, M: Model<C, State = S>>(
        &mut self,
        model: &M,
        spans: &[Span<C>],
    ) -> Vec<usize> {
        loop {
            let open = self.done.open(spans);
            let mut taken = false;
            for &call in open.iter().filter(|&&call| model.only_looks(&spans[call].call)) {
                if model.step(&self.state, &spans[call].call).as_ref() == Some(&self.state) {
                    self.done.add(call);
                    taken = true;
                }
            }
            if !taken {
                return open;
            }
        }
    }

    fn push_next<C, M: Model<C, State = S>>(
        &self,
        model: &M,
        spans: &[Span<C>],
        open: &[usize],
        ahead: &mut Ahead<S>,
    ) {
        for &call in open {
            let Some(state) = model.step(&self.state, &spans[call].call) else { continue };
            // One that may never have happened and changes nothing is of no use.
            if state != self.state || spans[call].ended.is_some() {
                let mut done = self.done.clone();
                done.add(call);
                let (explained, assumed) = done.count(spans);
                let promise = explained as i64 - assumed as i64 * ASSUMED_COSTS;
                ahead.push(promise, Beginning { done, state });
            }
        }
    }
}

/// Beginnings still to be tried, the most promising first: those that explain much and assume
/// little of calls without an answer. Of equals the latest.
struct Ahead<S>(BTreeMap<(i64, usize), Beginning<S>>, usize);

impl<S> Default for Ahead<S> {
    fn default() -> Ahead<S> {
        Ahead(BTreeMap::new(), 0)
    }
}

impl<S> Ahead<S> {
    fn push(&mut self, promise: i64, beginning: Beginning<S>) {
        self.1 += 1;
        self.0.insert((promise, self.1), beginning);
    }

    fn pop(&mut self) -> Option<Beginning<S>> {
        self.0.pop_last().map(|(_, beginning)| beginning)
    }
}

/// A set of calls.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done(Vec<u64>);

impl Done {
    fn none(calls: usize) -> Done {
        Done(vec![0; calls.div_ceil(64)])
    }

    fn add(&mut self, call: usize) {
        self.0[call / 64] |= 1 << (call % 64);
    }

    fn has(&self, call: usize) -> bool {
        self.0[call / 64] & (1 << (call % 64)) != 0
    }

    /// Calls with an answer, and without.
    fn count<C>(&self, spans: &[Span<C>]) -> (usize, usize) {
        let answered =
            (0..spans.len()).filter(|&call| self.has(call) && spans[call].ended.is_some());
        let all: u32 = self.0.iter().map(|word| word.count_ones()).sum();
        let answered = answered.count();
        (answered, all as usize - answered)
    }

    /// The calls that may come next: no other one ended before they began.
    fn open<C>(&self, spans: &[Span<C>]) -> Vec<usize> {
        let mut first_end = u64::MAX;
        let mut open = vec![];
        for (call, span) in spans.iter().enumerate() {
            if span.began > first_end {
                break;
            }
            if !self.has(call) {
                first_end = first_end.min(span.ended.unwrap_or(u64::MAX));
                open.push(call);
            }
        }
        open.retain(|&call| spans[call].began < first_end);
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register of one number.
    struct Register;

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Write(u32),
        Read(u32),
    }

    impl Model<Call> for Register {
        type State = u32;

        fn step(&self, state: &u32, call: &Call) -> Option<u32> {
            match *call {
                Call::Write(value) => Some(value),
                Call::Read(value) => (value == *state).then_some(value),
            }
        }

        fn only_looks(&self, call: &Call) -> bool {
            matches!(call, Call::Read(_))
        }
    }

    fn verdict(spans: &[(u64, Option<u64>, Call)]) -> Verdict<u32> {
        let span = |&(began, ended, call)| Span { began, ended, call };
        let spans: Vec<_> = spans.iter().map(span).collect();
        explain(&Register, 0, &spans, 100_000)
    }

    fn impossible(spans: &[(u64, Option<u64>, Call)]) -> bool {
        matches!(verdict(spans), Verdict::Impossible { .. })
    }

    #[test]
    fn what_follows_must_see_and_what_overlaps_may() {
        use Call::{Read, Write};
        assert_eq!(verdict(&[(1, Some(2), Write(7)), (3, Some(4), Read(7))]), Verdict::Explained);
        assert!(impossible(&[(1, Some(2), Write(7)), (3, Some(4), Read(0))]));
        let overlapping = [(1, Some(9), Write(7)), (2, Some(3), Read(0)), (4, Some(5), Read(7))];
        assert_eq!(verdict(&overlapping), Verdict::Explained);
        let again = [
            (1, Some(2), Write(7)),
            (3, Some(6), Write(8)),
            (4, Some(9), Write(7)),
            (10, Some(11), Read(7)),
        ];
        assert_eq!(verdict(&again), Verdict::Explained, "a write that changes nothing may be late");
        let back = [(1, Some(9), Write(7)), (2, Some(3), Read(7)), (4, Some(5), Read(0))];
        assert!(impossible(&back));
    }

    #[test]
    fn a_call_without_an_answer_happens_late_or_never() {
        use Call::{Read, Write};
        let late = [(1, None, Write(7)), (2, Some(3), Read(0)), (4, Some(5), Read(7))];
        assert_eq!(verdict(&late), Verdict::Explained);
        assert_eq!(verdict(&[(1, None, Write(7)), (2, Some(3), Read(0))]), Verdict::Explained);
        let once = [
            (1, None, Write(7)),
            (2, Some(3), Read(7)),
            (4, Some(5), Write(8)),
            (6, Some(7), Read(7)),
        ];
        assert!(impossible(&once), "it happens once");
        assert!(impossible(&[(4, Some(5), Read(7)), (6, None, Write(7))]), "not before it began");
    }

    #[test]
    fn the_evidence_is_where_the_longest_order_ends() {
        use Call::{Read, Write};
        let spans = [
            (1, Some(2), Write(7)),
            (3, Some(4), Read(7)),
            (5, Some(8), Read(9)),
            (6, None, Write(8)),
        ];
        let stuck = Verdict::Impossible { explained: 2, state: 7, open: vec![2, 3] };
        assert_eq!(verdict(&spans), stuck);
    }

    #[test]
    fn many_calls_and_many_without_an_answer_take_few_tries() {
        use Call::{Read, Write};
        let mut spans = vec![];
        for round in 0..500 {
            let at = 10 * u64::from(round);
            let answered = round % 10 != 0;
            let other = round + 1000;
            spans.push((at, Some(at + 3), Write(round)));
            spans.push((at + 1, answered.then_some(at + 5), Write(other)));
            let seen = if answered && round % 3 == 0 { other } else { round };
            spans.push((at + 6, Some(at + 7), Read(seen)));
        }
        assert_eq!(verdict(&spans), Verdict::Explained);
    }
}
