//! A disk that keeps only what it promised: see the contract in `src/env/disk.rs`.
//!
//! `volume` is the file system as data; here it meets time, processes and faults. Broken on
//! purpose: syncs take time and cover only what was written before, reads of cold files wait,
//! short reads where they are allowed, any call may fail or stall. A process that was killed finds
//! its handles dead: what it left behind cannot reach the disk of its successor.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla::env::disk::{Disk, Entry, File, Open, Space};
use serde::{Deserialize, Serialize};

use self::loss::{Loss, Persona};
use self::tree::Ino;
use self::volume::Volume;
use crate::agenda::Agenda;
use crate::chance::Chance;
use crate::clock::NodeClock;
use crate::trace::{Trace, What};

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
    armed: Vec<Fault>,
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
            armed: vec![],
        };
        let state = Arc::new(Mutex::new(state));
        NodeDisk { name: name.into(), agenda, trace, clock, state }
    }

    /// A process starts. Incarnations count from 1.
    pub fn boot(&self, incarnation: u64) -> SimDisk {
        let mut state = self.state();
        assert!(state.last_incarnation < incarnation, "an incarnation is never used twice");
        state.last_incarnation = incarnation;
        state.incarnation = Some(incarnation);
        drop(state);
        SimDisk { node: self.clone(), incarnation }
    }

    pub fn process_crash(&self) {
        let mut state = self.state();
        state.incarnation = None;
        state.volume.process_crash();
    }

    pub fn power_loss(&self, persona: Persona) {
        let mut state = self.state();
        state.power_losses += 1;
        let State { volume, chance, incarnation, .. } = &mut *state;
        *incarnation = None;
        volume.power_loss(persona, chance);
    }

    /// The disk was replaced by an empty one. The node must be down.
    #[cfg_attr(not(test), allow(dead_code, reason = "no plan draws it yet"))]
    pub fn wipe(&self) {
        let mut state = self.state();
        assert!(state.incarnation.is_none(), "a disk is not pulled from under a process");
        state.volume.wipe();
    }

    #[cfg_attr(not(test), allow(dead_code, reason = "no plan draws it yet"))]
    pub fn arm(&self, fault: Fault) {
        self.state().armed.push(fault);
    }

    /// Calls that wait for the device wait until then.
    pub fn stall(&self, wait: Duration) {
        self.state().stalled_until = self.agenda.now() + wait;
    }

    pub fn set_temper(&self, temper: Temper) {
        self.state().temper = temper;
    }

    #[cfg_attr(not(test), allow(dead_code, reason = "no plan draws it yet"))]
    pub fn set_capacity(&self, bytes: u64) {
        self.state().volume.set_capacity(bytes);
    }

    /// Flips a drawn bit of the file at `path`, for good.
    #[cfg_attr(not(test), allow(dead_code, reason = "no plan draws it yet"))]
    pub fn rot(&self, path: &Path) {
        let mut state = self.state();
        let State { volume, chance, .. } = &mut *state;
        let Some(ino) = volume.find(path) else { return };
        let len = volume.len(ino);
        if len > 0 {
            volume.rot(ino, chance.between(0..len), chance.between(0..8) as u8);
        }
    }

    /// Breaks a promise: the second half of the file at `path` is gone, synced or not.
    pub fn betray(&self, path: &Path) {
        let mut state = self.state();
        if let Some(ino) = state.volume.find(path) {
            state.volume.betray(ino);
        }
    }

    /// How often the power was lost so far.
    pub fn power_losses(&self) -> u64 {
        self.state().power_losses
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
    fn strikes(&mut self, fault: Fault) -> io::Result<()> {
        match self.armed.iter().position(|armed| *armed == fault) {
            Some(index) => {
                self.armed.remove(index);
                Err(io::Error::from_raw_os_error(EIO))
            }
            None => Ok(()),
        }
    }

    /// How long a call that waits for the device takes.
    fn wait(&mut self, now: Duration, micros: fn(&Temper) -> &Range<u64>) -> Duration {
        let drawn = self.chance.between(micros(&self.temper).clone());
        let work = Duration::from_micros(drawn) * self.temper.slowness;
        self.stalled_until.saturating_sub(now) + work
    }
}

const EIO: i32 = 5;

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
        Ok(self.alive()?.volume.begin_sync())
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn open(&self, path: &Path, how: Open) -> io::Result<SimFile> {
        let mut state = self.alive()?;
        state.strikes(Fault::FailOpen)?;
        let ino = state.volume.open(path, how, self.node.clock.wall_ms())?;
        drop(state);
        self.node.record(format!("open {} {how:?} = {}", path.display(), ino.0));
        Ok(SimFile { handle: Arc::new(Handle { disk: self.clone(), ino }) })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.node.record(format!("mkdir {}", path.display()));
        self.alive()?.volume.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.node.record(format!("rename {} to {}", from.display(), to.display()));
        self.alive()?.volume.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.node.record(format!("remove {}", path.display()));
        self.alive()?.volume.remove(path)
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
        state.strikes(Fault::FailSyncDir)?;
        state.volume.finish_sync_dir(ino, upto);
        drop(state);
        self.node.record(format!("sync dir {}", dir.display()));
        Ok(())
    }

    async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.alive()?.volume.dir(dir)?;
        let upto = self.begin_sync()?;
        self.device(|temper| &temper.sync_micros).await?;
        let mut state = self.alive()?;
        state.strikes(Fault::FailSyncDir)?;
        state.volume.finish_sync_all(upto);
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
        state.strikes(Fault::FailWrite)?;
        state.volume.set_len(self.handle.ino, len, wall_ms);
        drop(state);
        self.record(What::SetLen { ino: self.ino(), len });
        Ok(())
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let data = Bytes::from(parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat());
        let (len, wall_ms) = (data.len(), self.disk().node.clock.wall_ms());
        let mut state = self.disk().alive()?;
        let struck = state.strikes(Fault::FailWrite);
        let tried = if struck.is_err() { state.chance.index(len + 1) } else { len };
        let written = state.volume.write(self.handle.ino, at, data.slice(..tried), wall_ms);
        drop(state);
        self.record(What::Write { ino: self.ino(), at, bytes: written as u64 });
        struck?;
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
        state.strikes(Fault::FailRead)?;
        let mut read = BytesMut::new();
        state.volume.read(self.handle.ino, at, len_max as usize, &mut read);
        if !read.is_empty() && state.strikes(Fault::FlipRead).is_err() {
            let bit = state.chance.index(read.len() * 8);
            read[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(read.freeze())
    }

    async fn sync(&self) -> io::Result<()> {
        let upto = self.disk().begin_sync()?;
        self.disk().device(|temper| &temper.sync_micros).await?;
        let mut state = self.disk().alive()?;
        if let Err(error) = state.strikes(Fault::FailSync) {
            let State { volume, chance, .. } = &mut *state;
            let mut loss = Loss::draw(Persona::Scattered, 0, chance);
            volume.fail_sync(self.handle.ino, upto, &mut loss);
            drop(state);
            self.record(What::from(format!("failed sync of {}", self.ino())));
            return Err(error);
        }
        state.volume.finish_sync(self.handle.ino, upto);
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
