//! The real world with a disk that fails when it is told to.

use std::future::Future;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla::env::disk::{Disk, Entry, File, Open, Space};
use ottla::env::tokio::clock::TokioClock;
use ottla::env::tokio::disk::{TokioDisk, TokioFile};
use ottla::env::tokio::net::TokioNet;
use ottla::env::tokio::{TokioEnv, TokioTask};
use ottla::env::{Env, FileOf};
use tokio::runtime::Handle;

/// What goes wrong; shared between a test and the node it watches.
#[derive(Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    syncs_fail_under: Mutex<Option<PathBuf>>,
    disk_full: AtomicBool,
    full_under: Mutex<Option<PathBuf>>,
    torn_bytes: AtomicU64,
    read_only: AtomicBool,
    read_ms: AtomicU64,
}

impl Faults {
    /// Nothing can be created, changed or removed.
    pub fn make_read_only(&self) {
        self.shared.read_only.store(true, Ordering::SeqCst);
    }

    /// Nothing is in the page cache any more, and the device takes its time.
    pub fn slow_reads(&self, read_ms: u64) {
        self.shared.read_ms.store(read_ms, Ordering::SeqCst);
    }

    fn check_change(&self) -> io::Result<()> {
        match self.shared.read_only.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    /// Syncs of what is under `path` fail from now on.
    pub fn fail_syncs(&self, path: &Path) {
        *self.shared.syncs_fail_under.lock().unwrap() = Some(path.to_owned());
    }

    /// Writes to logs fail from now on, after `torn_bytes` of each were written.
    pub fn fill_disk(&self, torn_bytes: u64) {
        self.shared.torn_bytes.store(torn_bytes, Ordering::SeqCst);
        self.shared.disk_full.store(true, Ordering::SeqCst);
    }

    /// Nothing under `path` can be written or created from now on. What is there can be renamed and
    /// removed.
    pub fn fill_disk_under(&self, path: &Path) {
        *self.shared.full_under.lock().unwrap() = Some(path.to_owned());
    }

    pub fn free_disk(&self) {
        self.shared.disk_full.store(false, Ordering::SeqCst);
        *self.shared.full_under.lock().unwrap() = None;
    }

    fn check_room(&self, path: &Path) -> io::Result<()> {
        let full = self.shared.full_under.lock().unwrap();
        match &*full {
            Some(under) if path.starts_with(under) => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn check_sync(&self, path: &Path) -> io::Result<()> {
        let failing = self.shared.syncs_fail_under.lock().unwrap();
        match &*failing {
            Some(under) if path.starts_with(under) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    /// How much of a write succeeds; all of it, or the bytes before the disk is full.
    fn check_write(&self, path: &Path) -> Result<(), u64> {
        let of_a_topic = path.extension().is_some_and(|extension| extension == "log")
            && !path.to_string_lossy().contains("__cluster_metadata");
        match of_a_topic && self.shared.disk_full.load(Ordering::SeqCst) {
            true => Err(self.shared.torn_bytes.load(Ordering::SeqCst)),
            false => Ok(()),
        }
    }
}

#[derive(Clone)]
pub struct FaultyEnv {
    inner: TokioEnv,
    disk: FaultyDisk,
}

impl FaultyEnv {
    pub fn new(runtime: Handle, faults: &Faults) -> FaultyEnv {
        let inner = TokioEnv::new(runtime);
        let disk = FaultyDisk { inner: inner.disk().clone(), faults: faults.clone() };
        FaultyEnv { inner, disk }
    }
}

impl Env for FaultyEnv {
    type Clock = TokioClock;
    type Net = TokioNet;
    type Disk = FaultyDisk;
    type Task = TokioTask;

    fn clock(&self) -> &TokioClock {
        self.inner.clock()
    }

    fn net(&self) -> &TokioNet {
        self.inner.net()
    }

    fn disk(&self) -> &FaultyDisk {
        &self.disk
    }

    fn random_u64(&self) -> u64 {
        self.inner.random_u64()
    }

    fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> TokioTask {
        self.inner.spawn(name, task)
    }

    fn offload<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        self.inner.offload(work)
    }
}

#[derive(Clone)]
pub struct FaultyDisk {
    inner: TokioDisk,
    faults: Faults,
}

#[derive(Clone)]
pub struct FaultyFile {
    inner: TokioFile,
    path: Arc<Path>,
    faults: Faults,
}

impl Disk for FaultyDisk {
    type File = FaultyFile;
    type Lock = <TokioDisk as Disk>::Lock;

    fn open(&self, path: &Path, how: Open) -> io::Result<FaultyFile> {
        if how == Open::New || (how == Open::OrCreate && !self.inner.exists(path)?) {
            self.faults.check_change()?;
            self.faults.check_room(path)?;
        }
        let inner: FileOf<TokioEnv> = self.inner.open(path, how)?;
        Ok(FaultyFile { inner, path: path.into(), faults: self.faults.clone() })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.faults.check_change()?;
        if !self.inner.exists(path)? {
            self.faults.check_room(path)?;
        }
        self.inner.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check_change()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.check_change()?;
        self.inner.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.faults.check_change()?;
        self.inner.remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        self.inner.modified_ms(path)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.inner.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
        self.faults.check_change()?;
        self.inner.lock(path)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.check_sync(dir)?;
        self.inner.sync_dir(dir).await
    }

    async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.faults.check_sync(dir)?;
        self.inner.sync_all(dir).await
    }
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.faults.check_change()?;
        self.faults.check_room(&self.path)?;
        let Err(fitting) = self.faults.check_write(&self.path) else {
            return self.inner.write_at(at, parts);
        };
        let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let fitting = (fitting as usize).min(all.len());
        self.inner.write_at(at, &[IoSlice::new(&all[..fitting])])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn try_read_at(&self, at: u64, len_max: u32, into: &mut BytesMut) -> io::Result<Option<u32>> {
        match self.faults.shared.read_ms.load(Ordering::SeqCst) {
            0 => self.inner.try_read_at(at, len_max, into),
            _ => Ok(None),
        }
    }

    async fn read_at(&self, at: u64, len_max: u32) -> io::Result<Bytes> {
        let read_ms = self.faults.shared.read_ms.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(read_ms)).await;
        self.inner.read_at(at, len_max).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.faults.check_sync(&self.path)?;
        self.inner.sync().await
    }
}
