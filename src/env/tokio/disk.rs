//! Files by positional calls into the page cache; what waits for a device runs on another thread.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::runtime;

use super::files::{Files, Handle};
use super::lock::TokioLock;
use super::offload;
use crate::env::disk::{Disk, Entry, File, Open, Space};

#[derive(Clone)]
pub struct TokioDisk {
    files: Arc<Files>,
    /// Directories that were synced with all around them. A descriptor that stays open is told
    /// of every failed write-back since.
    roots: Arc<Mutex<BTreeMap<PathBuf, Arc<fs::File>>>>,
}

impl TokioDisk {
    pub fn new(runtime: runtime::Handle, files_open_max: usize) -> TokioDisk {
        TokioDisk { files: Files::new(runtime, files_open_max), roots: Arc::default() }
    }

    fn root(&self, dir: &Path) -> io::Result<Arc<fs::File>> {
        let mut roots = self.roots.lock().expect("nothing panics while it holds the roots");
        if let Some(root) = roots.get(dir) {
            return Ok(root.clone());
        }
        let root = Arc::new(fs::File::open(dir)?);
        roots.insert(dir.to_owned(), root.clone());
        Ok(root)
    }
}

impl Disk for TokioDisk {
    type File = TokioFile;
    type Lock = TokioLock;

    fn open(&self, path: &Path, how: Open) -> io::Result<TokioFile> {
        self.files.open(path, how).map(TokioFile)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.remove(path, |path| fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.files.remove(path, |path| fs::remove_dir_all(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let mut kind = entry.file_type()?;
            if kind.is_symlink() {
                // One that leads nowhere is listed as a file.
                kind = fs::metadata(entry.path()).map_or(kind, |target| target.file_type());
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, is_dir: kind.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let ms = |age: std::time::Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let modified = fs::metadata(path)?.modified()?;
        Ok(match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => -ms(before.duration()),
        })
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(Space {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            usable_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<TokioLock> {
        let lock = TokioLock::take(path)?;
        // Its directory is about to be written, and wants to hear of failed write-backs from now.
        self.root(lock.directory())?;
        Ok(lock)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = dir.to_owned();
        offload(&self.files.runtime, move || fs::File::open(dir)?.sync_all()).await
    }

    async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        let root = self.root(dir)?;
        let device = self.files.device(root.metadata()?.dev());
        let epoch = device.begin_sync();
        offload(&self.files.runtime, move || rustix::fs::syncfs(&root)).await?;
        device.synced(epoch);
        Ok(())
    }
}

#[derive(Clone)]
pub struct TokioFile(Arc<Handle>);

impl File for TokioFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.descriptor()?.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let descriptor = self.0.descriptor_to_write()?;
        let outcome = descriptor.set_len(len);
        self.0.wrote(descriptor);
        outcome
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let descriptor = self.0.descriptor_to_write()?;
        let outcome = write_all(&descriptor, at, parts);
        self.0.wrote(descriptor);
        outcome
    }

    fn try_read_at(&self, at: u64, len_max: u32, into: &mut BytesMut) -> io::Result<Option<u32>> {
        match read(&*self.0.descriptor()?, at, len_max, into, ReadWriteFlags::NOWAIT) {
            Ok(count) => Ok(Some(count)),
            // The second: a file system that can't tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_at(&self, at: u64, len_max: u32) -> io::Result<Bytes> {
        let descriptor = self.0.descriptor()?;
        let left = descriptor.metadata()?.len().saturating_sub(at);
        let len_max = u32::try_from(left).map_or(len_max, |left| left.min(len_max));
        let mut bytes = BytesMut::with_capacity(len_max as usize);
        let waits = !fill(&descriptor, at, len_max, &mut bytes, ReadWriteFlags::NOWAIT)?;
        if !waits {
            return Ok(bytes.freeze());
        }
        let files = self.0.files();
        let _turn = files.cold_reads.acquire().await.map_err(io::Error::other)?;
        offload(&files.runtime, move || {
            fill(&descriptor, at, len_max, &mut bytes, ReadWriteFlags::empty())?;
            Ok(bytes.freeze())
        })
        .await
    }

    fn evict(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&*self.0.descriptor()?, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    async fn sync(&self) -> io::Result<()> {
        let descriptor = self.0.descriptor()?;
        let writes = self.0.begin_sync();
        offload(&self.0.files().runtime, move || rustix::fs::fdatasync(&descriptor)).await?;
        self.0.synced(writes);
        Ok(())
    }
}

fn write_all(file: &fs::File, mut at: u64, mut parts: &[IoSlice<'_>]) -> io::Result<()> {
    /// What Linux takes in one call.
    const PARTS_MAX: usize = 1024;
    let mut written = 0;
    loop {
        while let Some(first) = parts.first() {
            if written < first.len() {
                break;
            }
            written -= first.len();
            parts = &parts[1..];
        }
        let Some(first) = parts.first() else { return Ok(()) };
        let outcome = if written > 0 {
            rustix::io::pwrite(file, &first[written..], at)
        } else {
            rustix::io::pwritev(file, &parts[..parts.len().min(PARTS_MAX)], at)
        };
        match outcome {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                at += count as u64;
                written += count;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Appends up to `len_max` bytes; 0 at the end of the file.
fn read(
    file: &fs::File,
    at: u64,
    len_max: u32,
    into: &mut BytesMut,
    flags: ReadWriteFlags,
) -> Result<u32, Errno> {
    if len_max == 0 {
        return Ok(0);
    }
    into.reserve(len_max as usize);
    let spare = &mut into.spare_capacity_mut()[..len_max as usize];
    // SAFETY: the kernel only writes to it, and bytes have no invalid values.
    let spare = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast(), spare.len()) };
    loop {
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(spare)], at, flags) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(count) => {
                // SAFETY: the kernel filled that many bytes behind the old length.
                unsafe { into.set_len(into.len() + count) };
                return Ok(count as u32);
            }
        }
    }
}

/// Reads until `bytes` holds `len` bytes from `at` or the file ends; false when it would wait.
fn fill(
    file: &fs::File,
    at: u64,
    len: u32,
    bytes: &mut BytesMut,
    flags: ReadWriteFlags,
) -> io::Result<bool> {
    while bytes.len() < len as usize {
        let left = len - bytes.len() as u32;
        match read(file, at + bytes.len() as u64, left, bytes, flags) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::OPNOTSUPP) if flags.contains(ReadWriteFlags::NOWAIT) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A disk with room for four descriptors.
    fn disk() -> (TokioDisk, TempDir) {
        let disk = TokioDisk::new(runtime::Handle::current(), 4);
        (disk, tempfile::tempdir().unwrap())
    }

    fn write(file: &TokioFile, at: u64, text: &str) {
        file.write_at(at, &[IoSlice::new(text.as_bytes())]).unwrap();
    }

    async fn text(file: &TokioFile) -> String {
        String::from_utf8(file.read_at(0, 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn opens_as_asked() {
        let (disk, dir) = disk();
        let path = dir.path().join("log");
        let kind = |how| disk.open(&path, how).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(kind(Open::Existing), Err(io::ErrorKind::NotFound));
        assert_eq!(kind(Open::OrCreate), Ok(()));
        assert_eq!(kind(Open::New), Err(io::ErrorKind::AlreadyExists));
        write(&disk.open(&path, Open::Existing).unwrap(), 0, "kept");
        assert_eq!(text(&disk.open(&path, Open::OrCreate).unwrap()).await, "kept");
    }

    #[tokio::test]
    async fn writes_are_seen_at_once_in_all_their_parts() {
        let (disk, dir) = disk();
        let file = disk.open(&dir.path().join("log"), Open::New).unwrap();
        assert!(file.is_empty().unwrap());
        let numbers: Vec<String> = (0..3000).map(|n| format!("{n},")).collect();
        let mut parts: Vec<IoSlice<'_>> =
            numbers.iter().map(|text| IoSlice::new(text.as_bytes())).collect();
        parts.insert(0, IoSlice::new(b""));
        parts.insert(1024, IoSlice::new(b""));
        file.write_at(5, &parts).unwrap();
        let all = numbers.concat();
        assert_eq!(file.len().unwrap(), 5 + all.len() as u64);
        assert_eq!(file.read_at(5, 1 << 20).await.unwrap(), all);
        assert_eq!(file.read_at(0, 5).await.unwrap(), [0; 5].as_slice());
        file.write_at(0, &[]).unwrap();
    }

    #[tokio::test]
    async fn reads_are_short_only_at_the_end() {
        let (disk, dir) = disk();
        let file = disk.open(&dir.path().join("log"), Open::New).unwrap();
        write(&file, 0, "0123456789");
        assert_eq!(file.read_at(2, 3).await.unwrap(), "234");
        assert_eq!(file.read_at(8, u32::MAX).await.unwrap(), "89");
        assert_eq!(file.read_at(10, 5).await.unwrap(), "");
        assert_eq!(file.read_at(u64::MAX / 4, 5).await.unwrap(), "");
        file.set_len(4).unwrap();
        assert_eq!(text(&file).await, "0123");
        file.set_len(6).unwrap();
        assert_eq!(text(&file).await, "0123\0\0");
    }

    #[tokio::test]
    async fn a_read_that_would_not_wait_appends() {
        let (disk, dir) = disk();
        let file = disk.open(&dir.path().join("log"), Open::New).unwrap();
        write(&file, 0, "0123456789");
        let mut bytes = BytesMut::from("before ");
        // A file system that can't tell says that it would wait.
        if let Some(count) = file.try_read_at(3, 4, &mut bytes).unwrap() {
            assert_eq!((count, &bytes[..]), (4, &b"before 3456"[..]));
            assert_eq!(file.try_read_at(10, 4, &mut bytes).unwrap(), Some(0));
            assert_eq!(file.try_read_at(0, 0, &mut bytes).unwrap(), Some(0));
        }
    }

    #[tokio::test]
    async fn a_read_from_the_device_brings_the_same_bytes() {
        let (disk, dir) = disk();
        let file = disk.open(&dir.path().join("log"), Open::New).unwrap();
        let line = "a line of thirty-two characters\n".repeat(4 << 10);
        write(&file, 0, &line);
        file.sync().await.unwrap();
        let descriptor = file.0.descriptor().unwrap();
        rustix::fs::fadvise(&*descriptor, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert_eq!(file.read_at(0, line.len() as u32).await.unwrap(), line);
    }

    #[tokio::test]
    async fn a_full_disk_and_a_failed_sync_are_errors() {
        let (disk, _dir) = disk();
        let full = disk.open(Path::new("/dev/full"), Open::Existing).unwrap();
        let error = full.write_at(0, &[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(full.sync().await.is_err(), "no device to sync");
        let none = Path::new("/proc/no such directory");
        assert!(disk.sync_dir(none).await.is_err());
        assert!(disk.sync_all(none).await.is_err());
    }

    #[tokio::test]
    async fn a_hundred_files_live_on_four_descriptors() {
        let (disk, dir) = disk();
        let mut files = Vec::new();
        for n in 0..100 {
            let file = disk.open(&dir.path().join(n.to_string()), Open::New).unwrap();
            write(&file, 0, &format!("file {n}"));
            file.sync().await.unwrap();
            files.push(file);
            assert!(disk.files.open_count() <= 4);
        }
        for (n, file) in files.iter().enumerate().rev() {
            assert_eq!(text(file).await, format!("file {n}"));
            assert!(disk.files.open_count() <= 4);
        }
        drop(files);
        assert_eq!(disk.files.open_count(), 0);
    }

    #[tokio::test]
    async fn unsynced_files_keep_their_descriptors_until_a_sync_covers_them() {
        let (disk, dir) = disk();
        let open = |n: u32| disk.open(&dir.path().join(n.to_string()), Open::OrCreate).unwrap();
        let files: Vec<TokioFile> = (0..20).map(open).collect();
        files.iter().for_each(|file| write(file, 0, "unsynced"));
        let clean: Vec<TokioFile> = (100..120).map(open).collect();
        assert!(disk.files.open_count() >= 20);
        disk.sync_all(dir.path()).await.unwrap();
        write(&files[7], 0, "again");
        drop((0..200).map(open).collect::<Vec<_>>());
        assert!(disk.files.open_count() <= 4);
        assert!(files[7].0.is_open(), "written after the sync");
        files[7].sync().await.unwrap();
        drop((0..200).map(open).collect::<Vec<_>>());
        assert!(!files[7].0.is_open());
        assert_eq!(text(&files[7]).await, "againced");
        drop(clean);
    }

    #[tokio::test]
    async fn an_open_file_stays_open_under_its_new_name() {
        let (disk, dir) = disk();
        disk.create_dir_all(&dir.path().join("a/b")).unwrap();
        let at = |name: &str| dir.path().join(name);
        let file = disk.open(&at("a/b/log"), Open::New).unwrap();
        let beside = disk.open(&at("a-1"), Open::New).unwrap();
        write(&file, 0, "moved");
        write(&beside, 0, "beside");
        disk.sync_all(dir.path()).await.unwrap();
        let push_out = || {
            for n in 0..50 {
                disk.open(&at(&n.to_string()), Open::OrCreate).unwrap();
            }
            let others: Vec<_> =
                (0..50).map(|n| disk.open(&at(&n.to_string()), Open::Existing).unwrap()).collect();
            assert!(!file.0.is_open() && !beside.0.is_open());
            drop(others);
        };
        push_out();
        disk.rename(&at("a"), &at("c")).unwrap();
        assert_eq!(text(&file).await, "moved");
        push_out();
        disk.rename(&at("c/b/log"), &at("log")).unwrap();
        disk.rename(&at("c"), &at("d")).unwrap();
        assert_eq!(text(&file).await, "moved");
        assert_eq!(text(&beside).await, "beside");
        assert!(disk.rename(&at("nothing"), &at("log")).is_err());
        push_out();
        assert_eq!(text(&file).await, "moved", "a rename that failed changed nothing");
    }

    #[tokio::test]
    async fn a_removed_or_replaced_file_stays_readable() {
        let (disk, dir) = disk();
        let at = |name: &str| dir.path().join(name);
        disk.create_dir_all(&at("sub")).unwrap();
        let names = ["removed", "replaced", "sub/with its directory"];
        let old: Vec<TokioFile> =
            names.iter().map(|name| disk.open(&at(name), Open::New).unwrap()).collect();
        old.iter().for_each(|file| write(file, 0, "old"));
        let new = disk.open(&at("new"), Open::New).unwrap();
        write(&new, 0, "new");
        disk.sync_all(dir.path()).await.unwrap();
        let push_out = || {
            let open = |n| disk.open(&at(&format!("{n}")), Open::OrCreate).unwrap();
            drop((0..50).map(open).collect::<Vec<_>>());
        };
        push_out();
        assert!(!old.iter().any(|file| file.0.is_open()));
        disk.remove(&at("removed")).unwrap();
        disk.rename(&at("new"), &at("replaced")).unwrap();
        disk.remove_dir_all(&at("sub")).unwrap();
        push_out();
        for file in &old {
            assert_eq!(text(file).await, "old");
            file.sync().await.unwrap();
        }
        assert_eq!(text(&new).await, "new");
        assert_eq!(text(&disk.open(&at("replaced"), Open::Existing).unwrap()).await, "new");
        assert!(!disk.exists(&at("removed")).unwrap());
        drop(old);
        assert!(disk.files.open_count() <= 4);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn handles_may_be_used_from_many_threads_while_descriptors_come_and_go() {
        let (disk, dir) = disk();
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (disk, dir) = (disk.clone(), dir.path().to_owned());
                tokio::spawn(async move {
                    let path = |n: u32| dir.join(format!("{task}-{n}"));
                    let open = |n| disk.open(&path(n), Open::New).unwrap();
                    let files: Vec<TokioFile> = (0..8).map(open).collect();
                    for round in 0..20 {
                        for (n, file) in files.iter().enumerate() {
                            write(file, 0, &format!("{task} {n} {round:02}"));
                            file.sync().await.unwrap();
                        }
                        let (from, to) = (dir.join(format!("{task}-0")), dir.join("moved"));
                        let moved = to.with_extension(task.to_string());
                        disk.rename(&from, &moved).unwrap();
                        for (n, file) in files.iter().enumerate() {
                            assert_eq!(text(file).await, format!("{task} {n} {round:02}"));
                        }
                        disk.rename(&moved, &from).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(disk.files.open_count(), 0);
    }

    #[tokio::test]
    async fn lists_sorted_and_says_what_is_a_directory() {
        let (disk, dir) = disk();
        for name in ["b", "a", "c"] {
            disk.open(&dir.path().join(name), Open::New).unwrap();
        }
        disk.create_dir_all(&dir.path().join("aa/deep")).unwrap();
        disk.create_dir_all(&dir.path().join("aa/deep")).unwrap();
        std::os::unix::fs::symlink("aa", dir.path().join("link")).unwrap();
        let found = disk.list(dir.path()).unwrap();
        let found: Vec<_> = found.iter().map(|entry| (&entry.name[..], entry.is_dir)).collect();
        assert_eq!(found, [("a", false), ("aa", true), ("b", false), ("c", false), ("link", true)]);
        assert_eq!(
            disk.list(&dir.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        disk.sync_dir(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn space_and_age_are_known() {
        let (disk, dir) = disk();
        let space = disk.space(dir.path()).unwrap();
        assert!(space.usable_bytes > 0 && space.usable_bytes <= space.total_bytes);
        let path = dir.path().join("log");
        disk.open(&path, Open::New).unwrap();
        let year_2020_ms = 1_577_836_800_000;
        assert!(disk.modified_ms(&path).unwrap() > year_2020_ms);
    }
}
