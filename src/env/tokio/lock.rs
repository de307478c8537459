//! The lock file of a log directory.
//!
//! It holds off other brokers of this process and other processes, among them a Kafka, whose locks
//! are of the `fcntl` kind. Such a lock ends when the process closes any descriptor of the file,
//! hence the list of those we hold: nobody opens one a second time. `flock` is taken as well, as it
//! has no such trap.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

#[derive(Debug)]
pub struct TokioLock {
    path: PathBuf,
    file: Option<fs::File>,
}

static LOCKS_HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl TokioLock {
    pub fn directory(&self) -> &Path {
        self.path.parent().expect("a lock file is in a directory")
    }

    pub fn take(path: &Path) -> io::Result<TokioLock> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = parent.canonicalize()?.join(name);
        let mut held = LOCKS_HELD.lock().expect("nothing panics while it holds the list");
        if held.contains(&path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        loop {
            let mut options = fs::File::options();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::ACCESS) => return Err(io::ErrorKind::WouldBlock.into()),
                outcome => outcome?,
            }
            // Its last owner may have removed the file after we opened it.
            if fs::metadata(&path).is_ok_and(|named| Some(named.ino()) == inode(&file)) {
                held.insert(path.clone());
                return Ok(TokioLock { path, file: Some(file) });
            }
        }
    }
}

impl Drop for TokioLock {
    fn drop(&mut self) {
        let mut held = LOCKS_HELD.lock().expect("nothing panics while it holds the list");
        drop(self.file.take());
        held.remove(&self.path);
    }
}

fn inode(file: &fs::File) -> Option<u64> {
    Some(file.metadata().ok()?.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_holds_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let kind = || TokioLock::take(&path).map_err(|error| error.kind()).err();
        let lock = TokioLock::take(&path).unwrap();
        assert_eq!(kind(), Some(io::ErrorKind::WouldBlock));
        // As a clean stop does it: the name goes first.
        fs::remove_file(&path).unwrap();
        drop(lock);
        assert_eq!(kind(), None);
        assert_eq!(kind(), None);
    }

    #[test]
    fn other_processes_see_the_lock_and_so_does_a_kafka() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let _lock = TokioLock::take(&path).unwrap();
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let inode = format!(":{} ", fs::metadata(&path).unwrap().ino());
        let held = |kind| locks.lines().any(|line| line.contains(&inode) && line.contains(kind));
        assert!(held("FLOCK") && held("POSIX"), "{locks}");
    }
}
