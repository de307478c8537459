//! Consumers: one follows to the end, others seek and restart.
//!
//! Each moves from record to record in sessions, as the history calls them: a partition's position
//! begins with one entry and goes on without a gap until the next.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::client::fetch::{EARLIEST, FetchOptions, Fetched, Found, LATEST, Served, Wanted};
use ottla::client::fetch_session::FetchSession;
use ottla::client::{CallError, Client, Topic};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::error::ErrorCode;
use ottla::protocol::records::batch::Batch;
use ottla::types::{NodeId, Offset, Uuid};

use super::record::{Names, names};
use super::{Sights, Stage, told};
use crate::check::Invariant;
use crate::history::What;
use crate::plan::clients::{ConsumerPlan, Seek};

/// Between looks at the topics: they may grow, or be others.
const LOOK_NANOS: u64 = 5_000_000_000;

pub async fn run<E: Env>(env: &E, stage: &Stage, name: &str, index: usize) {
    stage.wait_for_topics(env).await;
    let ours = &stage.plan.consumers[index];
    let mut reader = Reader::new(env, stage, name, ours);
    let mut turns = ours.turns.iter().peekable();
    loop {
        if stage.is_healed() && !ours.follows {
            return;
        }
        let quiet = stage.is_quiet();
        let ended = match reader.fetch().await {
            Ok(got_something) if !quiet || got_something => Ok(false),
            Ok(_) => reader.is_at_end().await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(true) => return,
            Ok(false) if quiet => continue,
            Ok(false) => {}
            Err(error) => {
                reader.in_doubt = true;
                stage.rest(env, name, &error).await;
            }
        }
        env.clock().sleep(Duration::from_millis(ours.pause_ms)).await;
        while let Some(turn) = turns.next_if(|turn| turn.at_ms * 1_000_000 <= stage.now()) {
            if let Err(error) = reader.turn(&turn.to).await {
                stage.rest(env, name, &error).await;
            }
        }
    }
}

struct Reader<'a, E: Env> {
    env: &'a E,
    stage: &'a Stage,
    name: &'a str,
    ours: &'a ConsumerPlan,
    client: Client<E>,
    fetching: BTreeMap<Option<NodeId>, FetchSession>,
    sights: Sights,
    topics: BTreeMap<Uuid, Topic>,
    positions: BTreeMap<(Uuid, u32), Position>,
    sessions: u64,
    looked: u64,
    /// Something may be other than it was.
    in_doubt: bool,
}

#[derive(Clone, Copy)]
struct Position {
    session: u64,
    at: Offset,
}

impl<'a, E: Env> Reader<'a, E> {
    fn new(env: &'a E, stage: &'a Stage, name: &'a str, ours: &'a ConsumerPlan) -> Reader<'a, E> {
        Reader {
            env,
            stage,
            name,
            ours,
            client: stage.client(env, name),
            fetching: BTreeMap::new(),
            sights: Sights::default(),
            topics: BTreeMap::new(),
            positions: BTreeMap::new(),
            sessions: 0,
            looked: 0,
            in_doubt: true,
        }
    }

    fn options(&self) -> FetchOptions {
        let ConsumerPlan { wait_ms, bytes_min, bytes_max, .. } = *self.ours;
        FetchOptions { wait_ms_max: wait_ms, bytes_min, bytes_max }
    }

    /// Looks at the topics when it is time. What is new is read from its start.
    async fn look(&mut self) -> Result<(), CallError> {
        if !self.in_doubt && self.stage.now() < self.looked + LOOK_NANOS {
            return Ok(());
        }
        for index in &self.ours.topics {
            let name = &self.stage.plan.topics[*index].name;
            let found = match self.client.topic(name).await {
                Err(CallError::Refused { code: ErrorCode::UnknownTopicOrPartition }) => None,
                found => Some(found?),
            };
            let is_other = |other: &Topic| found.as_ref().is_none_or(|found| found.id != other.id);
            let gone = self.topics.values().find(|other| other.name == *name && is_other(other));
            if let Some(gone) = gone.map(|other| other.id)
                && self.stage.plan.is_deleted(*index)
            {
                self.topics.remove(&gone);
                self.positions.retain(|(id, _), _| *id != gone);
            }
            let Some(topic) = found else { continue };
            self.sights.note(self.stage, self.name, &topic);
            for partition in 0..topic.leaders.len() as u32 {
                if !self.positions.contains_key(&(topic.id, partition)) {
                    self.begin(&topic, partition, Offset(0));
                }
            }
            self.topics.insert(topic.id, topic);
        }
        (self.in_doubt, self.looked) = (false, self.stage.now());
        Ok(())
    }

    /// A session on a partition begins.
    fn begin(&mut self, topic: &Topic, partition: u32, at: Offset) {
        let session = self.sessions;
        self.sessions += 1;
        self.positions.insert((topic.id, partition), Position { session, at });
        let offset = at.0;
        let position = What::Position { topic: told(topic), partition, session, offset };
        self.stage.add(self.name, position);
    }

    /// One fetch from each broker. Did it bring anything?
    async fn fetch(&mut self) -> Result<bool, CallError> {
        self.look().await?;
        let mut got_something = false;
        let mut by_node: BTreeMap<Option<NodeId>, Vec<Wanted>> = BTreeMap::new();
        for ((id, partition), position) in &self.positions {
            let Some(topic) = self.topics.get(id) else { continue };
            let leader = topic.leaders.get(*partition as usize).copied().flatten();
            by_node.entry(leader).or_default().push(Wanted::new(topic, *partition, position.at));
        }
        for (node, wanted) in by_node {
            let asked = self.stage.now();
            let options = self.options();
            let session = self.ours.sessions.then(|| self.fetching.entry(node).or_default());
            let served = self.client.fetch_all(node, &wanted, &options, session).await?;
            for Served { place, fetched } in served {
                got_something |= fetched.as_ref().is_ok_and(|fetched| !fetched.records.is_empty());
                self.take(&wanted[place], fetched, asked).await?;
            }
        }
        Ok(got_something)
    }

    async fn take(
        &mut self,
        wanted: &Wanted,
        fetched: Result<Fetched, ErrorCode>,
        asked: u64,
    ) -> Result<(), CallError> {
        let place = (wanted.topic_id, wanted.partition);
        let Some(topic) = self.topics.get(&wanted.topic_id).cloned() else { return Ok(()) };
        let Some(position) = self.positions.get_mut(&place) else { return Ok(()) };
        match fetched {
            Ok(fetched) => {
                let (session, at) = (position.session, position.at);
                let sessioned = Some(session);
                let next =
                    take_down(self.stage, self.name, &topic, wanted, &fetched, asked, sessioned);
                position.at = next.max(at);
                Ok(())
            }
            Err(ErrorCode::OffsetOutOfRange) => {
                let (session, offset) = (position.session, position.at.0);
                let (topic_told, partition) = (told(&topic), wanted.partition);
                let what =
                    What::OutOfRange { topic: topic_told, partition, session, offset, asked };
                self.stage.add(self.name, what);
                self.positions.remove(&place);
                let start = self.offset_at(&topic, partition, EARLIEST).await?;
                let start = start.ok_or(CallError::Missing)?.offset;
                self.begin(&topic, partition, start);
                Ok(())
            }
            Err(code) => {
                self.in_doubt = true;
                Err(CallError::Refused { code })
            }
        }
    }

    /// Where a time is found, what is found there is asked for once more by its own time.
    async fn offset_at(
        &mut self,
        topic: &Topic,
        partition: u32,
        timestamp: i64,
    ) -> Result<Option<Found>, CallError> {
        let found = self.list(topic, partition, timestamp).await?;
        let exact_ms = found.and_then(|found| found.timestamp_ms).filter(|&ms| ms > timestamp);
        if let Some(ms) = exact_ms.filter(|_| timestamp >= 0) {
            self.list(topic, partition, ms).await?;
        }
        Ok(found)
    }

    /// Asks ListOffsets, which goes by name: the answer counts only if the name is still the same
    /// incarnation's.
    async fn list(
        &mut self,
        topic: &Topic,
        partition: u32,
        timestamp: i64,
    ) -> Result<Option<Found>, CallError> {
        let asked = self.stage.now();
        let found = self.client.offset_at(topic, partition, timestamp).await?;
        let index = self.stage.plan.topics.iter().position(|other| other.name == topic.name);
        if index.is_some_and(|index| self.stage.plan.is_deleted(index))
            && self.client.topic(&topic.name).await?.id != topic.id
        {
            self.in_doubt = true;
            return Err(CallError::Missing);
        }
        let (offset, found_ms) =
            (found.map(|found| found.offset.0), found.and_then(|found| found.timestamp_ms));
        let topic = told(topic);
        let listed = What::Listed { topic, partition, timestamp, offset, found_ms, asked };
        self.stage.add(self.name, listed);
        Ok(found)
    }

    /// Goes elsewhere, in every partition.
    async fn turn(&mut self, to: &Seek) -> Result<(), CallError> {
        self.stage.add(self.name, What::Note { text: format!("{to:?}") });
        if *to == Seek::Restart {
            self.client = self.stage.client(self.env, self.name);
            self.fetching.clear();
            self.in_doubt = true;
        }
        let places: Vec<_> = self.positions.iter().map(|(place, at)| (*place, *at)).collect();
        for ((id, partition), position) in places {
            let Some(topic) = self.topics.get(&id).cloned() else { continue };
            let found = match to {
                Seek::Restart => Some(position.at),
                Seek::Start => self.place_at(&topic, partition, EARLIEST).await?,
                Seek::End => self.place_at(&topic, partition, LATEST).await?,
                Seek::Back { ms } => {
                    let since_ms = self.env.clock().wall_ms() - *ms as i64;
                    self.place_at(&topic, partition, since_ms).await?
                }
                Seek::Between { percent } => {
                    let start = self.place_at(&topic, partition, EARLIEST).await?;
                    let end = self.place_at(&topic, partition, LATEST).await?;
                    start.zip(end).map(|(start, end)| {
                        Offset(start.0 + (end.0 - start.0) * i64::from(*percent) / 100)
                    })
                }
            };
            if let Some(at) = found {
                self.begin(&topic, partition, at);
            }
        }
        Ok(())
    }

    async fn place_at(
        &mut self,
        topic: &Topic,
        partition: u32,
        timestamp: i64,
    ) -> Result<Option<Offset>, CallError> {
        let found = self.offset_at(topic, partition, timestamp).await?;
        Ok(found.map(|found| found.offset))
    }

    /// Has everything been read that is there?
    async fn is_at_end(&mut self) -> Result<bool, CallError> {
        self.in_doubt = true;
        self.look().await?;
        let places: Vec<_> = self.positions.iter().map(|(place, at)| (*place, *at)).collect();
        for ((id, partition), position) in places {
            let Some(topic) = self.topics.get(&id).cloned() else { return Ok(false) };
            let end = self.place_at(&topic, partition, LATEST).await?;
            if end.is_none_or(|end| position.at < end) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Writes down what was served from `wanted.from` on, and gives the offset behind it. Without a
/// session it is the last reading's.
pub fn take_down(
    stage: &Stage,
    name: &str,
    topic: &Topic,
    wanted: &Wanted,
    fetched: &Fetched,
    asked: u64,
    session: Option<u64>,
) -> Offset {
    let mut at = wanted.from;
    for batch in batches(stage, fetched, wanted) {
        let Names { base, records, append_ms } = names(&batch, at);
        at = at.max(batch.header().next_offset());
        if records.is_empty() {
            continue;
        }
        let read = What::Read {
            topic: told(topic),
            partition: wanted.partition,
            session: session.unwrap_or_default(),
            base,
            records,
            append_ms,
            high_watermark: fetched.high_watermark.0,
            asked,
            last: session.is_none(),
        };
        stage.add(name, read);
    }
    at
}

fn batches(stage: &Stage, fetched: &Fetched, wanted: &Wanted) -> Vec<Batch> {
    fetched.batches().unwrap_or_else(|error| {
        let Wanted { name, partition, from, .. } = wanted;
        let len = fetched.records.len();
        let evidence = format!("{name}-{partition} served {len} bytes at offset {from}: {error}");
        stage.broken(Invariant::I6, evidence);
        vec![]
    })
}
