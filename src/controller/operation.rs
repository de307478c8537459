//! One write to the cluster: a decision over the image as it will be once everything decided
//! before is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::layers::Layers;
use crate::config::topic::{inherited, override_option};
use crate::metadata::image::{ConfigOverrides, ConfigResource, Image};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::MetadataRecord;
use crate::types::{Instant, NodeId, Offset};

/// What an operation may look at.
pub struct Context<'a> {
    pub image: &'a Image,
    /// Where the first of its records will stand.
    pub next: Offset,
    pub settings: &'a Settings,
    /// The broker's layers, with the dynamic ones as the image has them.
    pub layers: &'a Layers,
    pub chance: &'a mut Chance,
}

/// What this controller was configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: NodeId,
    /// The layers that are fixed while this process lives.
    pub layers: Layers,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub delete_topics: bool,
}

/// A decision: the records go into one batch, all or none.
#[derive(Debug)]
pub struct Decided<R> {
    pub records: Vec<MetadataRecord>,
    pub response: R,
}

/// Why an operation was not carried out, or may not have been.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ControllerError {
    #[error("this node is not the active controller")]
    NotController,
    /// It may have been carried out all the same, unless it had not begun.
    #[error("{name} was not committed in time")]
    TimedOut { name: &'static str },
    /// It was not carried out.
    #[error("no room on the disk of the metadata log")]
    NoRoom,
    #[error("the controller stopped: {why}")]
    Stopped { why: Arc<str> },
}

impl ControllerError {
    pub fn code(&self) -> ErrorCode {
        match self {
            ControllerError::NotController | ControllerError::Stopped { .. } => {
                ErrorCode::NotController
            }
            ControllerError::TimedOut { .. } => ErrorCode::RequestTimedOut,
            ControllerError::NoRoom => ErrorCode::KafkaStorageError,
        }
    }
}

impl Settings {
    /// The broker's layers with the dynamic ones as `image` has them.
    pub fn layers_at(&self, image: &Image) -> Layers {
        let mut layers = self.layers.clone();
        layers.set_cluster(strings(image.config(&ConfigResource::all_brokers())));
        layers.set_broker(strings(image.config(&ConfigResource::broker(self.node))));
        layers
    }
}

impl Context<'_> {
    /// What a topic option is where the topic says nothing.
    pub fn inherited(&self, key: &str) -> Option<String> {
        let option = override_option(key)?;
        inherited(option, self.layers).ok().flatten()
    }
}

pub fn strings(overrides: &ConfigOverrides) -> BTreeMap<String, String> {
    overrides.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Numbers drawn from a seed: the same seed places the same replicas.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// In `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "nothing to choose from");
        (self.draw() % bound as u64) as usize
    }
}

/// An operation on its way through the controller, whatever its answer is.
pub trait Operation: Send + 'static {
    fn name(&self) -> &'static str;
    /// Not begun after this.
    fn deadline(&self) -> Instant;
    /// Called once.
    fn decide(&mut self, context: &mut Context<'_>) -> Vec<MetadataRecord>;
    /// What was decided is committed, and everything below `end`.
    fn answer(self: Box<Self>, end: Offset);
    fn fail(self: Box<Self>, error: ControllerError);
}

/// What the asker gets: the response, and the offset that an image must contain to show it.
pub type Answer<R> = Result<(R, Offset), ControllerError>;

struct Asked<R, F> {
    name: &'static str,
    deadline: Instant,
    decide: Option<F>,
    response: Option<R>,
    reply: oneshot::Sender<Answer<R>>,
}

pub fn operation<R, F>(
    name: &'static str,
    deadline: Instant,
    decide: F,
) -> (Box<dyn Operation>, oneshot::Receiver<Answer<R>>)
where
    R: Send + 'static,
    F: FnOnce(&mut Context<'_>) -> Decided<R> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Asked { name, deadline, decide: Some(decide), response: None, reply }), answer)
}

impl<R, F> Operation for Asked<R, F>
where
    R: Send + 'static,
    F: FnOnce(&mut Context<'_>) -> Decided<R> + Send + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn decide(&mut self, context: &mut Context<'_>) -> Vec<MetadataRecord> {
        let decide = self.decide.take().expect("an operation is decided once");
        let Decided { records, response } = decide(context);
        self.response = Some(response);
        records
    }

    fn answer(self: Box<Self>, end: Offset) {
        let response = self.response.expect("decided before it is committed");
        // Whoever asked may have gone: what was decided stands all the same.
        let _ = self.reply.send(Ok((response, end)));
    }

    fn fail(self: Box<Self>, error: ControllerError) {
        let _ = self.reply.send(Err(error));
    }
}
