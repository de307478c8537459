//! What can be wrong with a log directory: the file, what was found, what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::checkpoint::FormatError;
use crate::log::write_error::WriteError;
use crate::types::{NodeId, Uuid};

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("cannot {doing} {}: {error}{}", path.display(), advice(error))]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    /// It may be tried again.
    #[error("cannot write {}: {error}{}", path.display(), advice(error))]
    NoRoom { path: PathBuf, error: io::Error },
    #[error("{}: {error}", path.display())]
    Malformed { path: PathBuf, error: FormatError },
    #[error(
        "{} is in use: another broker holds its lock. Stop that one, or choose another directory",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "{} belongs to cluster {found}, {expected} expected. Start the node with the cluster it \
         belongs to, or choose another directory",
        path.display()
    )]
    OtherCluster { path: PathBuf, found: String, expected: String },
    #[error(
        "{} belongs to node.id {}, {} expected. Start with node.id={}, or choose another directory",
        path.display(), found.0, expected.0, found.0
    )]
    OtherNode { path: PathBuf, found: NodeId, expected: NodeId },
    #[error(
        "{} and {} have one directory.id, {id}: one is a copy of the other. Leave out the copy",
        first.display(), second.display()
    )]
    SameId { first: PathBuf, second: PathBuf, id: Uuid },
    #[error(
        "{} is not empty and has no meta.properties, so it is no log directory: it holds {entry}. \
         Choose an empty or a new directory; if it was a log directory, put its meta.properties \
         back (version=1, cluster.id, node.id, directory.id)",
        path.display()
    )]
    NotFormatted { path: PathBuf, entry: String },
    #[error(
        "{} is no name of a log (topic-partition, or one marked -delete, -future or -stray). \
         Log directories hold nothing else: move it away",
        path.display()
    )]
    UnknownName { path: PathBuf },
}

pub fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    move |error| DirectoryError::Io { path: path.to_owned(), doing, error }
}

pub fn write_error(path: &Path) -> impl FnOnce(WriteError) -> DirectoryError {
    move |error| match error {
        WriteError::NoRoom(error) => DirectoryError::NoRoom { path: path.to_owned(), error },
        WriteError::Failed(error) => io_error("write", path)(error),
    }
}

pub fn malformed(path: &Path) -> impl FnOnce(FormatError) -> DirectoryError {
    move |error| DirectoryError::Malformed { path: path.to_owned(), error }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            ". The user that runs the broker needs to read and write there"
        }
        io::ErrorKind::ReadOnlyFilesystem => ". A log directory must be writable",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Make room, then start again: nothing that was acknowledged is lost"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            ". A log directory must be a directory"
        }
        _ => "",
    }
}
