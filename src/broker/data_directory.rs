//! One log directory in use: its files, and the loop that makes its logs durable.
//!
//! The lines of a checkpoint name a log by its topic and partition only, and a topic of the same
//! name may come again. So a log's lines leave the files before its directory leaves its place, and
//! no log is made while the files have lines of an earlier one of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use tracing::warn;

use crate::env::Env;
use crate::log::checkpoint::{Checkpoint, Offsets};
use crate::log::commit::{Committer, Counts};
use crate::log::directory::Directory;
use crate::log::directory::error::DirectoryError;
use crate::log::name::LogName;
use crate::types::Offset;

pub struct DataDirectory<E: Env> {
    pub directory: Directory<E>,
    pub committer: Committer<E>,
    written: Mutex<Written>,
    /// One writer at a time: offsets that were gathered earlier must not be written later.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Written {
    /// What the checkpoint files say, so that only changes are written.
    offsets: BTreeMap<Checkpoint, Offsets>,
    /// Those whose writing was begun and did not end: it failed, or whoever asked for it is gone.
    unsure: BTreeSet<Checkpoint>,
    /// Logs of an earlier start that nobody opened or deleted since: their lines stay as they are.
    /// A damaged log without its recovery point would look like a torn one, and be cut.
    untouched: BTreeSet<LogName>,
    /// What the commit loop had done when checkpoints were last taken.
    counts: Counts,
}

/// The checkpoints that a broker writes.
const WRITTEN: [Checkpoint; 3] =
    [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::Replication];

impl<E: Env> DataDirectory<E> {
    /// Reads the checkpoints. One that makes no sense is told and done without: recovery then reads
    /// more.
    pub async fn open(
        env: &E,
        directory: Directory<E>,
    ) -> Result<DataDirectory<E>, DirectoryError> {
        let mut offsets = BTreeMap::new();
        for which in Checkpoint::ALL {
            let read = match directory.read_offsets(which).await {
                Err(error @ DirectoryError::Malformed { .. }) => {
                    warn!(%error, "checkpoint ignored: more is read than would be needed");
                    Offsets::new()
                }
                read => read?,
            };
            offsets.insert(which, read);
        }
        let committer = Committer::start(env, directory.path(), directory.id());
        let untouched = offsets.values().flat_map(BTreeMap::keys).cloned().collect();
        let written = Mutex::new(Written { offsets, untouched, ..Written::default() });
        let writing = tokio::sync::Mutex::default();
        Ok(DataDirectory { directory, committer, written, writing })
    }

    pub fn checkpointed(&self, which: Checkpoint, name: &LogName) -> Option<Offset> {
        self.written().offsets[&which].get(name).copied()
    }

    /// What the last owner left of a log that was not opened yet.
    pub fn left(&self, which: Checkpoint, name: &LogName) -> Option<Offset> {
        let written = self.written();
        let is_left = written.untouched.contains(name);
        written.offsets[&which].get(name).copied().filter(|_| is_left)
    }

    /// The log was opened, or deleted: from now on its owner says what the checkpoints hold of it.
    pub fn take_over(&self, name: &LogName) {
        self.written().untouched.remove(name);
    }

    /// Whether the files speak of a log of that name that is neither open nor to be opened: of one
    /// that was deleted.
    pub fn has_stale_lines(&self, name: &LogName) -> bool {
        let Written { offsets, unsure, untouched, .. } = &*self.written();
        let has_line =
            |which: &Checkpoint| unsure.contains(which) || offsets[which].contains_key(name);
        !untouched.contains(name) && WRITTEN.iter().any(has_line)
    }

    /// The lines of logs that `is_known` denies speak of nothing any more.
    pub fn forget_strangers(&self, is_known: impl Fn(&LogName) -> bool) {
        self.written().untouched.retain(is_known);
    }

    /// Writes what `gather` says to a checkpoint file, unless that says so already. Returns when it
    /// is durable.
    pub async fn checkpoint(
        &self,
        which: Checkpoint,
        gather: impl FnOnce() -> Offsets,
    ) -> Result<(), DirectoryError> {
        let _writing = self.writing.lock().await;
        let offsets = {
            // Held while the owners are asked: who takes a log over meanwhile waits, and its line is
            // there either way.
            let Written { offsets: before, unsure, untouched, .. } = &mut *self.written();
            let mut offsets = gather();
            for (name, offset) in &before[&which] {
                if untouched.contains(name) {
                    offsets.entry(name.clone()).or_insert(*offset);
                }
            }
            if before[&which] == offsets && !unsure.contains(&which) {
                return Ok(());
            }
            unsure.insert(which);
            offsets
        };
        self.directory.write_offsets(which, &offsets).await?;
        let written = &mut *self.written();
        written.offsets.insert(which, offsets);
        written.unsure.remove(&which);
        Ok(())
    }

    /// Whether anything was committed since this was last asked.
    pub fn has_committed(&self) -> bool {
        let counts = self.committer.counts();
        std::mem::replace(&mut self.written().counts, counts) != counts
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().expect("nobody panics while holding it")
    }
}
