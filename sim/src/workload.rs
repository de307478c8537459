//! What clients do in a run: one file for each trade, each of them a process that writes down what
//! it is told.
//!
//! Everything here is generic over `Env`, and what else it needs of its surroundings it asks of a
//! [`Witness`]: so the same clients can work on a real broker and have their history judged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::client::{CallError, Client, ClientOptions, Topic};
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::types::Uuid;

use crate::check::{Invariant, Violation};
use crate::history::{History, What, incarnation};
use crate::plan::Plan;

mod admin;
mod consume;
mod hostile;
mod last;
mod prepare;
mod produce;
mod record;

pub const BROKER_PORT: u16 = 9092;

/// How long a client waits for an answer.
const CALL_MS_MAX: u64 = 5_000;
const RETRY: Duration = Duration::from_millis(100);

/// Who takes part. Each is a process of its own, and its name stands in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Creates the topics that the plan begins with. The others wait for it.
    Preparer,
    Producer(usize),
    Consumer(usize),
    Admin(usize),
    Peer(usize),
    /// Comes when the others are gone.
    LastReader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Preparer => f.write_str("preparer"),
            Role::Producer(index) => write!(f, "producer-{index}"),
            Role::Consumer(index) => write!(f, "consumer-{index}"),
            Role::Admin(index) => write!(f, "admin-{index}"),
            Role::Peer(index) => write!(f, "peer-{index}"),
            Role::LastReader => f.write_str("last-reader"),
        }
    }
}

/// All but the last reader, in the order of their hosts.
pub fn cast(plan: &Plan) -> Vec<Role> {
    let producers = (0..plan.producers.len()).map(Role::Producer);
    let consumers = (0..plan.consumers.len()).map(Role::Consumer);
    let admins = (0..plan.admins.len()).map(Role::Admin);
    let peers = (0..plan.peers.len()).map(Role::Peer);
    producers.chain(consumers).chain(admins).chain(peers).chain([Role::Preparer]).collect()
}

/// Plays a role to its end. The run calls [`Stage::begins`] before.
pub async fn play<E: Env>(env: E, stage: Arc<Stage>, role: Role) {
    let name = role.to_string();
    match role {
        Role::Preparer => prepare::run(&env, &stage, &name).await,
        Role::Producer(index) => produce::run(&env, &stage, &name, index).await,
        Role::Consumer(index) => consume::run(&env, &stage, &name, index).await,
        Role::Admin(index) => admin::run(&env, &stage, &name, index).await,
        Role::Peer(index) => hostile::run(&env, &stage, &name, index).await,
        Role::LastReader => last::run(&env, &stage, &name).await,
    }
    stage.ends(role);
}

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
    prepared: AtomicBool,
    healed: AtomicBool,
    /// Whose work is not done.
    at_work: Mutex<Vec<Role>>,
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
            prepared: AtomicBool::new(false),
            healed: AtomicBool::new(false),
            at_work: Mutex::default(),
        };
        for (index, topic) in stage.plan.topics.iter().enumerate() {
            let (name, expected) = (topic.name.clone(), stage.plan.expected(index));
            stage.add("plan", What::Expect { name, expected });
        }
        Arc::new(stage)
    }

    /// No fault strikes from now on.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// Who has not ended what it began.
    pub fn at_work(&self) -> Vec<Role> {
        self.at_work.lock().expect("nobody panics with it").clone()
    }

    /// The run waits for this process, from before it starts.
    pub fn begins(&self, role: Role) {
        self.at_work.lock().expect("nobody panics with it").push(role);
    }

    fn ends(&self, role: Role) {
        self.at_work.lock().expect("nobody panics with it").retain(|other| *other != role);
    }

    /// Nobody writes any more.
    fn is_quiet(&self) -> bool {
        let writes = |role: &Role| matches!(role, Role::Producer(_) | Role::Admin(_));
        self.is_healed() && !self.at_work().iter().any(writes)
    }

    async fn wait_for_topics<E: Env>(&self, env: &E) {
        while !self.prepared.load(Ordering::Relaxed) {
            env.clock().sleep(RETRY).await;
        }
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

    fn broken(&self, invariant: Invariant, evidence: String) {
        self.witness.broken(Violation::new(invariant, evidence));
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

    /// After an error that a client passes over.
    async fn rest<E: Env>(&self, env: &E, process: &str, error: &CallError) {
        self.note(process, format!("is told: {error}"));
        self.add(process, What::Trouble { text: error.to_string() });
        env.clock().sleep(RETRY).await;
    }
}

/// The incarnations that one process has seen.
#[derive(Default)]
struct Sights(BTreeMap<Uuid, usize>);

impl Sights {
    /// Notes an incarnation when it is new here, or has grown.
    fn note(&mut self, stage: &Stage, process: &str, topic: &Topic) {
        let partitions = topic.leaders.len();
        if self.0.insert(topic.id, partitions) == Some(partitions) {
            return;
        }
        let (name, id, partitions) = (topic.name.clone(), topic.id.to_string(), partitions as u32);
        stage.add(process, What::Topic { topic: told(topic), name, id, partitions });
    }
}

/// A topic as the history calls it.
fn told(topic: &Topic) -> String {
    incarnation(&topic.name, topic.id)
}
