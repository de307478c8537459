//! Fetch sessions (KIP-227): a consumer names its partitions once, then only what changes.
//!
//! Pure. Between `begin` and `finish` a fetch may wait for records, and the session may be closed
//! or used by another request meanwhile: `finish` finds out.
//!
//!   session id, epoch      meaning
//!   any, 0                 all partitions are named; close that id, open a new session
//!   any, -1                all partitions are named; close that id, open none
//!   id, n > 0              the difference to request n - 1 of that session

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::messages::fetch_request::FetchRequest;
use crate::protocol::wire::Text;
use crate::types::{Instant, Offset, Uuid};

/// A session that was not used for so long makes room for another.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// A session does not grow past this; its client starts again with a full fetch.
const PARTITIONS_MAX: usize = 100_000;

/// How a request names topics: by name up to version 12, by id from then on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Text),
    Id(Uuid),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub topic: TopicKey,
    pub partition: i32,
}

/// One partition as the client last described it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub key: Key,
    /// Of a topic named by id: its name when a fetch first found it.
    pub name: Option<Arc<str>>,
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    pub last_fetched_epoch: i32,
    pub partition_bytes_max: i32,
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Fetch {
    pub targets: Vec<Target>,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Sessionless,
    New,
    Incremental { id: i32, epoch: i32 },
}

/// What `finish` compares and remembers of a partition's answer.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub has_records: bool,
    pub failed: bool,
    /// A diverging epoch or a preferred replica: said once, whatever else is unchanged.
    pub has_advice: bool,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("no such fetch session")]
    IdNotFound,
    #[error("not the epoch that this fetch session expects")]
    InvalidEpoch,
    #[error("a session by topic ids was asked by topic names, or the other way round")]
    TopicKind,
}

pub struct Sessions {
    slots_max: usize,
    sessions: BTreeMap<i32, Session>,
}

struct Session {
    by_id: bool,
    /// Of the next request.
    epoch: i32,
    used: Instant,
    /// In the order to serve them: those that got records go to the end.
    order: BTreeMap<u64, Cached>,
    places: BTreeMap<Key, u64>,
    place_next: u64,
}

struct Cached {
    target: Target,
    high_watermark: Offset,
    log_start: Offset,
}

const UNKNOWN: Offset = Offset(-1);

impl Sessions {
    /// `max.incremental.fetch.session.cache.slots`.
    pub fn new(slots_max: usize) -> Sessions {
        Sessions { slots_max, sessions: BTreeMap::new() }
    }

    /// Takes in a request: which partitions to read, in which order.
    pub fn begin(
        &mut self,
        request: FetchRequest,
        by_id: bool,
        now: Instant,
    ) -> Result<Fetch, SessionError> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch <= 0 {
            self.sessions.remove(&id);
            let kind = if epoch == 0 { Kind::New } else { Kind::Sessionless };
            return Ok(Fetch { targets: targets(request, by_id).1, kind });
        }
        let session = self.sessions.get_mut(&id).ok_or(SessionError::IdNotFound)?;
        if session.by_id != by_id {
            return Err(SessionError::TopicKind);
        }
        if session.epoch != epoch {
            return Err(SessionError::InvalidEpoch);
        }
        session.epoch = next_epoch(epoch);
        session.used = now;
        let (forgotten, changed) = targets(request, by_id);
        for key in forgotten {
            session.forget(&key);
        }
        for target in changed {
            session.set(target);
        }
        if session.order.len() > PARTITIONS_MAX {
            self.sessions.remove(&id);
            return Err(SessionError::IdNotFound);
        }
        let targets = session.order.values().map(|cached| cached.target.clone()).collect();
        Ok(Fetch { targets, kind: Kind::Incremental { id, epoch: next_epoch(epoch) } })
    }

    /// Whether every partition is named in the answer, changed or not.
    pub fn answers_all(fetch: &Fetch) -> bool {
        !matches!(fetch.kind, Kind::Incremental { .. })
    }

    /// Whether this outcome goes into an incremental answer.
    pub fn changed(&self, fetch: &Fetch, key: &Key, outcome: &Outcome) -> bool {
        let Kind::Incremental { id, .. } = fetch.kind else { return true };
        let cached = self.sessions.get(&id).and_then(|session| session.cached(key));
        cached.is_none_or(|cached| cached.differs(outcome))
    }

    /// Remembers what is answered. The id of the session, 0 for none; then which outcomes to
    /// answer, in the order of `fetch.targets`.
    pub fn finish(
        &mut self,
        fetch: Fetch,
        outcomes: &[Outcome],
        draw: u64,
        now: Instant,
    ) -> Result<(i32, Vec<bool>), SessionError> {
        assert_eq!(fetch.targets.len(), outcomes.len(), "every partition has its outcome");
        let all = || vec![true; outcomes.len()];
        match fetch.kind {
            Kind::Sessionless => Ok((0, all())),
            Kind::New => Ok((self.open(fetch.targets, outcomes, draw, now), all())),
            Kind::Incremental { id, epoch } => {
                let session = self.sessions.get_mut(&id).ok_or(SessionError::IdNotFound)?;
                if session.epoch != epoch {
                    return Err(SessionError::InvalidEpoch);
                }
                let pairs = fetch.targets.into_iter().zip(outcomes);
                let answered = pairs.map(|(target, outcome)| session.note(target, outcome));
                Ok((id, answered.collect()))
            }
        }
    }

    fn open(&mut self, targets: Vec<Target>, outcomes: &[Outcome], draw: u64, now: Instant) -> i32 {
        if targets.len() > PARTITIONS_MAX || !self.make_room(now) {
            return 0;
        }
        let mut id = (draw & 0x7fff_ffff) as i32;
        while id == 0 || self.sessions.contains_key(&id) {
            id = id.wrapping_add(1) & i32::MAX;
        }
        let by_id = targets.iter().any(|target| matches!(target.key.topic, TopicKey::Id(_)));
        let mut session = Session {
            by_id,
            epoch: 1,
            used: now,
            order: BTreeMap::new(),
            places: BTreeMap::new(),
            place_next: 0,
        };
        for (target, outcome) in targets.into_iter().zip(outcomes) {
            session.set(target.clone());
            session.note(target, outcome);
        }
        self.sessions.insert(id, session);
        id
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.sessions.len() < self.slots_max {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
        match oldest {
            Some((&id, session)) if now.since(session.used) > IDLE_MAX => {
                self.sessions.remove(&id);
                true
            }
            _ => false,
        }
    }
}

impl Session {
    fn cached(&self, key: &Key) -> Option<&Cached> {
        self.order.get(self.places.get(key)?)
    }

    fn set(&mut self, target: Target) {
        if let Some(place) = self.places.get(&target.key) {
            let cached = self.order.get_mut(place).expect("every key has its place");
            let name = cached.target.name.take();
            cached.target = Target { name, ..target };
            return;
        }
        self.places.insert(target.key.clone(), self.place_next);
        let cached = Cached { target, high_watermark: UNKNOWN, log_start: UNKNOWN };
        self.order.insert(self.place_next, cached);
        self.place_next += 1;
    }

    fn forget(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    /// True when the outcome is to be answered.
    fn note(&mut self, target: Target, outcome: &Outcome) -> bool {
        // Forgotten while its fetch waited: the client does not expect it any more.
        let Some(&place) = self.places.get(&target.key) else { return false };
        let cached = self.order.get_mut(&place).expect("every key has its place");
        let differs = cached.differs(outcome);
        cached.target.name = target.name;
        cached.high_watermark = if outcome.failed { UNKNOWN } else { outcome.high_watermark };
        cached.log_start = outcome.log_start;
        if outcome.has_records {
            let cached = self.order.remove(&place).expect("looked up above");
            self.order.insert(self.place_next, cached);
            self.places.insert(target.key, self.place_next);
            self.place_next += 1;
        }
        differs
    }
}

impl Cached {
    fn differs(&self, outcome: &Outcome) -> bool {
        outcome.has_records
            || outcome.failed
            || outcome.has_advice
            || self.high_watermark != outcome.high_watermark
            || self.log_start != outcome.log_start
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// The forgotten keys and the named partitions of a request.
fn targets(request: FetchRequest, by_id: bool) -> (Vec<Key>, Vec<Target>) {
    let topic_key = |name: &Text, id: Uuid| {
        if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.clone()) }
    };
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let key = topic_key(&topic.topic, topic.topic_id);
        let keys = topic.partitions.iter().map(|&partition| Key { topic: key.clone(), partition });
        forgotten.extend(keys);
    }
    let mut named: Vec<Target> = Vec::new();
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    for topic in request.topics {
        let topic_key = topic_key(&topic.topic, topic.topic_id);
        for partition in topic.partitions {
            let key = Key { topic: topic_key.clone(), partition: partition.partition };
            let target = Target {
                key: key.clone(),
                name: None,
                current_leader_epoch: partition.current_leader_epoch,
                fetch_offset: partition.fetch_offset,
                last_fetched_epoch: partition.last_fetched_epoch,
                partition_bytes_max: partition.partition_max_bytes,
            };
            // Named twice: the last word counts, in the first one's place.
            match places.get(&key) {
                Some(&place) => named[place] = target,
                None => {
                    places.insert(key, named.len());
                    named.push(target);
                }
            }
        }
    }
    (forgotten, named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};

    #[test]
    fn of_a_partition_named_twice_the_last_counts() {
        let mut request = request(0, -1, &[1, 2, 1]);
        request.topics[0].partitions[2].fetch_offset = 7;
        let fetch = Sessions::new(1).begin(request, false, NOW).expect("no session is needed");
        let asked = fetch.targets.iter().map(|target| (target.key.partition, target.fetch_offset));
        assert_eq!(asked.collect::<Vec<_>>(), [(1, 7), (2, 0)]);
    }

    const NOW: Instant = Instant(Duration::ZERO);

    fn request(session_id: i32, session_epoch: i32, partitions: &[i32]) -> FetchRequest {
        let partitions = partitions
            .iter()
            .map(|&partition| FetchPartition { partition, ..FetchPartition::default() });
        let topic = FetchTopic {
            topic: Text::new("t"),
            partitions: partitions.collect(),
            ..FetchTopic::default()
        };
        let topics = if topic.partitions.is_empty() { vec![] } else { vec![topic] };
        FetchRequest { session_id, session_epoch, topics, ..FetchRequest::default() }
    }

    fn quiet() -> Outcome {
        Outcome {
            has_records: false,
            failed: false,
            has_advice: false,
            high_watermark: Offset(5),
            log_start: Offset(0),
        }
    }

    fn partitions(fetch: &Fetch) -> Vec<i32> {
        fetch.targets.iter().map(|target| target.key.partition).collect()
    }

    fn opened(sessions: &mut Sessions) -> i32 {
        let fetch = sessions.begin(request(0, 0, &[0, 1, 2]), false, NOW).unwrap();
        let (id, answered) = sessions.finish(fetch, &[quiet(); 3], 77, NOW).unwrap();
        assert_eq!((id, answered), (77, vec![true; 3]));
        id
    }

    #[test]
    fn answers_only_what_changed() {
        let mut sessions = Sessions::new(10);
        let id = opened(&mut sessions);
        let fetch = sessions.begin(request(id, 1, &[]), false, NOW).unwrap();
        assert_eq!(partitions(&fetch), [0, 1, 2]);
        let moved = Outcome { high_watermark: Offset(6), ..quiet() };
        let (_, answered) = sessions.finish(fetch, &[quiet(), moved, quiet()], 1, NOW).unwrap();
        assert_eq!(answered, [false, true, false]);
    }

    #[test]
    fn repeats_errors_until_they_are_gone() {
        let mut sessions = Sessions::new(10);
        let id = opened(&mut sessions);
        for (epoch, failed, expected) in [(1, true, true), (2, true, true), (3, false, true)] {
            let fetch = sessions.begin(request(id, epoch, &[]), false, NOW).unwrap();
            let outcome = Outcome { failed, ..quiet() };
            let outcomes = [outcome, quiet(), quiet()];
            let (_, answered) = sessions.finish(fetch, &outcomes, 1, NOW).unwrap();
            assert_eq!(answered, [expected, false, false]);
        }
    }

    #[test]
    fn serves_those_first_that_got_nothing() {
        let mut sessions = Sessions::new(10);
        let id = opened(&mut sessions);
        let fetch = sessions.begin(request(id, 1, &[]), false, NOW).unwrap();
        let full = Outcome { has_records: true, ..quiet() };
        sessions.finish(fetch, &[full, quiet(), quiet()], 1, NOW).unwrap();
        let fetch = sessions.begin(request(id, 2, &[]), false, NOW).unwrap();
        assert_eq!(partitions(&fetch), [1, 2, 0]);
    }

    #[test]
    fn adds_and_forgets_partitions() {
        let mut sessions = Sessions::new(10);
        let id = opened(&mut sessions);
        let mut change = request(id, 1, &[7]);
        change.forgotten_topics_data = vec![ForgottenTopic {
            topic: Text::new("t"),
            partitions: vec![1],
            ..ForgottenTopic::default()
        }];
        let fetch = sessions.begin(change, false, NOW).unwrap();
        assert_eq!(partitions(&fetch), [0, 2, 7]);
    }

    #[test]
    fn refuses_unknown_sessions_wrong_epochs_and_mixed_names() {
        let mut sessions = Sessions::new(10);
        let id = opened(&mut sessions);
        let mut begin = |id, epoch, by_id| {
            sessions.begin(request(id, epoch, &[]), by_id, NOW).map(|fetch| fetch.targets.len())
        };
        assert_eq!(begin(id + 1, 1, false), Err(SessionError::IdNotFound));
        assert_eq!(begin(id, 2, false), Err(SessionError::InvalidEpoch));
        assert_eq!(begin(id, 1, true), Err(SessionError::TopicKind));
        assert_eq!(begin(id, 1, false), Ok(3), "an error leaves the session as it was");
        assert_eq!(begin(id, -1, false), Ok(0), "closed");
        assert_eq!(begin(id, 2, false), Err(SessionError::IdNotFound));
        assert_eq!(begin(id, -1, false), Ok(0), "closing what is gone is no error");
    }

    #[test]
    fn a_full_cache_serves_without_sessions_until_one_is_idle() {
        let mut sessions = Sessions::new(1);
        opened(&mut sessions);
        let mut open = |now| {
            let fetch = sessions.begin(request(0, 0, &[0]), false, now).unwrap();
            sessions.finish(fetch, &[quiet()], 5, now).unwrap().0
        };
        assert_eq!(open(NOW), 0);
        assert_eq!(open(NOW.after(IDLE_MAX * 2)), 5);
    }

    #[test]
    fn epochs_wrap_to_one() {
        assert_eq!(next_epoch(i32::MAX), 1);
    }
}
