//! What a fetch session holds at the broker, as its client keeps it (KIP-227): a request then says
//! only what is new, and an answer speaks only of partitions that have something to tell.
//!
//! Pure. After any trouble the session is begun anew: nobody knows how far the broker got.

use std::collections::BTreeMap;

use super::fetch::{FetchOptions, Wanted};
use crate::protocol::messages::fetch_request::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic,
};
use crate::protocol::wire::Text;
use crate::types::{Offset, Uuid};

const NO_SESSION: i32 = 0;
const FULL: i32 = 0;
/// Of a request that wants no session.
const FINAL: i32 = -1;

#[derive(Debug)]
pub struct FetchSession {
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// What the broker was told, once it has answered.
    known: BTreeMap<(Uuid, u32), Offset>,
    asked: BTreeMap<(Uuid, u32), Offset>,
    names: BTreeMap<Uuid, String>,
}

impl Default for FetchSession {
    fn default() -> FetchSession {
        FetchSession {
            id: NO_SESSION,
            epoch: FULL,
            known: BTreeMap::new(),
            asked: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }
}

impl FetchSession {
    /// The request for `wanted`, in the session or the first of one.
    pub fn request(&mut self, wanted: &[Wanted], options: &FetchOptions) -> FetchRequest {
        self.asked = wanted.iter().map(|wanted| (wanted.key(), wanted.from)).collect();
        self.names.extend(wanted.iter().map(|wanted| (wanted.topic_id, wanted.name.clone())));
        let is_full = self.epoch == FULL;
        let news =
            |wanted: &&Wanted| is_full || self.known.get(&wanted.key()) != Some(&wanted.from);
        let topics = ask(wanted.iter().filter(news), options);
        let gone = self.known.keys().filter(|key| !is_full && !self.asked.contains_key(key));
        let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic_id, partition) in gone {
            forgotten.entry(*topic_id).or_default().push(*partition as i32);
        }
        let forgotten = forgotten.into_iter().map(|(topic_id, partitions)| ForgottenTopic {
            topic: self.names.get(&topic_id).map(|name| Text::new(name)).unwrap_or_default(),
            topic_id,
            partitions,
        });
        FetchRequest {
            session_id: self.id,
            session_epoch: self.epoch,
            topics,
            forgotten_topics_data: forgotten.collect(),
            ..bare(options)
        }
    }

    /// The request was answered without an error, in the session `id`: none when the broker keeps
    /// no session for it.
    pub fn on_answer(&mut self, id: i32) {
        if id == NO_SESSION {
            return self.on_trouble();
        }
        self.id = id;
        self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        self.known = std::mem::take(&mut self.asked);
    }

    /// The next request replaces the session by a new one.
    pub fn on_trouble(&mut self) {
        self.epoch = FULL;
        self.known.clear();
    }

    /// The broker does not know the session.
    pub fn on_unknown(&mut self) {
        self.id = NO_SESSION;
        self.on_trouble();
    }

    pub fn is_established(&self) -> bool {
        self.id != NO_SESSION && self.epoch != FULL
    }
}

/// The request for `wanted` without a session.
pub fn sessionless(wanted: &[Wanted], options: &FetchOptions) -> FetchRequest {
    FetchRequest { session_epoch: FINAL, topics: ask(wanted.iter(), options), ..bare(options) }
}

fn bare(options: &FetchOptions) -> FetchRequest {
    FetchRequest {
        max_wait_ms: options.wait_ms_max as i32,
        min_bytes: options.bytes_min as i32,
        max_bytes: options.bytes_max as i32,
        ..FetchRequest::default()
    }
}

fn ask<'a>(wanted: impl Iterator<Item = &'a Wanted>, options: &FetchOptions) -> Vec<FetchTopic> {
    let mut topics: Vec<FetchTopic> = vec![];
    for wanted in wanted {
        let partition = FetchPartition {
            partition: wanted.partition as i32,
            fetch_offset: wanted.from.0,
            partition_max_bytes: options.bytes_max as i32,
            ..FetchPartition::default()
        };
        let is_known = |topic: &&mut FetchTopic| {
            topic.topic_id == wanted.topic_id && topic.topic.as_str() == wanted.name
        };
        match topics.iter_mut().find(is_known) {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(FetchTopic {
                topic: Text::new(&wanted.name),
                topic_id: wanted.topic_id,
                partitions: vec![partition],
            }),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: FetchOptions = FetchOptions { wait_ms_max: 1, bytes_min: 1, bytes_max: 100 };

    fn wanted(partition: u32, from: i64) -> Wanted {
        let topic_id = Uuid([7; 16]);
        Wanted { name: "t".to_string(), topic_id, partition, from: Offset(from) }
    }

    fn asked(request: &FetchRequest) -> Vec<(i32, i64)> {
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|asked| (asked.partition, asked.fetch_offset)).collect()
    }

    #[test]
    fn a_session_says_only_what_is_new() {
        let mut session = FetchSession::default();
        let first = session.request(&[wanted(0, 5), wanted(1, 6)], &OPTIONS);
        assert_eq!((first.session_id, first.session_epoch), (0, 0));
        assert_eq!(asked(&first), [(0, 5), (1, 6)]);
        session.on_answer(77);
        let second = session.request(&[wanted(0, 9), wanted(1, 6)], &OPTIONS);
        assert_eq!((second.session_id, second.session_epoch), (77, 1));
        assert_eq!(asked(&second), [(0, 9)]);
        session.on_answer(77);
        let third = session.request(&[wanted(1, 6), wanted(2, 0)], &OPTIONS);
        assert_eq!(third.session_epoch, 2);
        assert_eq!(asked(&third), [(2, 0)]);
        assert_eq!(third.forgotten_topics_data[0].partitions, [0]);
    }

    #[test]
    fn after_trouble_everything_is_said_again() {
        let mut session = FetchSession::default();
        session.request(&[wanted(0, 5)], &OPTIONS);
        session.on_answer(77);
        session.on_trouble();
        let again = session.request(&[wanted(0, 5)], &OPTIONS);
        assert_eq!((again.session_id, again.session_epoch), (77, 0));
        assert_eq!(asked(&again), [(0, 5)]);
        session.on_unknown();
        assert_eq!(session.request(&[wanted(0, 5)], &OPTIONS).session_id, 0);
    }

    #[test]
    fn a_broker_that_keeps_no_session_is_asked_in_full_each_time() {
        let mut session = FetchSession::default();
        for _ in 0..2 {
            let request = session.request(&[wanted(0, 5)], &OPTIONS);
            assert_eq!((request.session_epoch, asked(&request)), (0, vec![(0, 5)]));
            session.on_answer(0);
            assert!(!session.is_established());
        }
    }
}
