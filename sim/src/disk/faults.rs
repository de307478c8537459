//! What is wrong with a disk: errors that wait for their call, shortages, and why a broker that uses
//! it may stop.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::chance::Chance;

const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// Strikes the next operation that it fits, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// EIO after a part of the bytes was written.
    FailWrite,
    /// EIO, and the pages are clean all the same.
    FailSync,
    FailSyncDir,
    FailRead,
    FailOpen,
    /// A bit of the answer is flipped; the disk itself is sound.
    FlipRead,
    /// It is confirmed, reads back, and never reaches the disk.
    LoseWrite,
}

impl Fault {
    /// Those that the caller is told of.
    pub const ERRORS: [Fault; 5] =
        [Fault::FailWrite, Fault::FailSync, Fault::FailSyncDir, Fault::FailRead, Fault::FailOpen];
}

/// What a process was told, and may have stopped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Error,
    NoSpace,
    NoFiles,
}

#[derive(Default)]
pub struct Faults {
    armed: Vec<Armed>,
    /// Open files, at most.
    files_max: Option<u32>,
    reasons: BTreeSet<Reason>,
    /// Files whose syncs the process that runs was told to have failed.
    failed_syncs: BTreeSet<PathBuf>,
    /// How often a process was told of an error.
    errors_told: u64,
}

struct Armed {
    fault: Fault,
    /// Only files in this directory.
    below: Option<PathBuf>,
    chance: Chance,
}

impl Faults {
    pub fn arm(&mut self, fault: Fault, below: Option<PathBuf>, chance: Chance) {
        self.armed.push(Armed { fault, below, chance });
    }

    /// From now on nothing more strikes.
    pub fn heal(&mut self) {
        self.armed.clear();
        self.files_max = None;
    }

    pub fn limit_files(&mut self, files_max: Option<u32>) {
        self.files_max = files_max;
    }

    /// The stream of the fault that strikes now, if one does.
    pub fn strikes(&mut self, fault: Fault, path: &Path) -> Option<Chance> {
        let fits = |armed: &Armed| {
            armed.fault == fault && armed.below.as_ref().is_none_or(|dir| path.starts_with(dir))
        };
        let struck = self.armed.iter().position(fits)?;
        if Fault::ERRORS.contains(&fault) {
            self.tell(Reason::Error);
        }
        Some(self.armed.remove(struck).chance)
    }

    /// The same where nothing is left to chance.
    pub fn check(&mut self, fault: Fault, path: &Path) -> io::Result<()> {
        self.strikes(fault, path).map_or(Ok(()), |_| Err(eio()))
    }

    /// May a file be opened, when so many are?
    pub fn check_files(&mut self, open: usize) -> io::Result<()> {
        if self.files_max.is_none_or(|max| open < max as usize) {
            return Ok(());
        }
        self.tell(Reason::NoFiles);
        Err(io::Error::from_raw_os_error(EMFILE))
    }

    pub fn tell(&mut self, reason: Reason) {
        self.reasons.insert(reason);
        self.errors_told += 1;
    }

    pub fn errors_told(&self) -> u64 {
        self.errors_told
    }

    /// What was in the log is still there.
    pub fn no_space(&mut self) {
        self.reasons.insert(Reason::NoSpace);
    }

    /// What the process that runs, or ran last, was told since it began.
    pub fn reasons(&self) -> &BTreeSet<Reason> {
        &self.reasons
    }

    pub fn sync_failed(&mut self, path: &Path) {
        self.tell(Reason::Error);
        self.failed_syncs.insert(path.to_owned());
    }

    pub fn failed_syncs(&self) -> &BTreeSet<PathBuf> {
        &self.failed_syncs
    }

    pub fn boot(&mut self) {
        self.reasons.clear();
        self.failed_syncs.clear();
    }
}

pub fn eio() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}
