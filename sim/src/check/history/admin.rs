//! Topics as administrators see them: one order of their requests explains every answer.
//!
//! One topic's name is one object: it bears an incarnation or none, which has partitions and
//! settings. Requests on different names need no common order, so each name is searched for itself.

use std::collections::{BTreeMap, BTreeSet};

use super::gather::Tables;
use super::linear::{Model, Span, Verdict, explain};
use super::{Excuse, Rules, Summary};
use crate::check::Invariant::I38;
use crate::check::Violation;
use crate::history::{Answer, Operation, What, name_of};

/// Beginnings of orders that are tried for a name before its requests count as undecided.
const ORDERS_MAX: usize = 200_000;

/// How old an answer may be under the excuse for it, in nanoseconds.
const STALE_MAX: u64 = 5_000_000_000;

const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const UNKNOWN_TOPIC_ID: i16 = 100;

pub fn check(tables: &Tables, rules: &Rules, summary: &mut Summary) -> Result<(), Violation> {
    for (name, requests) in requests(tables, rules) {
        let begin = Topic::default();
        match explain(&Names, begin, &requests, ORDERS_MAX) {
            Verdict::Explained => summary.administered += requests.len() as u64,
            Verdict::Undecided => summary.undecided += 1,
            Verdict::Impossible { explained, state, open } => {
                let open = open.iter().map(|&call| requests[call].call.quote(tables));
                let evidence = format!(
                    "no order of the requests on {name} explains the answers. {explained} of {} \
                     can be explained, which leads to {state:?}; none of these can come next:\n{}",
                    requests.len(),
                    open.collect::<Vec<_>>().join("\n")
                );
                return Err(Violation::new(I38, evidence));
            }
        }
    }
    Ok(())
}

/// A request with what is known of its answer.
struct Request<'a> {
    says: Says<'a>,
    asked: usize,
    answered: Option<usize>,
}

impl Request<'_> {
    fn quote(&self, tables: &Tables) -> String {
        let answer = self.answered.map_or("without an answer".to_string(), |at| tables.quote(at));
        format!("{}\n  {answer}", tables.quote(self.asked))
    }
}

/// What an answer says of a topic, or a request without one might do to it.
#[derive(Clone, Debug)]
enum Says<'a> {
    Created { id: Option<&'a str>, partitions: u32, configs: &'a BTreeMap<String, String> },
    Deleted,
    DeletedThat { id: &'a str },
    Grown { to: u32 },
    Configured { changes: &'a BTreeMap<String, Option<String>> },
    IsThere,
    IsNotThere,
    IsNotThat { id: &'a str },
    HasAtLeast { partitions: u32 },
    Is { id: &'a str, partitions: u32 },
    Has { configs: &'a BTreeMap<String, String> },
}

type Requests<'a> = BTreeMap<&'a str, Vec<Span<Request<'a>>>>;

/// By name, in the order of asking.
fn requests<'a>(tables: &Tables<'a>, rules: &Rules) -> Requests<'a> {
    let mut answers: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for (place, entry) in tables.history.iter().enumerate() {
        match entry.what {
            What::Answered { op, .. } | What::Denied { op, .. } => {
                answers.insert((&entry.process, op), place);
            }
            _ => {}
        }
    }
    let mut requests: Requests = BTreeMap::new();
    for (asked, entry) in tables.history.iter().enumerate() {
        let What::Ask { op, operation } = &entry.what else { continue };
        let answered = answers.get(&(entry.process.as_str(), *op)).copied();
        let told = answered.map(|place| tables.what(place));
        let Some((name, says)) = understand(operation, told) else { continue };
        let stale = rules.excuses.contains(&Excuse::StaleMetadata) && says.is_a_look();
        let began = if stale {
            let since = entry.at.saturating_sub(STALE_MAX);
            tables.history.partition_point(|earlier| earlier.at < since)
        } else {
            asked
        };
        let (began, ended) = (began as u64, answered.map(|place| place as u64));
        let call = Request { says, asked, answered };
        requests.entry(name).or_default().push(Span { began, ended, call });
    }
    for spans in requests.values_mut() {
        spans.sort_by_key(|span| span.began);
    }
    requests
}

/// None: it says nothing about the topic.
fn understand<'a>(operation: &'a Operation, told: Option<&'a What>) -> Option<(&'a str, Says<'a>)> {
    let answer = match told {
        Some(What::Answered { answer, .. }) => Some(answer),
        Some(What::Denied { code, .. }) => return denied(operation, *code),
        _ => None,
    };
    Some(match operation {
        Operation::CreateTopic { name, partitions, configs } => {
            let id = match answer {
                Some(Answer::Created { topic }) => Some(topic.as_str()),
                _ => None,
            };
            (name, Says::Created { id, partitions: *partitions, configs })
        }
        Operation::DeleteTopic { name } => (name, Says::Deleted),
        Operation::DeleteIncarnation { topic } => (name_of(topic), Says::DeletedThat { id: topic }),
        Operation::Grow { name, partitions } => (name, Says::Grown { to: *partitions }),
        Operation::Configure { name, changes } => (name, Says::Configured { changes }),
        Operation::DescribeTopic { name } => match answer? {
            Answer::Topic { topic, partitions } => {
                (name, Says::Is { id: topic, partitions: *partitions })
            }
            _ => return None,
        },
        Operation::DescribeConfigs { name } => match answer? {
            Answer::Configs { values } => (name, Says::Has { configs: values }),
            _ => return None,
        },
        Operation::DeleteRecords { .. } => return None,
    })
}

fn denied(operation: &Operation, code: i16) -> Option<(&str, Says<'_>)> {
    Some(match (operation, code) {
        (Operation::CreateTopic { name, .. }, TOPIC_ALREADY_EXISTS) => (name, Says::IsThere),
        (Operation::Grow { name, partitions }, INVALID_PARTITIONS) => {
            (name, Says::HasAtLeast { partitions: *partitions })
        }
        (Operation::DeleteIncarnation { topic }, UNKNOWN_TOPIC_ID) => {
            (name_of(topic), Says::IsNotThat { id: topic })
        }
        (
            Operation::DeleteTopic { name }
            | Operation::Grow { name, .. }
            | Operation::Configure { name, .. }
            | Operation::DescribeTopic { name }
            | Operation::DescribeConfigs { name },
            UNKNOWN_TOPIC,
        ) => (name, Says::IsNotThere),
        _ => return None,
    })
}

impl Says<'_> {
    fn is_a_look(&self) -> bool {
        !matches!(
            self,
            Says::Created { .. }
                | Says::Deleted
                | Says::DeletedThat { .. }
                | Says::Grown { .. }
                | Says::Configured { .. }
        )
    }
}

/// What a name bears.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Topic {
    now: Option<Incarnation>,
    /// Ids that never come back.
    gone: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Incarnation {
    /// None until somebody is told.
    id: Option<String>,
    partitions: u32,
    configs: BTreeMap<String, String>,
}

struct Names;

impl Model<Request<'_>> for Names {
    type State = Topic;

    fn step(&self, topic: &Topic, request: &Request) -> Option<Topic> {
        let mut topic = topic.clone();
        match (&request.says, topic.now.is_some()) {
            (Says::IsNotThere, false) => {}
            (Says::IsNotThat { id }, _) => {
                let now = topic.now.as_ref().and_then(|now| now.id.as_deref());
                if now == Some(id) {
                    return None;
                }
            }
            (Says::Created { id, partitions, configs }, false) => {
                if id.is_some_and(|id| topic.gone.contains(id)) {
                    return None;
                }
                let (id, partitions) = (id.map(str::to_string), *partitions);
                let configs = (*configs).clone();
                topic.now = Some(Incarnation { id, partitions, configs });
            }
            (Says::Created { .. } | Says::IsNotThere, _) | (_, false) => return None,
            (says, true) => return topic.step_of_what_is_there(says),
        }
        Some(topic)
    }

    fn only_looks(&self, request: &Request) -> bool {
        request.says.is_a_look()
    }
}

impl Topic {
    fn step_of_what_is_there(mut self, says: &Says) -> Option<Topic> {
        let now = self.now.as_mut()?;
        match says {
            Says::IsThere => {}
            Says::HasAtLeast { partitions } if now.partitions >= *partitions => {}
            Says::Has { configs } if now.configs == **configs => {}
            Says::Is { id, partitions } if now.partitions == *partitions => {
                return self.learn(id);
            }
            Says::Grown { to } if now.partitions < *to => now.partitions = *to,
            Says::Configured { changes } => {
                for (key, value) in *changes {
                    match value {
                        Some(value) => now.configs.insert(key.clone(), value.clone()),
                        None => now.configs.remove(key),
                    };
                }
            }
            Says::Deleted => self.bury(),
            Says::DeletedThat { id } => {
                self = self.learn(id)?;
                self.bury();
            }
            _ => return None,
        }
        Some(self)
    }

    /// The incarnation that is there has this id.
    fn learn(mut self, id: &str) -> Option<Topic> {
        let now = self.now.as_mut()?;
        match &now.id {
            Some(known) if known != id => None,
            Some(_) => Some(self),
            None if self.gone.contains(id) => None,
            None => {
                now.id = Some(id.to_string());
                Some(self)
            }
        }
    }

    fn bury(&mut self) {
        let gone = self.now.take().and_then(|now| now.id);
        self.gone.extend(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::Story;
    use super::*;

    fn name() -> String {
        "orders".to_string()
    }

    fn create() -> Operation {
        let configs = BTreeMap::from([("retention.ms".to_string(), "1".to_string())]);
        Operation::CreateTopic { name: name(), partitions: 1, configs }
    }

    fn id(number: u32) -> String {
        format!("orders#{number}")
    }

    fn created(number: u32) -> Story {
        Story::begin().ask("a", create()).answer("a", Answer::Created { topic: id(number) })
    }

    fn describe() -> Operation {
        Operation::DescribeTopic { name: name() }
    }

    fn topic(number: u32, partitions: u32) -> Answer {
        Answer::Topic { topic: id(number), partitions }
    }

    fn delete() -> Operation {
        Operation::DeleteTopic { name: name() }
    }

    #[test]
    fn a_topic_is_there_from_its_creation_to_its_deletion() {
        let seen = |number, partitions| {
            created(1).ask("b", describe()).answer("b", topic(number, partitions)).log(&[])
        };
        assert_eq!(seen(1, 1).passes().administered, 2);
        seen(2, 1).breaks(I38);
        seen(1, 2).breaks(I38);
        created(1).ask("b", describe()).denied("b", UNKNOWN_TOPIC).log(&[]).breaks(I38);
        created(1).ask("b", create()).denied("b", TOPIC_ALREADY_EXISTS).log(&[]).passes();
        let twice = created(1).ask("b", create()).answer("b", Answer::Created { topic: id(2) });
        twice.log(&[]).breaks(I38);
        let deleted = || created(1).ask("b", delete()).answer("b", Answer::Done);
        deleted().ask("b", describe()).denied("b", UNKNOWN_TOPIC).log(&[]).passes();
        deleted().ask("b", describe()).answer("b", topic(1, 1)).log(&[]).breaks(I38);
        deleted().ask("b", delete()).answer("b", Answer::Done).log(&[]).breaks(I38);
    }

    #[test]
    fn requests_that_overlap_may_come_in_either_order() {
        let both = || Story::begin().ask("a", create()).ask("b", describe());
        let told = |story: Story| story.answer_to(1, "a", Answer::Created { topic: id(1) });
        told(both().answer_to(2, "b", topic(1, 1))).log(&[]).passes();
        told(both().denied("b", UNKNOWN_TOPIC)).log(&[]).passes();
        told(both().answer_to(2, "b", topic(2, 1))).log(&[]).breaks(I38);
    }

    #[test]
    fn an_id_never_comes_back() {
        let again = |number| {
            let story = created(1).ask("b", delete()).answer("b", Answer::Done).ask("b", create());
            story.answer("b", Answer::Created { topic: id(number) }).log(&[])
        };
        again(2).passes();
        again(1).breaks(I38);
        let unanswered = created(1).ask("b", delete()).answer("b", Answer::Done).ask("b", create());
        unanswered.ask("c", describe()).answer("c", topic(1, 1)).log(&[]).breaks(I38);
    }

    #[test]
    fn a_request_without_an_answer_may_take_effect_late_or_never() {
        let unanswered = || created(1).ask("b", delete());
        unanswered().ask("c", describe()).answer("c", topic(1, 1)).log(&[]).passes();
        let late = unanswered().ask("c", describe()).answer("c", topic(1, 1)).ask("c", describe());
        late.denied("c", UNKNOWN_TOPIC).log(&[]).passes();
        let back =
            unanswered().ask("c", describe()).denied("c", UNKNOWN_TOPIC).ask("c", describe());
        back.answer("c", topic(1, 1)).log(&[]).breaks(I38);
    }

    #[test]
    fn partitions_only_grow() {
        let grow = |partitions| Operation::Grow { name: name(), partitions };
        let grown = || created(1).ask("b", grow(3)).answer("b", Answer::Done);
        grown().ask("b", describe()).answer("b", topic(1, 3)).log(&[]).passes();
        grown().ask("b", describe()).answer("b", topic(1, 1)).log(&[]).breaks(I38);
        grown().ask("b", grow(2)).denied("b", INVALID_PARTITIONS).log(&[]).passes();
        grown().ask("b", grow(2)).answer("b", Answer::Done).log(&[]).breaks(I38);
        grown().ask("b", grow(4)).denied("b", INVALID_PARTITIONS).log(&[]).breaks(I38);
    }

    #[test]
    fn settings_are_registers() {
        let change = |value: Option<&str>| {
            let changes = [("retention.ms".to_string(), value.map(str::to_string))];
            Operation::Configure { name: name(), changes: BTreeMap::from(changes) }
        };
        let seen = |value: Option<&str>| {
            let values = value.map(|value| ("retention.ms".to_string(), value.to_string()));
            Answer::Configs { values: values.into_iter().collect() }
        };
        let look = || Operation::DescribeConfigs { name: name() };
        created(1).ask("b", look()).answer("b", seen(Some("1"))).log(&[]).passes();
        created(1).ask("b", look()).answer("b", seen(None)).log(&[]).breaks(I38);
        let changed = |to| created(1).ask("b", change(to)).answer("b", Answer::Done);
        changed(Some("2")).ask("b", look()).answer("b", seen(Some("2"))).log(&[]).passes();
        changed(Some("2")).ask("b", look()).answer("b", seen(Some("1"))).log(&[]).breaks(I38);
        changed(None).ask("b", look()).answer("b", seen(None)).log(&[]).passes();
    }

    #[test]
    fn an_answer_may_be_old_under_the_excuse_but_not_too_old() {
        let old = |waits| {
            let mut story = created(1).excused(Excuse::StaleMetadata);
            for _ in 0..waits {
                story = story.tell("z", What::Note { text: "a second".to_string() });
            }
            story.ask("b", describe()).denied("b", UNKNOWN_TOPIC).log(&[])
        };
        old(1).passes();
        old(9).breaks(I38);
    }
}
