//! One node from start to stop: the parts in the order in which they need each other.
//!
//! Listeners are opened first, so that a port in use is told before any data is touched; clients
//! get in last, when everything they may ask for answers.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{Bound, Limits, ListenError, Server, bind};
use crate::broker::Broker;
use crate::broker::data_directory::DataDirectory;
use crate::broker::lifecycle::{Disks, Parts};
use crate::broker::membership::{self, MembershipError};
use crate::config::broker::BrokerConfig;
use crate::config::layers::Layers;
use crate::config::listener::Listeners;
use crate::config::settings::Start;
use crate::controller::brokers::Registration;
use crate::controller::driver::{self, Started};
use crate::controller::handle::ControllerHandle;
use crate::controller::operation::Settings;
use crate::env::Env;
use crate::log::LogConfig;
use crate::log::commit::Offline;
use crate::log::directory::error::DirectoryError;
use crate::metadata::image::Endpoint;
use crate::quorum::driver::Quorum;
use crate::quorum::raft;
use crate::quorum::voters::VoterEndpoint;
use crate::types::{BrokerEpoch, NodeId, Uuid};

/// Kafka's defaults. The only voter elects itself at once, so nobody waits for these.
const RAFT: raft::Options = raft::Options {
    election_timeout: Duration::from_secs(1),
    fetch_timeout: Duration::from_secs(2),
    election_backoff_max: Duration::from_secs(1),
};

/// Where Kafka's own examples put the controller.
const CONTROLLER_PORT: u16 = 9093;

/// How long a stop waits for answers that are on their way, so that peers who do not read leave time
/// for the disk.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// With `queued.max.request.bytes` unbounded: what a machine can hold anyway.
const QUEUED_BYTES_MAX: usize = 1 << 30;

/// The broker answers on all of `bound`.
#[derive(Clone, Debug)]
pub struct Ready {
    pub cluster_id: String,
    /// The data directory was formatted in this start.
    pub is_fresh: bool,
    /// Listener names and the addresses that they were given.
    pub bound: Vec<(String, SocketAddr)>,
    /// HOST:PORT, as clients are told.
    pub advertised: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Controller(#[from] driver::StartError),
    #[error(transparent)]
    Membership(#[from] MembershipError),
    #[error("the metadata stopped before it was published")]
    Unpublished,
    #[error("stopped, the metadata log cannot be written: {0}")]
    Offline(Arc<Offline>),
}

/// Runs a broker until `stop` is ready, or it cannot go on.
pub async fn run<E: Env>(
    env: E,
    start: Start,
    on_ready: impl FnOnce(Ready),
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut stop = std::pin::pin!(stop);
    let started = tokio::select! {
        biased;
        () = &mut stop => {
            info!("stopped before it was ready; recovery follows at the next start");
            return Ok(());
        }
        started = start_up(&env, start) => started?,
    };
    on_ready(started.ready.clone());
    let failed = tokio::select! {
        biased;
        () = stop => None,
        offline = failed(&started.metadata) => Some(offline),
    };
    info!("stopping");
    started.stop(failed.is_none()).await;
    info!("stopped");
    match failed {
        None => Ok(()),
        Some(offline) => Err(RunError::Offline(offline)),
    }
}

/// A node that serves.
struct Node<E: Env> {
    ready: Ready,
    metadata: Arc<DataDirectory<E>>,
    id: NodeId,
    epoch: BrokerEpoch,
    controller: ControllerHandle<E>,
    quorum: Quorum<E>,
    broker: Arc<Broker<E>>,
    server: Server<E>,
}

impl<E: Env> Node<E> {
    /// Everything is durable then, and said so. Without the metadata log nobody can be told.
    async fn stop(self, tell: bool) {
        let Node { id, epoch, controller, quorum, broker, server, .. } = self;
        server.stop().await;
        if tell && let Err(error) = membership::leave(&controller, id, epoch).await {
            warn!(%error, "left without a word");
        }
        if let Err(error) = quorum.close().await {
            warn!(%error, "the metadata log is not closed cleanly");
        }
        broker.stop().await;
    }
}

async fn start_up<E: Env>(env: &E, start: Start) -> Result<Node<E>, RunError> {
    let Start { layers, config, listeners, cluster, shutdown_grace, .. } = start;
    let limits = limits(&config, shutdown_grace);
    let mut bound = Vec::with_capacity(listeners.clients.len());
    for endpoint in &listeners.clients {
        bound.push(bind(env, endpoint).await?);
    }
    let endpoints = advertised(&listeners, &bound);

    let disks = Disks::open(env, &config, &cluster).await?;
    let metadata = disks.at(Path::new(config.metadata_dir())).clone();
    let registration = Registration {
        id: NodeId(config.node_id),
        incarnation: Uuid::random(|| env.random_u64()),
        endpoints: endpoints.clone(),
        rack: config.broker_rack.as_deref().map(Into::into),
        directories: disks.directories.iter().map(|each| each.directory.id()).collect(),
        stopped_in: disks.previous_epoch,
    };
    let ready = Ready {
        cluster_id: disks.cluster_id().to_owned(),
        is_fresh: disks.is_fresh,
        bound: bound.iter().flat_map(named_addresses).collect(),
        advertised: endpoints.iter().map(|each| format!("{}:{}", each.host, each.port)).collect(),
    };
    let controllers = controller_endpoints(&listeners);
    let options = controller_options(&layers, &config, &metadata, &controllers);
    let started = driver::start(env, metadata.committer.clone(), options).await?;
    let Started { controller, metadata: published, publisher, updates, quorum, .. } = started;
    let (id, incarnation) = (registration.id, registration.incarnation);
    membership::register_controller(&controller, id, incarnation, controllers).await?;
    let (epoch, at) = membership::register(&controller, registration).await?;
    let parts = Parts {
        epoch,
        layers,
        config,
        metadata: published.clone(),
        controller: controller.clone(),
        quorum: quorum.clone(),
        updates,
        publisher,
    };
    let broker = Broker::start(env, disks, parts).await;
    if !published.published_to(at).await {
        return Err(RunError::Unpublished);
    }
    membership::unfence(&controller, id, epoch).await?;
    let server = Server::start(env, broker.clone(), limits, bound);
    Ok(Node { ready, metadata, id, epoch, controller, quorum, broker, server })
}

/// Where other controllers would find this one. Nobody asks a single node, but a Kafka that takes
/// over its directory looks for a voter's address there.
fn controller_endpoints(listeners: &Listeners) -> Vec<Endpoint> {
    let endpoint = |name: &str, host: &str, port| Endpoint {
        name: name.into(),
        host: host.into(),
        port,
        security_protocol: 0,
    };
    if listeners.controllers.is_empty() {
        return vec![endpoint("CONTROLLER", "localhost", CONTROLLER_PORT)];
    }
    let told = listeners.controllers.iter();
    told.map(|told| endpoint(&told.listener, &told.host, told.port)).collect()
}

fn controller_options<E: Env>(
    layers: &Layers,
    config: &BrokerConfig,
    metadata: &DataDirectory<E>,
    controllers: &[Endpoint],
) -> driver::Options {
    let voter = |endpoint: &Endpoint| VoterEndpoint {
        name: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
    };
    let at_least_0 = |value: i64| u64::try_from(value).ok();
    driver::Options {
        metadata_dir: metadata.directory.path().to_owned(),
        directory_id: metadata.directory.id(),
        endpoints: controllers.iter().map(voter).collect(),
        raft: RAFT,
        log: LogConfig {
            segment_bytes: config.metadata_log_segment_bytes.max(0) as u32,
            segment_ms: config.metadata_log_segment_ms.max(0) as u64,
            cleanup_delete: false,
            ..LogConfig::default()
        },
        retention_bytes: at_least_0(config.metadata_max_retention_bytes),
        retention_ms: at_least_0(config.metadata_max_retention_ms),
        snapshot_after_bytes: config.metadata_log_max_record_bytes_between_snapshots.max(1) as u64,
        snapshot_interval: match config.metadata_log_max_snapshot_interval_ms {
            0 => None,
            ms => Some(Duration::from_millis(ms.max(0) as u64)),
        },
        settings: Settings {
            node: NodeId(config.node_id),
            layers: layers.clone(),
            num_partitions: config.num_partitions,
            default_replication_factor: config.default_replication_factor as i16,
            delete_topics: config.delete_topic_enable,
        },
    }
}

/// Ready when the metadata's directory has failed: nothing can be decided without it.
async fn failed<E: Env>(metadata: &DataDirectory<E>) -> Arc<Offline> {
    match metadata.committer.ended().await {
        Some(offline) => offline,
        None => std::future::pending().await,
    }
}

fn limits(config: &BrokerConfig, shutdown_grace: Duration) -> Limits {
    let idle_max = match u64::try_from(config.connections_max_idle_ms) {
        Ok(ms) => Duration::from_millis(ms),
        // Below 0: never.
        Err(_) => Duration::MAX,
    };
    let queued_bytes_max = usize::try_from(config.queued_max_request_bytes);
    Limits {
        frame_bytes_max: config.socket_request_max_bytes,
        idle_max,
        queued_bytes_max: queued_bytes_max.unwrap_or(QUEUED_BYTES_MAX),
        drain_max: DRAIN_MAX.min(shutdown_grace / 2),
    }
}

/// What clients are told, with the ports that the listeners were given.
fn advertised<E: Env>(listeners: &Listeners, bound: &[Bound<E>]) -> Vec<Endpoint> {
    let port_of = |name: &str| {
        let bound = bound.iter().find(|bound| *bound.name == *name);
        bound.and_then(|bound| bound.addresses().first().map(SocketAddr::port)).unwrap_or(0)
    };
    let told = listeners.advertised.iter().map(|endpoint| Endpoint {
        name: endpoint.listener.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: if endpoint.port == 0 { port_of(&endpoint.listener) } else { endpoint.port },
        security_protocol: 0,
    });
    told.collect()
}

fn named_addresses<E: Env>(bound: &Bound<E>) -> Vec<(String, SocketAddr)> {
    let named = |address| (bound.name.to_string(), address);
    bound.addresses().into_iter().map(named).collect()
}
