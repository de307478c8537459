//! Makes appends durable: one loop per log directory, group commit across all its logs.
//!
//! A log that has unsynced bytes is marked. The loop takes everything marked, syncs it, and tells
//! each log how far it is durable. What is marked meanwhile waits for the next round, so a round
//! grows with the load and no timer is needed.
//!
//! 1. Only what was written before `begin_sync` counts as covered.
//! 2. A failed sync is never retried: the pages may be gone although they still read back. The
//!    directory is offline from then on, and every mark fails at once.
//! 3. The queue is bounded by the number of logs: each is in it at most once.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tracing::warn;

use crate::env::clock::Clock;
use crate::env::disk::{Disk, File};
use crate::env::{Env, FileOf, probe};
use crate::types::{Instant, Offset, Uuid};

/// A log, or whoever guards it with a lock. Called from the loop, one call at a time for one
/// member; it may lock, never wait.
pub trait Dirty<E: Env>: Send + Sync + 'static {
    /// The mark the member carries.
    fn mark(&self) -> &Mark;

    /// Adds the files (and new directories entries) that hold unsynced bytes, and answers the end
    /// that is durable once they are synced. `None` when there is nothing to do.
    fn begin_sync(&self, round: &mut Round<FileOf<E>>) -> Option<Offset>;

    /// Everything below `end`, the answer of `begin_sync`, survives a power loss.
    fn on_synced(&self, end: Offset);

    /// The sync failed, or one before it did. Nothing more becomes durable here.
    fn on_sync_failed(&self, offline: &Arc<Offline>);
}

/// Whether its owner waits for the loop. Embed one in each member.
#[derive(Debug, Default)]
pub struct Mark(AtomicU8);

const QUEUED: u8 = 1;
const TIMED: u8 = 2;

/// What one round has to sync.
pub struct Round<F> {
    files: Vec<F>,
    directories: BTreeSet<PathBuf>,
}

/// Why a log directory takes no more writes.
#[derive(Debug, thiserror::Error)]
#[error("log directory {} is offline: {error}", directory.display())]
pub struct Offline {
    pub directory: PathBuf,
    pub error: io::Error,
}

/// What the loop has done, to see how well it groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rounds that synced something.
    pub rounds: u64,
    /// Logs made durable, summed over the rounds.
    pub members: u64,
}

/// The handle of a log directory's commit loop; clones share it.
pub struct Committer<E: Env> {
    shared: Arc<Shared<E>>,
}

impl<E: Env> Clone for Committer<E> {
    fn clone(&self) -> Committer<E> {
        Committer { shared: self.shared.clone() }
    }
}

struct Shared<E: Env> {
    env: E,
    directory: PathBuf,
    id: Uuid,
    queue: Mutex<Queue<E>>,
    /// Held by who refers to logs by their names, alone by who changes those.
    names: RwLock<()>,
    /// Wakes the loop when it is parked.
    work: Notify,
    offline: OnceLock<Arc<Offline>>,
    /// Wakes those who wait for the loop to end.
    ended: Notify,
    /// When it was last said that the disk is full.
    full_told: Mutex<Option<Instant>>,
    rounds: AtomicU64,
    members: AtomicU64,
}

struct Queue<E: Env> {
    /// In the order of their marks.
    marked: Vec<Arc<dyn Dirty<E>>>,
    /// To be marked at a time; the number tells members with one deadline apart.
    timed: BTreeMap<(Instant, u64), Arc<dyn Dirty<E>>>,
    timed_count: u64,
    parked: bool,
    closing: bool,
    ended: bool,
}

/// Up to so many files and directories are synced one by one, more with one sync of the whole file
/// system, where one journal commit serves them all. On ext4 four single syncs cost twice the CPU
/// of that one, two cost as much; and a single one is not slowed by what others write.
const SYNCS_SINGLE_MAX: usize = 2;

/// A full disk is one line in the log so often, however many writes it refuses.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(60);

impl Mark {
    /// True when the bit was set already.
    fn set(&self, bit: u8) -> bool {
        self.0.fetch_or(bit, Ordering::AcqRel) & bit != 0
    }

    /// Ordered before the `begin_sync` that follows: who appends later finds the bit clear and
    /// marks again.
    fn clear(&self, bit: u8) {
        self.0.fetch_and(!bit, Ordering::AcqRel);
    }
}

impl<F> Default for Round<F> {
    fn default() -> Round<F> {
        Round { files: Vec::new(), directories: BTreeSet::new() }
    }
}

impl<F> Round<F> {
    /// For tests without a loop.
    #[cfg(test)]
    pub fn into_parts(self) -> (Vec<F>, BTreeSet<PathBuf>) {
        (self.files, self.directories)
    }

    pub fn file(&mut self, file: F) {
        self.files.push(file);
    }

    /// A directory with entries created or renamed since it was last synced.
    pub fn directory(&mut self, path: &Path) {
        if !self.directories.contains(path) {
            self.directories.insert(path.to_owned());
        }
    }

    fn len(&self) -> usize {
        self.files.len() + self.directories.len()
    }
}

impl<E: Env> Committer<E> {
    /// Starts the loop of the log directory `id` at `directory`.
    pub fn start(env: &E, directory: &Path, id: Uuid) -> Committer<E> {
        let shared = Arc::new(Shared {
            env: env.clone(),
            directory: directory.to_owned(),
            id,
            queue: Mutex::new(Queue {
                marked: Vec::new(),
                timed: BTreeMap::new(),
                timed_count: 0,
                parked: false,
                closing: false,
                ended: false,
            }),
            names: RwLock::default(),
            work: Notify::new(),
            offline: OnceLock::new(),
            ended: Notify::new(),
            full_told: Mutex::new(None),
            rounds: AtomicU64::new(0),
            members: AtomicU64::new(0),
        });
        env.spawn("commit", run(shared.clone()));
        Committer { shared }
    }

    /// Asks for a sync of what `member` has written so far. Cheap; may be called under the
    /// member's lock.
    pub fn mark<M: Dirty<E>>(&self, member: &Arc<M>) -> Result<(), Arc<Offline>> {
        if let Some(offline) = self.shared.offline.get() {
            return Err(offline.clone());
        }
        if member.mark().set(QUEUED) {
            return Ok(());
        }
        let queued = self.shared.enqueue(|queue| queue.marked.push(member.clone()));
        queued.inspect_err(|_| member.mark().clear(QUEUED))
    }

    /// Marks `member` when `deadline` comes (`flush.ms`), unless it waits for one already.
    pub fn mark_by<M: Dirty<E>>(
        &self,
        member: &Arc<M>,
        deadline: Instant,
    ) -> Result<(), Arc<Offline>> {
        if let Some(offline) = self.shared.offline.get() {
            return Err(offline.clone());
        }
        if member.mark().set(TIMED) {
            return Ok(());
        }
        let queued = self.shared.enqueue(|queue| {
            let number = queue.timed_count;
            queue.timed_count += 1;
            queue.timed.insert((deadline, number), member.clone());
        });
        queued.inspect_err(|_| member.mark().clear(TIMED))
    }

    /// Takes the directory offline: a write failed in a way that leaves no trust in it.
    pub fn fail(&self, error: io::Error) {
        self.shared.go_offline(error);
        self.shared.work.notify_one();
    }

    /// Says that there is no room, now and then: whoever waits for some tries again and again.
    pub fn tell_full(&self, error: &io::Error) {
        let now = self.shared.env.clock().now();
        let mut told = self.shared.full_told.lock().expect("nothing panics while it holds it");
        if told.is_none_or(|told| now.since(told) >= FULL_TOLD_EVERY) {
            *told = Some(now);
            warn!(directory = %self.shared.directory.display(), %error,
                "no room: records are refused, and checkpoints wait, until there is some");
        }
    }

    pub fn offline(&self) -> Option<&Arc<Offline>> {
        self.shared.offline.get()
    }

    /// Ends when the directory goes offline or the loop was closed; then says which.
    pub async fn ended(&self) -> Option<Arc<Offline>> {
        loop {
            let ended = self.shared.ended.notified();
            if self.shared.queue().ended {
                return self.shared.offline.get().cloned();
            }
            ended.await;
        }
    }

    /// No log's directory is renamed or removed while this is held. Rounds hold it; whoever writes
    /// or renames files of a log does, unless nobody could delete that log meanwhile.
    pub async fn hold_names(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.names.read().await
    }

    /// To rename or remove directories of logs: nobody is at work in them. A log must say that it
    /// is gone before that, so that nobody begins again.
    pub async fn change_names(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.names.write().await
    }

    /// Syncs all that is marked, now or for later, and ends the loop. `Err` when that failed.
    pub async fn close(&self) -> Result<(), Arc<Offline>> {
        self.shared.queue().closing = true;
        self.shared.work.notify_one();
        self.ended().await.map_or(Ok(()), Err)
    }

    pub fn counts(&self) -> Counts {
        Counts {
            rounds: self.shared.rounds.load(Ordering::Relaxed),
            members: self.shared.members.load(Ordering::Relaxed),
        }
    }
}

/// The loop.
async fn run<E: Env>(shared: Arc<Shared<E>>) {
    let mut round = Round::default();
    let mut taken: Vec<Arc<dyn Dirty<E>>> = Vec::new();
    let mut covered: Vec<(Arc<dyn Dirty<E>>, Offset)> = Vec::new();
    while shared.wait().await {
        shared.pace().await;
        let names = shared.names.read().await;
        std::mem::swap(&mut taken, &mut shared.queue().marked);
        for member in taken.drain(..) {
            member.mark().clear(QUEUED);
            if let Some(end) = member.begin_sync(&mut round) {
                covered.push((member, end));
            }
        }
        if covered.is_empty() {
            assert_eq!(round.len(), 0, "a log with nothing to do adds nothing");
            continue;
        }
        if let Err(error) = shared.sync(&round).await {
            shared.go_offline(error);
            break;
        }
        // Another sync of the directory failed meanwhile: this one may have found pages clean that
        // never reached the disk.
        if shared.offline.get().is_some() {
            break;
        }
        shared.rounds.fetch_add(1, Ordering::Relaxed);
        shared.members.fetch_add(covered.len() as u64, Ordering::Relaxed);
        drop(names);
        round.files.clear();
        round.directories.clear();
        for (member, end) in covered.drain(..) {
            member.on_synced(end);
        }
    }
    shared.end(covered.into_iter().map(|(member, _)| member));
}

impl<E: Env> Shared<E> {
    fn queue(&self) -> MutexGuard<'_, Queue<E>> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }

    fn enqueue(&self, put: impl FnOnce(&mut Queue<E>)) -> Result<(), Arc<Offline>> {
        let wake = {
            let mut queue = self.queue();
            if queue.ended {
                return Err(self.why_ended());
            }
            put(&mut queue);
            std::mem::take(&mut queue.parked)
        };
        if wake {
            self.work.notify_one();
        }
        Ok(())
    }

    fn why_ended(&self) -> Arc<Offline> {
        let closed = || {
            let error = io::Error::other("the commit loop was closed");
            Arc::new(Offline { directory: self.directory.clone(), error })
        };
        self.offline.get().cloned().unwrap_or_else(closed)
    }

    /// Until something is marked; false when the loop must end.
    async fn wait(&self) -> bool {
        loop {
            let deadline = {
                let mut queue = self.queue();
                if self.offline.get().is_some() {
                    return false;
                }
                queue.ripen(|| self.env.clock().now());
                if !queue.marked.is_empty() {
                    return true;
                }
                if queue.closing {
                    return false;
                }
                queue.parked = true;
                queue.timed.first_key_value().map(|(&(deadline, _), _)| deadline)
            };
            match deadline {
                None => self.work.notified().await,
                Some(deadline) => tokio::select! {
                    biased;
                    () = self.work.notified() => {}
                    () = self.env.clock().sleep_until(deadline) => {}
                },
            }
        }
    }

    /// The place to trade latency for fewer syncs. A sync costs the CPU of many appends, so the
    /// connections that are ready now get to append first; nobody waits for a timer.
    async fn pace(&self) {
        self.env.yield_now().await;
    }

    async fn sync(&self, round: &Round<FileOf<E>>) -> io::Result<()> {
        let disk = self.env.disk();
        if round.len() > SYNCS_SINGLE_MAX {
            return disk.sync_all(&self.directory).await;
        }
        if let ([file], true) = (&round.files[..], round.directories.is_empty()) {
            return file.sync().await;
        }
        let mut syncs: Vec<Syncing<'_>> = Vec::with_capacity(SYNCS_SINGLE_MAX);
        for file in &round.files {
            syncs.push(Box::pin(file.sync()));
        }
        for directory in &round.directories {
            syncs.push(Box::pin(disk.sync_dir(directory)));
        }
        all(syncs).await
    }

    fn go_offline(&self, error: io::Error) {
        let directory = self.directory.clone();
        if self.offline.set(Arc::new(Offline { directory, error })).is_ok() {
            self.env.probe(|| probe::Event::DirectoryOffline { directory: self.id });
        }
    }

    /// Nothing is taken any more; whoever still waits is told why.
    fn end(&self, covered: impl Iterator<Item = Arc<dyn Dirty<E>>>) {
        let (marked, timed) = {
            let mut queue = self.queue();
            queue.ended = true;
            (std::mem::take(&mut queue.marked), std::mem::take(&mut queue.timed))
        };
        let why = self.why_ended();
        for member in covered.chain(marked).chain(timed.into_values()) {
            member.mark().clear(QUEUED | TIMED);
            member.on_sync_failed(&why);
        }
        self.ended.notify_waiters();
    }
}

impl<E: Env> Queue<E> {
    /// Marks those whose time has come; all of them when the loop is to close.
    fn ripen(&mut self, now: impl FnOnce() -> Instant) {
        if self.timed.is_empty() {
            return;
        }
        let now = now();
        while let Some(first) = self.timed.first_entry() {
            if first.key().0 > now && !self.closing {
                break;
            }
            let member = first.remove();
            member.mark().clear(TIMED);
            if !member.mark().set(QUEUED) {
                self.marked.push(member);
            }
        }
    }
}

type Syncing<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// Runs them side by side to their ends; the first error, if any.
async fn all(mut syncs: Vec<Syncing<'_>>) -> io::Result<()> {
    let mut outcome = Ok(());
    poll_fn(|context| {
        syncs.retain_mut(|sync| match sync.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(done) => {
                if outcome.is_ok() {
                    outcome = done;
                }
                false
            }
        });
        if syncs.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcome
}

#[cfg(test)]
mod tests;
