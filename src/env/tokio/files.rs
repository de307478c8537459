//! Open files, at most so many at once.
//!
//! A handle knows its path and opens the file again when its descriptor was taken from it. So that
//! this always finds the same file, renames and removals go through here as well: a rename moves
//! the paths of the handles it touches; a file that is removed, or replaced by a rename, keeps its
//! descriptor, since no path leads to it any more.
//!
//! A file with unsynced writes keeps its descriptor too. The kernel reports a failed write-back to
//! the descriptors that were open then; one opened later could sync "successfully" and hide that
//! data was lost.
//!
//! Descriptors are taken by the clock algorithm: the oldest one that was not used since it was
//! last looked at. Locks are taken in the order names, state, clock; another handle's state is
//! only tried.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockWriteGuard, Weak};

use tokio::runtime;
use tokio::sync::Semaphore;

use super::BLOCKING_THREADS_MAX;
use crate::env::disk::Open;

const COLD_READS_MAX: usize = BLOCKING_THREADS_MAX / 2;

/// Descriptors looked at, at most, to make room for one.
const CLOCK_STEPS_MAX: usize = 256;

pub struct Files {
    pub runtime: runtime::Handle,
    /// So that slow reads leave threads for the syncs that acknowledgements wait for.
    pub cold_reads: Semaphore,
    open_max: usize,
    names: RwLock<Names>,
    clock: Mutex<Clock>,
    devices: Mutex<BTreeMap<u64, Arc<Device>>>,
}

#[derive(Default)]
struct Names {
    /// Every handle that has a path. A path may have several.
    handles: BTreeMap<(Arc<Path>, u64), Weak<Handle>>,
    handles_made: u64,
}

#[derive(Default)]
struct Clock {
    open: usize,
    /// One entry per descriptor, and entries of handles that are gone.
    queue: VecDeque<Weak<Handle>>,
}

/// One file system, for telling what a sync of all of it covered.
pub struct Device {
    /// Grows with each `sync_all` that begins.
    epoch: AtomicU64,
    /// Writes of this epoch and earlier ones are synced.
    epoch_synced: AtomicU64,
}

pub struct Handle {
    files: Arc<Files>,
    device: Arc<Device>,
    number: u64,
    writable: bool,
    used: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// `None` once no name leads here.
    path: Option<Arc<Path>>,
    descriptor: Option<Arc<fs::File>>,
    writes: u64,
    writes_synced: u64,
    /// The device's epoch after the last write.
    epoch_written: u64,
}

impl Files {
    pub fn new(runtime: runtime::Handle, open_max: usize) -> Arc<Files> {
        Arc::new(Files {
            runtime,
            cold_reads: Semaphore::new(COLD_READS_MAX),
            open_max,
            names: RwLock::default(),
            clock: Mutex::default(),
            devices: Mutex::default(),
        })
    }

    pub fn open(self: &Arc<Files>, path: &Path, how: Open) -> io::Result<Arc<Handle>> {
        let handle = {
            let mut names = self.names_mut();
            let (descriptor, writable) = open_descriptor(path, how)?;
            let device = self.device(descriptor.metadata()?.dev());
            let path: Arc<Path> = path.into();
            let number = names.handles_made;
            names.handles_made += 1;
            let state = State {
                path: Some(path.clone()),
                descriptor: Some(Arc::new(descriptor)),
                writes: 0,
                writes_synced: 0,
                epoch_written: 0,
            };
            let handle = Arc::new(Handle {
                files: self.clone(),
                device,
                number,
                writable,
                used: AtomicBool::new(true),
                state: Mutex::new(state),
            });
            names.handles.insert((path, number), Arc::downgrade(&handle));
            handle
        };
        self.admit(&handle);
        Ok(handle)
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from == to {
            return fs::rename(from, to);
        }
        // Declared before the lock so that they are dropped after it: to drop the last reference
        // to a handle takes the lock.
        let (replaced, moved);
        let mut opened = Vec::new();
        let outcome = {
            let mut names = self.names_mut();
            (replaced, moved) = (names.under(to), names.under(from));
            opened.extend(replaced.iter().filter(|(_, handle)| handle.open_to_keep()));
            let outcome = fs::rename(from, to);
            if outcome.is_ok() {
                names.forget(&replaced);
                for (path, handle) in &moved {
                    let below = path.strip_prefix(from).expect("it was found under this path");
                    let at_end = below.as_os_str().is_empty();
                    let path_now = if at_end { to.into() } else { to.join(below).into() };
                    names.renamed(path, path_now, handle);
                }
            }
            outcome
        };
        opened.into_iter().for_each(|(_, handle)| self.admit(handle));
        outcome
    }

    /// Carries out `remove`, which ends every name at or under `path`.
    pub fn remove(
        &self,
        path: &Path,
        remove: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let removed;
        let mut opened = Vec::new();
        let outcome = {
            let mut names = self.names_mut();
            removed = names.under(path);
            opened.extend(removed.iter().filter(|(_, handle)| handle.open_to_keep()));
            let outcome = remove(path);
            if outcome.is_ok() {
                names.forget(&removed);
            }
            outcome
        };
        opened.into_iter().for_each(|(_, handle)| self.admit(handle));
        outcome
    }

    /// The file system of `st_dev`.
    pub fn device(&self, number: u64) -> Arc<Device> {
        let mut devices = self.devices.lock().expect(NO_PANIC);
        let new = || Arc::new(Device { epoch: AtomicU64::new(1), epoch_synced: AtomicU64::new(0) });
        devices.entry(number).or_insert_with(new).clone()
    }

    /// Descriptors held now.
    #[cfg(test)]
    pub fn open_count(&self) -> usize {
        self.clock.lock().expect(NO_PANIC).open
    }

    fn names_mut(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().expect(NO_PANIC)
    }

    /// Counts the descriptor that `handle` has opened, and takes that of another when there are
    /// too many. When all are in use there are more than `open_max` for a while. Must not be
    /// called while the names are locked: it may drop the last reference to a handle.
    fn admit(&self, handle: &Arc<Handle>) {
        let mut looked_at = Vec::new();
        let mut clock = self.clock.lock().expect(NO_PANIC);
        clock.open += 1;
        clock.queue.push_back(Arc::downgrade(handle));
        for _ in 0..CLOCK_STEPS_MAX.min(2 * clock.queue.len()) {
            if clock.open <= self.open_max {
                break;
            }
            let Some(oldest) = clock.queue.pop_front() else { break };
            let Some(handle) = oldest.upgrade() else { continue };
            if handle.give_up_descriptor() {
                clock.open -= 1;
            } else {
                clock.queue.push_back(oldest);
            }
            looked_at.push(handle);
        }
        if clock.queue.len() > 2 * clock.open + CLOCK_STEPS_MAX {
            clock.queue.retain(|handle| handle.strong_count() > 0);
        }
        drop(clock);
        drop(looked_at);
    }
}

impl Names {
    /// The handles at `path` and below it. Component-wise order keeps them together.
    fn under(&self, path: &Path) -> Vec<(Arc<Path>, Arc<Handle>)> {
        let from = (Bound::Included((Arc::from(path), 0)), Bound::Unbounded);
        let below = self.handles.range(from).take_while(|((at, _), _)| at.starts_with(path));
        below.filter_map(|((at, _), handle)| Some((at.clone(), handle.upgrade()?))).collect()
    }

    fn forget(&mut self, handles: &[(Arc<Path>, Arc<Handle>)]) {
        for (path, handle) in handles {
            self.handles.remove(&(path.clone(), handle.number));
            handle.state().path = None;
        }
    }

    fn renamed(&mut self, from: &Arc<Path>, to: Arc<Path>, handle: &Arc<Handle>) {
        let entry = self.handles.remove(&(from.clone(), handle.number));
        let entry = entry.expect("a handle with a path is in the table");
        self.handles.insert((to.clone(), handle.number), entry);
        handle.state().path = Some(to);
    }
}

impl Device {
    /// Before a sync of the whole file system; its answer goes to `synced` when that succeeded.
    pub fn begin_sync(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::SeqCst)
    }

    pub fn synced(&self, epoch: u64) {
        self.epoch_synced.fetch_max(epoch, Ordering::SeqCst);
    }
}

impl Handle {
    /// The open file.
    pub fn descriptor(self: &Arc<Handle>) -> io::Result<Arc<fs::File>> {
        self.used.store(true, Ordering::Relaxed);
        if let Some(descriptor) = &self.state().descriptor {
            return Ok(descriptor.clone());
        }
        let descriptor = {
            // No rename between reading the path and opening it.
            let _names = self.files.names.read().expect(NO_PANIC);
            let mut state = self.state();
            match &state.descriptor {
                Some(descriptor) => return Ok(descriptor.clone()),
                None => state.open()?,
            }
        };
        self.files.admit(self);
        Ok(descriptor)
    }

    pub fn descriptor_to_write(self: &Arc<Handle>) -> io::Result<Arc<fs::File>> {
        if !self.writable {
            let why = "we may not write this file, it was opened for reading";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        self.descriptor()
    }

    /// After each write through `descriptor`, also one that failed: part of it may be there.
    pub fn wrote(self: &Arc<Handle>, descriptor: Arc<fs::File>) {
        let mut state = self.state();
        state.writes += 1;
        // Read after the write: a sync of all that began before it ended has an older epoch.
        state.epoch_written = self.device.epoch.load(Ordering::SeqCst);
        if state.descriptor.is_none() {
            // It was taken while we wrote.
            state.descriptor = Some(descriptor);
            drop(state);
            self.files.admit(self);
        }
    }

    /// The writes that a sync which begins now will cover.
    pub fn begin_sync(&self) -> u64 {
        self.state().writes
    }

    pub fn synced(&self, writes: u64) {
        let mut state = self.state();
        assert!(writes <= state.writes, "synced {writes} writes of {}", state.writes);
        state.writes_synced = state.writes_synced.max(writes);
    }

    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.state().descriptor.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(NO_PANIC)
    }

    /// Before its name goes. True when it was opened now. When it can't be opened, later uses of
    /// the handle say `NotFound`.
    fn open_to_keep(&self) -> bool {
        let mut state = self.state();
        state.descriptor.is_none() && state.open().is_ok()
    }

    /// False when it is needed.
    fn give_up_descriptor(&self) -> bool {
        if self.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        let Ok(mut state) = self.state.try_lock() else { return false };
        let epoch_synced = self.device.epoch_synced.load(Ordering::SeqCst);
        let synced = state.writes == state.writes_synced || state.epoch_written <= epoch_synced;
        if !synced || state.path.is_none() {
            return false;
        }
        let taken = state.descriptor.take();
        assert!(taken.is_some(), "the clock holds one entry per descriptor");
        true
    }
}

impl State {
    fn open(&mut self) -> io::Result<Arc<fs::File>> {
        let path = self.path.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let descriptor = Arc::new(open_descriptor(path, Open::Existing)?.0);
        self.descriptor = Some(descriptor.clone());
        Ok(descriptor)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let number = self.number;
        let state = self.state.get_mut().expect(NO_PANIC);
        let open = state.descriptor.is_some();
        if let Some(path) = state.path.take() {
            self.files.names_mut().handles.remove(&(path, number));
        }
        if open {
            self.files.clock.lock().expect(NO_PANIC).open -= 1;
        }
    }
}

const NO_PANIC: &str = "nothing panics while it holds this lock";

/// A file that may not be written, such as a snapshot of Kafka's metadata, is opened for reading.
/// Says whether it can be written.
fn open_descriptor(path: &Path, how: Open) -> io::Result<(fs::File, bool)> {
    let mut options = fs::File::options();
    options.read(true).write(true);
    match how {
        Open::Existing => &mut options,
        Open::OrCreate => options.create(true),
        Open::New => options.create_new(true),
    };
    match options.open(path) {
        Err(error) if how == Open::Existing && may_not_write(&error) => {
            Ok((fs::File::open(path)?, false))
        }
        opened => Ok((opened?, true)),
    }
}

fn may_not_write(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}
