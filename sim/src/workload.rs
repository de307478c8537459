//! What clients do in a run: one file for each trade, each of them a process that writes down what
//! it is told.
//!
//! Everything here is generic over `Env`, and what else it needs of its surroundings it asks of a
//! [`Witness`]: so the same clients can work on a real broker and have their history judged.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::client::{CallError, Client, ClientOptions, Topic};
use ottla::env::Env;
use ottla::env::clock::Clock;

use crate::check::Violation;
use crate::history::{Expected, History, What, incarnation};
use crate::plan::Plan;

pub mod admin;
pub mod consume;
pub mod last;
pub mod produce;
mod record;

pub const BROKER_PORT: u16 = 9092;

/// How long a client waits for an answer.
const CALL_MS_MAX: u64 = 5_000;
const RETRY: Duration = Duration::from_millis(100);

/// Keeps time for the history, and takes what is not for it.
pub trait Witness: Send + Sync {
    /// Since the run began, the same for all processes.
    fn now_nanos(&self) -> u64;
    /// Of interest to who looks at the run.
    fn note(&self, process: &str, what: String);
    /// A client saw for itself that an invariant is broken.
    fn broken(&self, violation: Violation);
}

/// What the clients of a run share.
pub struct Stage {
    pub plan: Arc<Plan>,
    pub history: History,
    bootstrap: Vec<(String, u16)>,
    witness: Box<dyn Witness>,
    /// Topics that exist.
    created: AtomicU64,
    healed: AtomicBool,
    /// Processes whose work is not done.
    at_work: Mutex<BTreeSet<String>>,
}

impl Stage {
    pub fn new(
        plan: Arc<Plan>,
        bootstrap: Vec<(String, u16)>,
        witness: Box<dyn Witness>,
    ) -> Arc<Stage> {
        let stage = Stage {
            plan,
            history: History::default(),
            bootstrap,
            witness,
            created: AtomicU64::new(0),
            healed: AtomicBool::new(false),
            at_work: Mutex::default(),
        };
        stage.expect();
        Arc::new(stage)
    }

    /// No fault strikes from now on.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// Who has not ended what it began.
    pub fn at_work(&self) -> Vec<String> {
        self.at_work.lock().expect("nobody panics with it").iter().cloned().collect()
    }

    /// The run waits for this process, from before it starts.
    pub fn begins(&self, process: &str) {
        self.at_work.lock().expect("nobody panics with it").insert(process.to_string());
    }

    fn ends(&self, process: &str) {
        self.at_work.lock().expect("nobody panics with it").remove(process);
    }

    fn has_topics(&self) -> bool {
        self.created.load(Ordering::Relaxed) == self.plan.topics.len() as u64
    }

    fn now(&self) -> u64 {
        self.witness.now_nanos()
    }

    fn add(&self, process: &str, what: What) {
        self.history.add(self.now(), process, what);
    }

    fn note(&self, process: &str, what: String) {
        self.witness.note(process, what);
    }

    fn client<E: Env>(&self, env: &E, name: &str) -> Client<E> {
        let options = ClientOptions {
            client_id: name.to_string(),
            bootstrap: self.bootstrap.clone(),
            call_ms_max: CALL_MS_MAX,
            ..ClientOptions::default()
        };
        Client::new(env.clone(), options)
    }

    async fn rest<E: Env>(&self, env: &E, process: &str, error: &CallError) {
        self.note(process, format!("is told: {error}"));
        self.add(process, What::Trouble { text: error.to_string() });
        env.clock().sleep(RETRY).await;
    }

    /// Looks up a topic until it is found.
    async fn find<E: Env>(&self, client: &mut Client<E>, process: &str, name: &str) -> Topic {
        let env = client.env().clone();
        loop {
            match client.topic(name).await {
                Ok(topic) => return topic,
                Err(error) => self.rest(&env, process, &error).await,
            }
        }
    }

    fn sees(&self, process: &str, topic: &Topic) {
        let (name, id) = (topic.name.clone(), topic.id.to_string());
        let partitions = topic.leaders.len() as u32;
        self.add(process, What::Topic { topic: told(topic), name, id, partitions });
    }

    fn expect(&self) {
        for topic in &self.plan.topics {
            let expected = Expected {
                retention: false,
                records_deleted: false,
                deleted: false,
                append_time: false,
                batch_bytes_taken: 1 << 20,
                batch_bytes_max: u32::MAX,
                producers_expire: false,
            };
            self.add("plan", What::Expect { name: topic.name.clone(), expected });
        }
    }
}

/// A topic as the history calls it.
fn told(topic: &Topic) -> String {
    incarnation(&topic.name, topic.id)
}
