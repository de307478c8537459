//! Starting and stopping: directories, partitions, the tasks that run in between.
//!
//! A start reads how the last owner left, opens what the metadata names, and only then serves. A
//! stop makes everything durable, says so in the checkpoints, and marks the directories clean last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use crate::broker::data_directory::DataDirectory;
use crate::broker::fetch_sessions::Sessions;
use crate::broker::producer_ids::ProducerIds;
use crate::broker::replicas::{Openings, Place, Places};
use crate::broker::upkeep::{Done, ROOM_RETRY};
use crate::broker::{Broker, Hosted, METADATA_TOPIC, Partitions, Settings};
use crate::config::broker::BrokerConfig;
use crate::config::layers::Layers;
use crate::config::settings::Cluster;
use crate::controller::handle::ControllerHandle;
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::env::{Env, Task, probe};
use crate::log::directory::error::DirectoryError;
use crate::log::directory::open::{Owner, open_all};
use crate::log::name::Fate;
use crate::log::properties;
use crate::metadata::handle::{MetadataHandle, Publisher, Subscription};
use crate::quorum::driver::Quorum;
use crate::types::{BrokerEpoch, NodeId};

/// A node's log directories, locked and looked through, before anything in them is changed.
pub struct Disks<E: Env> {
    pub directories: Vec<Arc<DataDirectory<E>>>,
    /// A directory was formatted in this start.
    pub is_fresh: bool,
    /// What this node was registered as when it last stopped cleanly.
    pub previous_epoch: Option<BrokerEpoch>,
    places: Places<E>,
}

/// What a broker is made of, once the controller answers.
pub struct Parts<E: Env> {
    pub epoch: BrokerEpoch,
    pub layers: Layers,
    pub config: BrokerConfig,
    pub metadata: MetadataHandle,
    pub controller: ControllerHandle<E>,
    pub quorum: Quorum<E>,
    pub updates: Subscription,
    pub publisher: Publisher,
}

impl<E: Env> Disks<E> {
    /// Takes the directories into use. Those that are empty are formatted.
    pub async fn open(
        env: &E,
        config: &BrokerConfig,
        cluster: &Cluster,
    ) -> Result<Disks<E>, DirectoryError> {
        let mut paths: Vec<PathBuf> = config.data_dirs().iter().map(PathBuf::from).collect();
        let metadata = PathBuf::from(config.metadata_dir());
        if !paths.contains(&metadata) {
            paths.push(metadata);
        }
        let is_formatted =
            |path: &PathBuf| env.disk().exists(&path.join(properties::FILE_NAME)).unwrap_or(false);
        let is_fresh = !paths.iter().all(is_formatted);
        let (cluster_id, new_cluster_id) = match cluster.clone() {
            Cluster::Found => (None, None),
            Cluster::FoundOrNew(id) => (None, Some(id)),
            Cluster::Only(id) => (Some(id), None),
        };
        let owner = Owner { node_id: NodeId(config.node_id), cluster_id, new_cluster_id };
        let mut opened = Vec::with_capacity(paths.len());
        for directory in open_all(env, &paths, &owner).await? {
            opened.push(Arc::new(DataDirectory::open(env, directory).await?));
        }
        let mut disks =
            Disks { directories: opened, is_fresh, previous_epoch: None, places: BTreeMap::new() };
        disks.look_through(env).await?;
        Ok(disks)
    }

    async fn look_through(&mut self, env: &E) -> Result<(), DirectoryError> {
        let mut epochs = Vec::with_capacity(self.directories.len());
        for directory in &self.directories {
            let stopped = directory.directory.take_clean_shutdown().await?;
            let clean = stopped.is_some();
            epochs.push(stopped.and_then(|stopped| stopped.broker_epoch));
            for found in directory.directory.logs()? {
                match found.fate {
                    _ if found.name.topic == METADATA_TOPIC => {}
                    Fate::Live => {
                        let place = Place { directory: directory.clone(), clean };
                        if self.places.insert(found.name.clone(), place).is_some() {
                            let path = found.path.display();
                            warn!(%path, "another directory holds this log too; this one counts");
                        }
                    }
                    Fate::Delete => remove(env, &found.path),
                    Fate::Future | Fate::Stray => {
                        info!(path = %found.path.display(), "left alone: no topic's log");
                    }
                }
            }
        }
        let same = epochs.windows(2).all(|pair| pair[0] == pair[1]);
        self.previous_epoch = epochs.first().copied().flatten().filter(|_| same);
        Ok(())
    }

    pub fn cluster_id(&self) -> &str {
        self.directories[0].directory.cluster_id()
    }

    /// The directory at `path`, one of those that were opened.
    pub fn at(&self, path: &Path) -> &Arc<DataDirectory<E>> {
        let here = self.directories.iter().find(|opened| opened.directory.path() == path);
        here.expect("the directory was opened with the others")
    }
}

/// What a deletion left when the last process ended.
fn remove<E: Env>(env: &E, path: &Path) {
    if let Err(error) = env.disk().remove_dir_all(path) {
        warn!(path = %path.display(), %error, "cannot remove a deleted log");
    }
}

impl<E: Env> Broker<E> {
    /// Opens the partitions that the metadata names and publishes it; from then on both follow the
    /// metadata log.
    pub async fn start(env: &E, disks: Disks<E>, parts: Parts<E>) -> Arc<Broker<E>> {
        let Parts { epoch, layers, config, metadata, controller, quorum, updates, publisher } =
            parts;
        let slots = config.max_incremental_fetch_session_cache_slots.max(0) as usize;
        let broker = Arc::new(Broker {
            env: env.clone(),
            node: NodeId(config.node_id),
            epoch,
            cluster_id: disks.cluster_id().to_owned(),
            directories: disks.directories,
            metadata,
            controller,
            quorum,
            settings: ArcSwap::from_pointee(Settings { layers, config }),
            partitions: RwLock::new(Partitions {
                hosted: BTreeMap::new(),
                failed: Default::default(),
            }),
            sessions: Mutex::new(Sessions::new(slots)),
            producer_ids: ProducerIds::default(),
            creating: Mutex::default(),
            tasks: Mutex::default(),
            working: tokio::sync::RwLock::default(),
            stopping: AtomicBool::new(false),
        });
        let following = broker.clone().follow_metadata(updates, publisher, disks.places);
        broker.keep(env.spawn("follow-metadata", following));
        for directory in broker.directories.clone() {
            broker.keep(env.spawn("watch-disk", broker.clone().watch_directory(directory)));
        }
        broker.start_upkeep();
        broker
    }

    async fn follow_metadata(
        self: Arc<Self>,
        mut updates: Subscription,
        publisher: Publisher,
        mut places: Places<E>,
    ) {
        let mut first = true;
        let mut waiting = Openings::new();
        loop {
            let next = tokio::select! {
                biased;
                next = updates.next() => next,
                () = self.env.clock().sleep(ROOM_RETRY), if !waiting.is_empty() => {
                    let _working = self.working.read().await;
                    waiting = self.open_waiting(waiting).await;
                    continue;
                }
            };
            let Some((delta, image)) = next else { return };
            let _working = self.working.read().await;
            self.follow(&delta, &image, &mut places, &mut waiting).await;
            if std::mem::take(&mut first) {
                self.put_strays_aside(std::mem::take(&mut places), &image).await;
            }
            let end = image.provenance.end;
            publisher.publish(image);
            self.env.probe(|| probe::Event::MetadataPublished { end });
        }
    }

    /// A task that ends with the broker.
    pub(super) fn keep(&self, task: E::Task) {
        self.tasks.lock().expect("nobody panics while holding the tasks").push(task);
    }

    /// A directory that failed takes all its partitions with it, idle ones too.
    async fn watch_directory(self: Arc<Self>, directory: Arc<DataDirectory<E>>) {
        let Some(offline) = directory.committer.ended().await else { return };
        error!(%offline, "log directory offline, its partitions are not served");
        for Hosted { partition, .. } in self.hosted_in(&directory) {
            partition.on_offline(&offline);
        }
    }

    /// Makes everything durable and marks the directories clean. Nothing is served any more.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _nobody_works = self.working.write().await;
        for task in self.tasks.lock().expect("nobody panics while holding the tasks").drain(..) {
            task.abort();
        }
        for Hosted { partition, .. } in self.hosted() {
            partition.begin_stop();
        }
        for directory in &self.directories {
            if let Err(offline) = directory.committer.close().await {
                error!(%offline, "not stopped cleanly");
                continue;
            }
            let mut done = self.close_logs(directory, &self.hosted_in(directory)).await;
            if done == Done::Written {
                done = self.write_high_watermarks(directory).await;
            }
            if done != Done::Written {
                // What was acknowledged is durable all the same.
                let path = directory.directory.path().display();
                error!(directory = %path, why = ?done, "not stopped cleanly: the next start reads more");
                continue;
            }
            // Nobody knows how those are that could not be opened.
            let unopened = self.unopened_in(directory);
            if unopened > 0 {
                let path = directory.directory.path().display();
                warn!(directory = %path, logs = unopened, "not stopped cleanly: not all logs were open");
                continue;
            }
            if let Err(error) = directory.directory.close(Some(self.epoch)).await {
                error!(%error, "not stopped cleanly");
            }
        }
    }
}
