//! One log directory in use: its files, and the loop that makes its logs durable.

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
    /// What the checkpoint files say, so that only changes are written.
    written: Mutex<Written>,
    /// One writer at a time: offsets that were gathered earlier must not be written later.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Written {
    offsets: BTreeMap<Checkpoint, Offsets>,
    /// Logs of an earlier start that nobody opened or deleted since: their lines stay as they are.
    /// A damaged log without its recovery point would look like a torn one, and be cut.
    untouched: BTreeSet<LogName>,
    /// What the commit loop had done when checkpoints were last taken.
    counts: Counts,
}

impl<E: Env> DataDirectory<E> {
    /// Reads the checkpoints. One that cannot be read is told and done without: recovery then
    /// reads more.
    pub async fn open(env: &E, directory: Directory<E>) -> DataDirectory<E> {
        let committer = Committer::start(env, directory.path(), directory.id());
        let mut offsets = BTreeMap::new();
        for which in Checkpoint::ALL {
            let read = directory.read_offsets(which).await;
            offsets.insert(
                which,
                read.unwrap_or_else(|error| {
                    warn!(%error, "checkpoint ignored: more is read than would be needed");
                    Offsets::new()
                }),
            );
        }
        let untouched = offsets.values().flat_map(BTreeMap::keys).cloned().collect();
        let written = Mutex::new(Written { offsets, untouched, counts: Counts::default() });
        let writing = tokio::sync::Mutex::default();
        DataDirectory { directory, committer, written, writing }
    }

    pub fn checkpointed(&self, which: Checkpoint, name: &LogName) -> Option<Offset> {
        self.written().offsets[&which].get(name).copied()
    }

    /// The log was opened, or deleted: from now on its owner says what the checkpoints hold of it.
    pub fn take_over(&self, name: &LogName) {
        self.written().untouched.remove(name);
    }

    /// Forgets the lines of logs that `is_known` denies: of topics deleted when there was no room to
    /// take the lines out. A later log of one of these names begins anew.
    pub fn forget_strangers(&self, is_known: impl Fn(&LogName) -> bool) {
        let Written { offsets, untouched, .. } = &mut *self.written();
        offsets.values_mut().for_each(|lines| lines.retain(|name, _| is_known(name)));
        untouched.retain(is_known);
    }

    /// Writes what `gather` says to a checkpoint file, unless that says so already. Returns when it
    /// is durable.
    pub async fn checkpoint(
        &self,
        which: Checkpoint,
        gather: impl FnOnce() -> Offsets,
    ) -> Result<(), DirectoryError> {
        let _writing = self.writing.lock().await;
        let mut offsets = gather();
        {
            let Written { offsets: before, untouched, .. } = &*self.written();
            for (name, offset) in &before[&which] {
                if untouched.contains(name) {
                    offsets.entry(name.clone()).or_insert(*offset);
                }
            }
            if before[&which] == offsets {
                return Ok(());
            }
        }
        self.directory.write_offsets(which, &offsets).await?;
        self.written().offsets.insert(which, offsets);
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
