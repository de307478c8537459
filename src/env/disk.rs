//! What we ask of a disk, and what we do not believe about it.
//!
//! 1. A write is visible to reads at once, and durable only when a later `sync` of the file, or
//!    `sync_all`, returns `Ok`. A sync covers the writes that ended before it began, no others.
//! 2. After a crash each unsynced sector (512 bytes) holds its old bytes, its new bytes, or noise;
//!    the length may be old or new.
//! 3. `create`, `rename` and `remove` are durable only after `sync_dir` on the parent (or
//!    `sync_all`). A rename replaces its target atomically.
//! 4. A file whose `sync` failed may have lost pages that still read back. Retrying could report
//!    success for lost pages (fsyncgate), so nobody retries: the directory goes offline.
//!    Reading back proves nothing either, until `evict` was called.
//! 5. Any call may fail, with no space, or stall. A failed write may have been carried out in part.
//!
//! The calls that are not `async` touch the kernel's caches and return in microseconds on a warm
//! machine; long runs of them belong in `Env::offload`.

use std::future::Future;
use std::io::{self, IoSlice};
use std::path::Path;

use bytes::{Bytes, BytesMut};

pub trait Disk: Clone + Send + Sync + 'static {
    type File: File;
    /// Held while the process uses a directory; released when dropped or when the process dies.
    type Lock: Send + Sync + 'static;

    fn open(&self, path: &Path, how: Open) -> io::Result<Self::File>;

    /// Creates `path` and its missing parents; no error when it exists.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Files or directories. An open file stays open under its new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// A file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// A directory and everything in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Sorted by name, so that recovery visits files in the same order everywhere.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Milliseconds since 1970 of the last write.
    fn modified_ms(&self, path: &Path) -> io::Result<i64>;

    fn space(&self, dir: &Path) -> io::Result<Space>;

    /// Takes the advisory lock file at `path`, creating it. `WouldBlock` when another process (or
    /// another broker in this one) holds it.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;

    fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Everything written or renamed on the file system that holds `dir`.
    fn sync_all(&self, dir: &Path) -> impl Future<Output = io::Result<()>> + Send;
}

/// A handle; clones share the file. Positional: there is no cursor.
pub trait File: Clone + Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts, or grows with zeroes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes all of `parts`, one after another, at `at`, into the page cache.
    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// Reads what the page cache holds, without waiting for a device: appends at most `len_max`
    /// bytes to `into` and says how many; 0 at the end of the file. `None` when it would wait.
    fn try_read_at(&self, at: u64, len_max: u32, into: &mut BytesMut) -> io::Result<Option<u32>>;

    /// Waits for the device when it must. Short only at the end of the file.
    fn read_at(&self, at: u64, len_max: u32) -> impl Future<Output = io::Result<Bytes>> + Send;

    /// Forgets what is in memory of the file and was synced, or counts as synced because a sync
    /// failed: reads come from the device afterwards, and show what survives a power loss.
    fn evict(&self) -> io::Result<()> {
        Ok(())
    }

    /// Data and length (fdatasync).
    fn sync(&self) -> impl Future<Output = io::Result<()>> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// `NotFound` when absent.
    Existing,
    /// Created empty when absent.
    OrCreate,
    /// Created empty; `AlreadyExists` when present.
    New,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub usable_bytes: u64,
}
