//! Small files that are replaced as a whole: after a crash either the old contents or the new.
//!
//! The new contents go to `<name>.tmp`, which is synced and renamed; the directory is synced last.
//! Calls for one file must not overlap.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::env::disk::{Disk, File, Open};
use crate::log::write_error::WriteError;

/// Larger files of this kind do not exist; whoever finds one has the wrong file.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// Returns when `contents` is durable under `path`. Its directory must exist.
pub async fn replace<D: Disk>(disk: &D, path: &Path, contents: &[u8]) -> Result<(), WriteError> {
    let unnamed = unnamed(path);
    let file = put(disk, &unnamed, contents).map_err(WriteError::of_write)?;
    file.sync().await.map_err(WriteError::of_sync)?;
    disk.rename(&unnamed, path).map_err(WriteError::of_write)?;
    disk.sync_dir(parent(path)).await.map_err(WriteError::of_sync)
}

/// Writes all of `contents` to a file of its own, not yet durable. What a full disk cut short is
/// removed.
pub fn put<D: Disk>(disk: &D, path: &Path, contents: &[u8]) -> io::Result<D::File> {
    let written = || {
        let file = disk.open(path, Open::OrCreate)?;
        // What a crash may have left.
        file.set_len(0)?;
        file.write_at(0, &[IoSlice::new(contents)])?;
        Ok(file)
    };
    written().inspect_err(|_| {
        // It takes room, and nobody looks at it.
        let _ = disk.remove(path);
    })
}

/// The contents; `None` when there is no such file.
pub async fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<Option<Bytes>> {
    let file = match disk.open(path, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let len = file.len()?;
    match u32::try_from(len) {
        Ok(len) if u64::from(len) <= FILE_BYTES_MAX => Ok(Some(file.read_at(0, len).await?)),
        _ => Err(io::Error::other(format!("{len} bytes, {FILE_BYTES_MAX} at most"))),
    }
}

fn unnamed(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".tmp");
    name.into()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::env::memory::MemoryEnv;
    use crate::env::tokio::TokioEnv;

    #[tokio::test]
    async fn the_new_contents_take_the_place_of_the_old() {
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quorum-state");
        assert_eq!(read(env.disk(), &path).await.unwrap(), None);
        for contents in ["", "longer than what follows", "short"] {
            replace(env.disk(), &path, contents.as_bytes()).await.unwrap();
            assert_eq!(read(env.disk(), &path).await.unwrap().unwrap(), contents);
        }
        assert_eq!(env.disk().list(dir.path()).unwrap().len(), 1, "no .tmp is left");
    }

    #[tokio::test]
    async fn a_full_disk_leaves_the_old_contents_and_nothing_beside_them() {
        let env = MemoryEnv::new(TokioEnv::new(tokio::runtime::Handle::current()));
        let (disk, path) = (env.disk(), Path::new("/data/meta.properties"));
        disk.put(path, b"old".to_vec());
        disk.set_space(Some(2));
        let error = replace(disk, path, b"newer").await.unwrap_err();
        assert!(matches!(error, WriteError::NoRoom(_)), "{error}");
        assert_eq!(read(disk, path).await.unwrap().unwrap(), "old");
        assert_eq!(disk.list(Path::new("/data")).unwrap().len(), 1, "no .tmp is left");
        disk.set_space(None);
        replace(disk, path, b"newer").await.unwrap();
        assert_eq!(read(disk, path).await.unwrap().unwrap(), "newer");
    }

    #[tokio::test]
    async fn a_leftover_of_a_crash_does_not_show_through() {
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.properties");
        let leftover = env.disk().open(&unnamed(&path), Open::New).unwrap();
        leftover.write_at(0, &[IoSlice::new(b"much longer than the new one")]).unwrap();
        replace(env.disk(), &path, b"new").await.unwrap();
        assert_eq!(read(env.disk(), &path).await.unwrap().unwrap(), "new");
    }
}
