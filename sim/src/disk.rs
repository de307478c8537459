//! A disk that keeps only what it promised: see the contract in `src/env/disk.rs`.
//!
//! `volume` is the file system as data; here it meets time, processes and faults. Broken on
//! purpose: syncs take time and cover only what was written before, reads of cold files wait,
//! short reads where they are allowed, any call may fail or stall. A process that was killed finds
//! its handles dead: what it left behind cannot reach the disk of its successor.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla::env::disk::{Disk, Entry, File, Open, Space};
use serde::{Deserialize, Serialize};

use self::faults::{Fault, Faults, Reason, eio};
use self::loss::Persona;
use self::tree::Ino;
use self::volume::Volume;
use crate::agenda::Agenda;
use crate::chance::Chance;
use crate::clock::NodeClock;
use crate::moments::Moments;
use crate::plan::fault::Window;
use crate::trace::{Trace, What};

pub mod faults;
pub mod image;
pub mod loss;
pub mod tree;
pub mod volume;

#[cfg(test)]
mod tests;

/// How often a read that could be answered from memory would wait all the same.
const EVICTED: f64 = 0.01;

/// How often a read that may be short is.
const SHORT: f64 = 0.02;

/// One node's disk hardware with its kernel. It outlives processes.
#[derive(Clone)]
pub struct NodeDisk {
    name: Arc<str>,
    agenda: Agenda,
    trace: Arc<Trace>,
    clock: NodeClock,
    moments: Moments,
    state: Arc<Mutex<State>>,
}

struct State {
    volume: Volume,
    /// The process that may use the disk; handles of another are dead.
    incarnation: Option<u64>,
    last_incarnation: u64,
    chance: Chance,
    temper: Temper,
    stalled_until: Duration,
    power_losses: u64,
    faults: Faults,
    /// A sync of everything reports a failure that happened while it ran.
    failed_syncs: u64,
}

/// How fast the disk answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Temper {
    pub sync_micros: Range<u64>,
    pub read_micros: Range<u64>,
    /// 1 is healthy.
    pub slowness: u32,
}

impl Default for Temper {
    fn default() -> Temper {
        Temper { sync_micros: 100..3000, read_micros: 20..500, slowness: 1 }
    }
}

impl NodeDisk {
    pub fn new(
        name: &str,
        agenda: Agenda,
        trace: Arc<Trace>,
        clock: NodeClock,
        capacity_bytes: u64,
        chance: Chance,
    ) -> NodeDisk {
        let state = State {
            volume: Volume::new(capacity_bytes),
            incarnation: None,
            last_incarnation: 0,
            chance,
            temper: Temper::default(),
            stalled_until: Duration::ZERO,
            power_losses: 0,
            faults: Faults::default(),
            failed_syncs: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let moments = Moments::default();
        NodeDisk { name: name.into(), agenda, trace, clock, moments, state }
    }

    /// A process starts. Incarnations count from 1.
    pub fn boot(&self, incarnation: u64) -> SimDisk {
        let mut state = self.state();
        assert!(state.last_incarnation < incarnation, "an incarnation is never used twice");
        state.last_incarnation = incarnation;
        state.incarnation = Some(incarnation);
        state.faults.boot();
        drop(state);
        SimDisk { node: self.clone(), incarnation }
    }

    pub fn process_crash(&self) {
        let mut state = self.state();
        state.incarnation = None;
        state.volume.process_crash();
    }

    pub fn power_loss(&self, persona: Persona, chance: &mut Chance) {
        let mut state = self.state();
        state.power_losses += 1;
        state.incarnation = None;
        state.volume.power_loss(persona, chance);
    }

    /// The disk was replaced by an empty one. The node must be down.
    pub fn wipe(&self) {
        let mut state = self.state();
        assert!(state.incarnation.is_none(), "a disk is not pulled from under a process");
        state.volume.wipe();
    }

    /// Strikes the next call that it fits, of a file in the directory `below`. `chance` decides
    /// what is left to decide then.
    pub fn arm(&self, fault: Fault, below: Option<&Path>, chance: Chance) {
        self.state().faults.arm(fault, below.map(Path::to_owned), chance);
    }

    /// Nothing is armed, short or slow any more; what was damaged stays so.
    pub fn heal(&self, temper: Temper, capacity_bytes: u64) {
        let mut state = self.state();
        state.faults.heal();
        state.stalled_until = Duration::ZERO;
        state.temper = temper;
        state.volume.set_capacity(capacity_bytes);
    }

    /// Why the process that runs, or ran last, may have stopped.
    pub fn reasons(&self) -> BTreeSet<Reason> {
        self.state().faults.reasons().clone()
    }

    /// Files that the process that runs was told it could not sync.
    pub fn failed_syncs(&self) -> BTreeSet<PathBuf> {
        self.state().faults.failed_syncs().clone()
    }

    /// Where faults wait for a moment of this disk.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// From now on chance is drawn from this: what came before has no influence.
    pub fn reseed(&self, chance: Chance) {
        self.state().chance = chance;
    }

    /// Calls that wait for the device wait until then.
    pub fn stall(&self, wait: Duration) {
        self.state().stalled_until = self.agenda.now() + wait;
    }

    pub fn set_temper(&self, temper: Temper) {
        self.state().temper = temper;
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.state().volume.set_capacity(bytes);
    }

    /// No more than so many bytes can be stored beside those that are.
    pub fn fill_up(&self, spare_bytes: u64) {
        let mut state = self.state();
        let used = state.volume.used_bytes();
        state.volume.set_capacity(used + spare_bytes);
    }

    /// No more than so many files can be opened beside those that are.
    pub fn limit_files(&self, spare: Option<u32>) {
        let mut state = self.state();
        let open = state.volume.open_files() as u32;
        state.faults.limit_files(spare.map(|spare| open + spare));
    }

    /// Flips a drawn bit of what is durable of the file at `path`, for good. Says which byte it was
    /// in; `None` when there is nothing to flip.
    pub fn rot(&self, path: &Path, chance: &mut Chance) -> Option<u64> {
        let mut state = self.state();
        let volume = &mut state.volume;
        let len = volume.durable(path)?.len();
        let ino = volume.find(path).filter(|_| len > 0)?;
        let at = chance.between(0..len);
        volume.rot(ino, at, chance.between(0..8) as u8);
        Some(at)
    }

    /// Breaks a promise: the second half of the file at `path` is gone, synced or not.
    pub fn betray(&self, path: &Path) {
        let mut state = self.state();
        if let Some(ino) = state.volume.find(path) {
            state.volume.betray(ino);
        }
    }

    /// How often what was not synced may have been lost: with the power, or because a process was
    /// told of an error and gave it up.
    pub fn losses(&self) -> u64 {
        let state = self.state();
        state.power_losses + state.faults.errors_told()
    }

    /// What checkers may know: the volume as it is now.
    pub fn with_volume<R>(&self, look: impl FnOnce(&Volume) -> R) -> R {
        look(&self.state().volume)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Handles are dropped while a failed run unwinds.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, what: impl Into<What>) {
        self.trace.record(self.agenda.now(), &self.name, what);
    }
}

impl State {
    /// How long a call that waits for the device takes.
    fn wait(&mut self, now: Duration, micros: fn(&Temper) -> &Range<u64>) -> Duration {
        let drawn = self.chance.between(micros(&self.temper).clone());
        let work = Duration::from_micros(drawn) * self.temper.slowness;
        self.stalled_until.saturating_sub(now) + work
    }
}

/// The disk as one process sees it.
#[derive(Clone)]
pub struct SimDisk {
    node: NodeDisk,
    incarnation: u64,
}

impl SimDisk {
    /// Fails when this process was killed: nothing of it may reach the disk any more.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.node.state();
        if state.incarnation == Some(self.incarnation) {
            Ok(state)
        } else {
            Err(io::Error::other("the process that opened this was killed"))
        }
    }

    async fn device(&self, micros: fn(&Temper) -> &Range<u64>) -> io::Result<()> {
        let wait = self.alive()?.wait(self.node.agenda.now(), micros);
        self.node.agenda.sleep(wait).await;
        Ok(())
    }

    fn begin_sync(&self) -> io::Result<u64> {
        let upto = self.alive()?.volume.begin_sync();
        self.node.moments.opened(Window::Syncing);
        Ok(upto)
    }

    /// Names change.
    fn renames(&self, path: &Path) {
        let is_whole = path.extension().is_some_and(|kind| kind == "tmp" || kind == "part");
        let window = if is_whole { Window::Replacing } else { Window::Renaming };
        self.node.moments.opened(window);
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn open(&self, path: &Path, how: Open) -> io::Result<SimFile> {
        let mut state = self.alive()?;
        let State { volume, faults, .. } = &mut *state;
        faults.check(Fault::FailOpen, path)?;
        faults.check_files(volume.open_files())?;
        let is_new = !volume.exists(path);
        let ino = volume.open(path, how, self.node.clock.wall_ms()).inspect_err(|error| {
            if error.kind() == ErrorKind::StorageFull {
                faults.no_space();
            }
        })?;
        drop(state);
        self.node.record(format!("open {} {how:?} = {}", path.display(), ino.0));
        if is_new {
            self.renames(path);
        }
        let (disk, path) = (self.clone(), path.to_owned());
        Ok(SimFile { handle: Arc::new(Handle { disk, ino, path }) })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.node.record(format!("mkdir {}", path.display()));
        self.alive()?.volume.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.node.record(format!("rename {} to {}", from.display(), to.display()));
        self.alive()?.volume.rename(from, to)?;
        self.renames(from);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.node.record(format!("remove {}", path.display()));
        self.alive()?.volume.remove(path)?;
        self.renames(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.node.record(format!("remove all {}", path.display()));
        self.alive()?.volume.remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.alive()?.volume.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.alive()?.volume.exists(path))
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        self.alive()?.volume.modified_ms(path)
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let (total_bytes, usable_bytes) = self.alive()?.volume.space();
        Ok(Space { total_bytes, usable_bytes })
    }

    fn lock(&self, path: &Path) -> io::Result<SimLock> {
        let file = self.open(path, Open::OrCreate)?;
        self.alive()?.volume.lock(file.handle.ino)?;
        self.node.record(format!("lock {}", path.display()));
        Ok(SimLock { file })
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let ino = self.alive()?.volume.dir(dir)?;
        let upto = self.begin_sync()?;
        self.device(|temper| &temper.sync_micros).await?;
        let mut state = self.alive()?;
        state.faults.check(Fault::FailSyncDir, dir)?;
        state.volume.finish_sync_dir(ino, upto);
        drop(state);
        self.node.record(format!("sync dir {}", dir.display()));
        Ok(())
    }

    async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.alive()?.volume.dir(dir)?;
        let (upto, failures) = (self.begin_sync()?, self.alive()?.failed_syncs);
        self.device(|temper| &temper.sync_micros).await?;
        let mut state = self.alive()?;
        let State { volume, faults, failed_syncs, .. } = &mut *state;
        let struck = faults.strikes(Fault::FailSync, dir);
        if struck.is_some() || failures != *failed_syncs {
            faults.tell(Reason::Error);
            if let Some(mut chance) = struck {
                volume.fail_sync_all(upto, &mut chance);
                *failed_syncs += 1;
            }
            drop(state);
            self.node.record(format!("failed sync all {}", dir.display()));
            return Err(eio());
        }
        faults.check(Fault::FailSyncDir, dir)?;
        volume.finish_sync_all(upto);
        drop(state);
        self.node.record(format!("sync all {}", dir.display()));
        Ok(())
    }
}

#[derive(Clone)]
pub struct SimFile {
    handle: Arc<Handle>,
}

struct Handle {
    disk: SimDisk,
    ino: Ino,
    /// Its name when it was opened.
    path: PathBuf,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Ok(mut state) = self.disk.alive() {
            state.volume.close(self.ino);
        }
    }
}

impl SimFile {
    fn disk(&self) -> &SimDisk {
        &self.handle.disk
    }

    fn record(&self, what: What) {
        self.disk().node.record(what);
    }

    fn ino(&self) -> u64 {
        self.handle.ino.0
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().alive()?.volume.len(self.handle.ino))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let wall_ms = self.disk().node.clock.wall_ms();
        let mut state = self.disk().alive()?;
        state.faults.check(Fault::FailWrite, &self.handle.path)?;
        state.volume.set_len(self.handle.ino, len, wall_ms);
        drop(state);
        self.record(What::SetLen { ino: self.ino(), len });
        Ok(())
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let data = Bytes::from(parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat());
        let (len, wall_ms) = (data.len(), self.disk().node.clock.wall_ms());
        let (ino, path) = (self.handle.ino, &self.handle.path);
        let mut state = self.disk().alive()?;
        let State { volume, faults, .. } = &mut *state;
        let struck = faults.strikes(Fault::FailWrite, path);
        let tried = struck.clone().map_or(len, |mut chance| chance.index(len + 1));
        let written = volume.write(ino, at, data.slice(..tried), wall_ms);
        if written < tried {
            faults.no_space();
        }
        if struck.is_none() && faults.strikes(Fault::LoseWrite, path).is_some() {
            volume.lose_last_write(ino);
        }
        drop(state);
        if path.extension().is_some_and(|kind| kind == "log") {
            self.disk().node.moments.opened(Window::Unsynced);
        }
        self.record(What::Write { ino: self.ino(), at, bytes: written as u64 });
        if struck.is_some() {
            return Err(eio());
        }
        if written < len { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn try_read_at(&self, at: u64, len_max: u32, into: &mut BytesMut) -> io::Result<Option<u32>> {
        let mut state = self.disk().alive()?;
        if state.volume.is_cold(self.handle.ino) || state.chance.happens(EVICTED) {
            return Ok(None);
        }
        let mut len = len_max as usize;
        if len > 1 && state.chance.happens(SHORT) {
            len = state.chance.between(1..len as u64) as usize;
        }
        Ok(Some(state.volume.read(self.handle.ino, at, len, into) as u32))
    }

    async fn read_at(&self, at: u64, len_max: u32) -> io::Result<Bytes> {
        self.disk().device(|temper| &temper.read_micros).await?;
        let mut state = self.disk().alive()?;
        let State { volume, faults, .. } = &mut *state;
        faults.check(Fault::FailRead, &self.handle.path)?;
        let mut read = BytesMut::new();
        volume.read(self.handle.ino, at, len_max as usize, &mut read);
        if !read.is_empty()
            && let Some(mut chance) = faults.strikes(Fault::FlipRead, &self.handle.path)
        {
            let bit = chance.index(read.len() * 8);
            read[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(read.freeze())
    }

    fn evict(&self) -> io::Result<()> {
        self.disk().alive()?.volume.evict(self.handle.ino);
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        let upto = self.disk().begin_sync()?;
        self.disk().device(|temper| &temper.sync_micros).await?;
        let mut state = self.disk().alive()?;
        let State { volume, faults, failed_syncs, .. } = &mut *state;
        let struck = faults.strikes(Fault::FailSync, &self.handle.path);
        let wronged = volume.take_wrong(self.handle.ino);
        if struck.is_some() || wronged {
            faults.sync_failed(&self.handle.path);
            if let Some(mut chance) = struck {
                volume.fail_sync(self.handle.ino, upto, &mut chance);
                *failed_syncs += 1;
            }
            drop(state);
            self.record(What::from(format!("failed sync of {}", self.ino())));
            return Err(eio());
        }
        volume.finish_sync(self.handle.ino, upto);
        drop(state);
        self.record(What::Sync { ino: self.ino() });
        Ok(())
    }
}

/// An advisory lock. Released when dropped, or by the kernel when the process dies.
pub struct SimLock {
    file: SimFile,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.file.disk().alive() {
            state.volume.unlock(self.file.handle.ino);
        }
    }
}

/// Where a test or a nemesis looks for files of one kind.
pub fn files_below(volume: &Volume, dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in volume.list(dir).unwrap_or_default() {
        let path = dir.join(&entry.name);
        if entry.is_dir { found.extend(files_below(volume, &path)) } else { found.push(path) }
    }
    found
}
