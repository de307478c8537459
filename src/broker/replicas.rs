//! Makes the partitions on this node follow the metadata: opens, reconfigures, deletes.
//!
//! An image is published only when everything it names here is open, so a client that sees a
//! leader can write to it. One partition that is damaged is told, and answers KAFKA_STORAGE_ERROR; the
//! others are served. One that finds no room waits for it. An I/O error takes its directory offline.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::broker::data_directory::DataDirectory;
use crate::broker::upkeep::{Done, ROOM_RETRY};
use crate::broker::{Broker, Hosted, Settings};
use crate::config::broker::BrokerConfig;
use crate::config::topic::TopicConfig;
use crate::env::clock::Clock;
use crate::env::disk::Disk;
use crate::env::{Env, probe};
use crate::log::Log;
use crate::log::checkpoint::Checkpoint;
use crate::log::identity::IDENTITY_NAME;
use crate::log::name::{Fate, LogName};
use crate::log::recovery::{Known, OpenError};
use crate::log::write_error::is_no_room;
use crate::metadata::delta::Delta;
use crate::metadata::image::{ConfigResource, Image};
use crate::metadata::topic::{self, Topic};
use crate::partition::Partition;
use crate::partition::replica::Assignment;
use crate::partition::upkeep::log_config;
use crate::types::{Offset, Uuid};

/// Where a log was found at start-up, and how it was left.
#[derive(Clone)]
pub struct Place<E: Env> {
    pub directory: Arc<DataDirectory<E>>,
    pub clean: bool,
}

/// The logs on disk when the broker started. Partitions take theirs; what is left is stray.
pub type Places<E> = BTreeMap<LogName, Place<E>>;

/// One partition to open.
pub(super) struct Opening<E: Env> {
    topic: Arc<Topic>,
    index: i32,
    place: Place<E>,
    config: Arc<TopicConfig>,
}

/// Partitions to open, each once: two logs on the same files would lose what the other took.
pub(super) type Openings<E> = BTreeMap<(Uuid, i32), Opening<E>>;

impl<E: Env> Broker<E> {
    /// Carries out what changed between two images. What finds no room on a disk joins `waiting`.
    pub(super) async fn follow(
        self: &Arc<Self>,
        delta: &Delta,
        image: &Image,
        places: &mut Places<E>,
        waiting: &mut Openings<E>,
    ) {
        self.follow_settings(delta, image);
        self.delete_topics(&delta.topics_removed).await;
        let mut openings = Openings::new();
        let mut logs = self.logs_per_directory();
        for topic in &delta.topics_added {
            for (&index, partition) in topic.partitions.iter() {
                let opening = self.opening(topic, index, partition, image, places, &mut logs);
                openings.extend(opening.map(|opening| ((topic.id, index), opening)));
            }
        }
        for change in &delta.partitions_changed {
            let key = (change.topic.id, change.index);
            let open = self.read_partitions().hosted.get(&key).cloned();
            match open {
                Some(hosted) => hosted.partition.on_assigned(assignment(&change.new)),
                // It waits for room, and follows the image when it is tried again.
                None if waiting.contains_key(&key) => {}
                None => {
                    let (topic, index, new) = (&change.topic, change.index, &change.new);
                    let opening = self.opening(topic, index, new, image, places, &mut logs);
                    openings.extend(opening.map(|opening| (key, opening)));
                }
            }
        }
        waiting.extend(self.open_all(openings).await);
        self.follow_topic_configs(delta, image);
    }

    /// Opens what found no room, as far as it is still wanted. Answers what waits on.
    pub(super) async fn open_waiting(self: &Arc<Self>, waiting: Openings<E>) -> Openings<E> {
        let image = self.image();
        let wanted = waiting.into_iter().filter_map(|(key, Opening { index, place, .. })| {
            let topic = image.topic_by_id(key.0)?.clone();
            let is_mine = topic.partition(index)?.replicas.contains(&self.node);
            let config = topic_config(&self.settings(), &image, &topic.name);
            let waits = is_mine && self.read_partitions().failed.contains_key(&key);
            waits.then_some((key, Opening { topic, index, place, config }))
        });
        let wanted = wanted.collect();
        self.open_all(wanted).await
    }

    fn opening(
        &self,
        topic: &Arc<Topic>,
        index: i32,
        partition: &topic::Partition,
        image: &Image,
        places: &mut Places<E>,
        logs: &mut [usize],
    ) -> Option<Opening<E>> {
        if !partition.replicas.contains(&self.node) {
            return None;
        }
        let name = LogName::new(&*topic.name, index);
        let place = places.remove(&name).unwrap_or_else(|| {
            let directory = self.directory_for(partition, logs);
            // New, or it could not be opened before: then it is as the last crash left it.
            Place { directory, clean: false }
        });
        let config = topic_config(&self.settings(), image, &topic.name);
        Some(Opening { topic: topic.clone(), index, place, config })
    }

    /// How many logs each directory holds; the fewest decide where the next one goes.
    fn logs_per_directory(&self) -> Vec<usize> {
        let mut counts = vec![0; self.directories.len()];
        if counts.len() == 1 {
            return counts;
        }
        for hosted in self.read_partitions().hosted.values() {
            let here = |directory| Arc::ptr_eq(directory, &hosted.directory);
            if let Some(at) = self.directories.iter().position(here) {
                counts[at] += 1;
            }
        }
        counts
    }

    /// The directory that the controller named, or the one with the fewest logs. Only where all are
    /// offline an offline one is taken.
    fn directory_for(
        &self,
        partition: &topic::Partition,
        logs: &mut [usize],
    ) -> Arc<DataDirectory<E>> {
        let mine = partition.replicas.iter().position(|node| *node == self.node);
        let id = mine.and_then(|at| partition.directories.get(at));
        let named = self.directories.iter().position(|each| Some(&each.directory.id()) == id);
        let fewest = || {
            let is_offline = |at: usize| self.directories[at].committer.offline().is_some();
            (0..self.directories.len()).min_by_key(|&at| (is_offline(at), logs[at]))
        };
        let at = named.or_else(fewest).expect("a broker has a log directory");
        logs[at] += 1;
        self.directories[at].clone()
    }

    /// Opens logs side by side: recovery may read much. Answers those that found no room.
    async fn open_all(self: &Arc<Self>, openings: Openings<E>) -> Openings<E> {
        let threads = self.settings().config.num_recovery_threads_per_data_dir.max(1) as usize;
        let workers = (threads * self.directories.len()).min(openings.len());
        let queue = Arc::new(Mutex::new(openings));
        let (sender, mut waiting) = mpsc::channel::<((Uuid, i32), Opening<E>)>(workers.max(1));
        for _ in 0..workers {
            let (broker, queue, sender) = (self.clone(), queue.clone(), sender.clone());
            self.env.spawn("open-logs", async move {
                loop {
                    let next = queue.lock().expect("nobody panics over the queue").pop_first();
                    let Some((key, opening)) = next else { break };
                    if let Some(opening) = broker.open(opening).await {
                        // Taken below, or the broker is gone.
                        let _ = sender.send((key, opening)).await;
                    }
                }
            });
        }
        drop(sender);
        let mut waits = Openings::new();
        // The channel closes when the last worker is done.
        while let Some((key, opening)) = waiting.recv().await {
            waits.insert(key, opening);
        }
        waits
    }

    /// Gives the opening back when there is no room for it.
    async fn open(self: &Arc<Self>, opening: Opening<E>) -> Option<Opening<E>> {
        let Opening { topic, index, place, config } = opening;
        let key = (topic.id, index);
        let name = LogName::new(&*topic.name, index);
        match self.open_log(&topic, &name, &place, &config).await {
            Ok((log, high_watermark)) => {
                let partition = Partition::new(
                    &self.env,
                    (topic.name.clone(), topic.id, index),
                    self.node,
                    log,
                    high_watermark,
                    place.directory.committer.clone(),
                );
                let registration = topic.partition(index).expect("it is being opened");
                let expiration_ms = i64::from(self.settings().config.producer_id_expiration_ms);
                let replica_count = registration.replicas.len();
                partition.on_configured(config, replica_count, expiration_ms);
                partition.on_assigned(assignment(registration));
                let hosted =
                    Hosted { partition: partition.clone(), directory: place.directory.clone() };
                let mut partitions = self.write_partitions();
                let before = partitions.hosted.insert(key, hosted);
                assert!(before.is_none(), "a log has one owner");
                partitions.failed.remove(&key);
                drop(partitions);
                place.directory.take_over(&name);
                if let Some(offline) = place.directory.committer.offline() {
                    // Whoever told the others may not have seen this one.
                    partition.on_offline(offline);
                }
                None
            }
            Err(OpenError::Io { error, .. }) if is_no_room(&error) => {
                place.directory.committer.tell_full(&error);
                self.write_partitions().failed.insert(key, place.directory.clone());
                Some(Opening { topic, index, place, config })
            }
            Err(open_error) => {
                error!(topic = %topic.name, index, error = %open_error, "partition not served");
                if let OpenError::Io { error, .. } = &open_error {
                    // Tried once more, a sync that failed would find its pages clean.
                    let error = io::Error::new(error.kind(), open_error.to_string());
                    place.directory.committer.fail(error);
                }
                self.env.probe(|| probe::Event::Refused {
                    topic: topic.id,
                    partition: index,
                    is_damaged: matches!(open_error, OpenError::Damaged { .. }),
                    why: open_error.to_string(),
                });
                self.write_partitions().failed.insert(key, place.directory.clone());
                None
            }
        }
    }

    async fn open_log(
        &self,
        topic: &Topic,
        name: &LogName,
        place: &Place<E>,
        config: &TopicConfig,
    ) -> Result<(Log<E>, Offset), OpenError> {
        let directory = &place.directory;
        let path = directory.directory.log_path(name);
        if let Some(offline) = directory.committer.offline() {
            return Err(OpenError::Io { dir: path, error: io::Error::other(offline.to_string()) });
        }
        self.forget_stale_lines(directory, name, &path).await?;
        let at = |which| directory.left(which, name).unwrap_or_default();
        let mut known = Known {
            clean: place.clean,
            recovery_point: at(Checkpoint::RecoveryPoint),
            log_start: at(Checkpoint::LogStart),
        };
        let mut high_watermark = at(Checkpoint::Replication);
        let expiration_ms = i64::from(self.settings().config.producer_id_expiration_ms);
        let config = Arc::new(log_config(config, expiration_ms, self.env.random_u64()));
        let mut retried = false;
        let (log, recovered, now_ms) = loop {
            let (env, now_ms) = (self.env.clone(), self.env.clock().wall_ms());
            match Log::open(env, &path, topic.id, config.clone(), known, now_ms).await {
                Err(OpenError::Identity { found, .. }) if !retried => {
                    // An earlier topic of that name: its deletion was cut short.
                    warn!(path = %path.display(), %found, "log of another topic put aside");
                    directory.take_over(name);
                    self.forget_stale_lines(directory, name, &path).await?;
                    self.put_aside(directory, &path, name, Fate::Stray)
                        .map_err(|error| OpenError::Io { dir: path.clone(), error })?;
                    (known, high_watermark) = (Known::default(), Offset(0));
                    retried = true;
                }
                opened => {
                    let (log, recovered) = opened?;
                    break (log, recovered, now_ms);
                }
            }
        };
        if recovered.cut_bytes > 0 || !recovered.dropped_segments.is_empty() {
            info!(log = %name, cut_bytes = recovered.cut_bytes, end = %recovered.end,
                "cut what the last crash left half written");
        }
        self.env.probe(|| probe::Event::Recovered {
            topic: topic.id,
            partition: name.partition,
            dir: path,
            start: recovered.start,
            end: recovered.end,
            epochs: log.told_epochs(),
            producers: log.told_producers(Some(now_ms)),
        });
        Ok((log, high_watermark))
    }

    /// Before a log is made, or another one's directory makes room for it.
    async fn forget_stale_lines(
        &self,
        directory: &DataDirectory<E>,
        name: &LogName,
        path: &Path,
    ) -> Result<(), OpenError> {
        if !directory.has_stale_lines(name) {
            return Ok(());
        }
        let error = match self.forget_lines(directory).await {
            Done::Written => return Ok(()),
            Done::NoRoom => io::ErrorKind::StorageFull.into(),
            Done::Offline => io::Error::other("the log directory went offline"),
        };
        Err(OpenError::Io { dir: path.to_owned(), error })
    }

    fn put_aside(
        &self,
        directory: &DataDirectory<E>,
        path: &Path,
        name: &LogName,
        fate: Fate,
    ) -> io::Result<PathBuf> {
        let unique = u128::from_be_bytes(Uuid::random(|| self.env.random_u64()).0);
        let aside = directory.directory.path().join(name.directory(fate, unique));
        self.env.disk().rename(path, &aside)?;
        Ok(aside)
    }

    /// All at once: the checkpoints and the directories are written once for all of them.
    async fn delete_topics(self: &Arc<Self>, topics: &[Arc<Topic>]) {
        if topics.is_empty() {
            return;
        }
        let mut deleted = Vec::new();
        {
            let mut partitions = self.write_partitions();
            for topic in topics {
                for (&index, _) in topic.partitions.iter() {
                    partitions.failed.remove(&(topic.id, index));
                    deleted.extend(partitions.hosted.remove(&(topic.id, index)));
                }
            }
        }
        for Hosted { partition, .. } in &deleted {
            partition.on_deleted();
        }
        for topic in topics {
            for (&index, _) in topic.partitions.iter() {
                let name = LogName::new(&*topic.name, index);
                self.directories.iter().for_each(|directory| directory.take_over(&name));
            }
        }
        for directory in &self.directories {
            let of = |hosted: &&Hosted<E>| Arc::ptr_eq(&hosted.directory, directory);
            let logs: Vec<&Hosted<E>> = deleted.iter().filter(of).collect();
            self.delete_logs(directory, &logs).await;
        }
    }

    /// The lines go first, so that they never speak of a later log of the same name. Where that
    /// finds no room, it is made by what the logs hold; their directories stay until then, and tell
    /// a later start whose lines those are.
    async fn delete_logs(&self, directory: &Arc<DataDirectory<E>>, logs: &[&Hosted<E>]) {
        let path_of = |hosted: &Hosted<E>| {
            let Hosted { partition, .. } = hosted;
            let name = LogName::new(&*partition.topic, partition.index);
            (directory.directory.log_path(&name), name)
        };
        let mut done = self.forget_lines(directory).await;
        let was_full = done == Done::NoRoom;
        while done == Done::NoRoom && !self.stopping.load(Ordering::Relaxed) {
            for hosted in logs {
                let (path, _) = path_of(hosted);
                let _names = directory.committer.change_names().await;
                if let Err(error) = self.remove_records(&path) {
                    warn!(path = %path.display(), %error, "cannot remove the files of a log");
                }
            }
            self.env.clock().sleep(ROOM_RETRY).await;
            done = self.forget_lines(directory).await;
        }
        if done != Done::Written {
            // The next start finds them, and deletes them.
            return;
        }
        let delay_of = |hosted: &Hosted<E>| match was_full {
            true => Duration::ZERO,
            false => hosted.partition.file_delete_delay(),
        };
        let mut aside = Vec::with_capacity(logs.len());
        for hosted in logs {
            let (path, name) = path_of(hosted);
            let _names = directory.committer.change_names().await;
            match self.put_aside(directory, &path, &name, Fate::Delete) {
                Ok(path) => aside.push((path, delay_of(hosted))),
                Err(error) => error!(path = %path.display(), %error, "cannot delete a log"),
            }
        }
        if aside.is_empty() {
            return;
        }
        let path = directory.directory.path();
        if let Err(error) = self.env.disk().sync_dir(path).await {
            error!(path = %path.display(), %error, "cannot sync what was deleted");
            directory.committer.fail(error);
            return;
        }
        aside.into_iter().for_each(|(path, delay)| self.remove_later(path, delay));
    }

    /// Everything in the directory of a log but whose it is.
    fn remove_records(&self, path: &Path) -> io::Result<()> {
        let disk = self.env.disk();
        for entry in disk.list(path)? {
            if entry.name != IDENTITY_NAME {
                disk.remove(&path.join(entry.name))?;
            }
        }
        Ok(())
    }

    /// Readers may hold the files a while longer.
    pub(super) fn remove_later(&self, aside: PathBuf, delay: Duration) {
        let env = self.env.clone();
        self.env.spawn("remove-log", async move {
            env.clock().sleep(delay).await;
            let disk = env.disk().clone();
            let path = aside.clone();
            if let Err(error) = env.offload(move || disk.remove_dir_all(&path)).await {
                warn!(path = %aside.display(), %error, "cannot remove");
            }
        });
    }

    /// Puts aside the logs that no topic claims, once the checkpoints do not speak of them.
    pub(super) async fn put_strays_aside(&self, places: Places<E>, image: &Image) {
        places.iter().for_each(|(name, place)| place.directory.take_over(name));
        let is_known = |name: &LogName| {
            let partition =
                image.topic(&name.topic).and_then(|topic| topic.partition(name.partition));
            partition.is_some_and(|partition| partition.replicas.contains(&self.node))
        };
        let mut told = Vec::with_capacity(self.directories.len());
        for directory in &self.directories {
            directory.forget_strangers(is_known);
            told.push(self.forget_lines(directory).await);
        }
        for (name, place) in places {
            let here = |directory: &Arc<DataDirectory<E>>| Arc::ptr_eq(directory, &place.directory);
            let at = self.directories.iter().position(here).expect("it was found in one of them");
            let path = place.directory.directory.log_path(&name);
            if told[at] != Done::Written {
                warn!(path = %path.display(), "stray log left where it is: its directory is full or offline");
                continue;
            }
            match self.put_aside(&place.directory, &path, &name, Fate::Stray) {
                Ok(aside) => warn!(log = %name, aside = %aside.display(), "stray log put aside"),
                Err(error) => error!(log = %name, %error, "cannot put a stray log aside"),
            }
        }
    }

    fn follow_settings(&self, delta: &Delta, image: &Image) {
        let ours = [ConfigResource::broker(self.node), ConfigResource::all_brokers()];
        if !ours.iter().any(|resource| delta.configs_changed.contains(resource)) {
            return;
        }
        let mut layers = self.settings().layers.clone();
        layers.set_cluster(image.config(&ours[1]).iter().map(owned).collect());
        layers.set_broker(image.config(&ours[0]).iter().map(owned).collect());
        match BrokerConfig::resolve(&layers) {
            Ok(config) => self.settings.store(Arc::new(Settings { layers, config })),
            Err(error) => warn!(%error, "dynamic options ignored"),
        }
    }

    fn follow_topic_configs(self: &Arc<Self>, delta: &Delta, image: &Image) {
        let broker_changed =
            delta.configs_changed.iter().any(|resource| resource.kind == ConfigResource::BROKER);
        for Hosted { partition, .. } in self.hosted() {
            let resource = ConfigResource::topic(&partition.topic);
            if !broker_changed && !delta.configs_changed.contains(&resource) {
                continue;
            }
            let config = topic_config(&self.settings(), image, &partition.topic);
            let registered = image.partition(partition.topic_id, partition.index);
            let replicas = registered.map_or(1, |registered| registered.replicas.len());
            let expiration_ms = i64::from(self.settings().config.producer_id_expiration_ms);
            partition.on_configured(config, replicas, expiration_ms);
        }
    }
}

fn owned((name, value): (&Arc<str>, &Arc<str>)) -> (String, String) {
    (name.to_string(), value.to_string())
}

/// A topic's options. What a data directory brought from elsewhere and we cannot read is told, and
/// the broker's own options stand in.
fn topic_config(settings: &Settings, image: &Image, topic: &str) -> Arc<TopicConfig> {
    let overrides = image.config(&ConfigResource::topic(topic)).iter().map(owned).collect();
    let resolved = TopicConfig::resolve(&overrides, &settings.layers).or_else(|error| {
        warn!(topic, %error, "topic options ignored");
        TopicConfig::resolve(&BTreeMap::new(), &settings.layers)
    });
    Arc::new(resolved.unwrap_or_default())
}

fn assignment(partition: &topic::Partition) -> Assignment {
    Assignment {
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: partition.isr.iter().copied().collect(),
    }
}
