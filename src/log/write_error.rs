//! Why something could not be written, and whether to try again.
//!
//! A full disk passes, and so does a want of open files: who writes checkpoints waits for room, and nothing is lost meanwhile. A sync
//! that failed is never tried again, whatever it says: what it was to cover may be gone.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing of it counts as written. Later there may be room.
    #[error("{0}")]
    NoRoom(io::Error),
    /// What was written is not to be trusted.
    #[error("{0}")]
    Failed(io::Error),
}

impl WriteError {
    /// Of any call but a sync.
    pub fn of_write(error: io::Error) -> WriteError {
        if is_no_room(&error) { WriteError::NoRoom(error) } else { WriteError::Failed(error) }
    }

    pub fn of_sync(error: io::Error) -> WriteError {
        WriteError::Failed(error)
    }

    pub fn into_io(self) -> io::Error {
        match self {
            WriteError::NoRoom(error) | WriteError::Failed(error) => error,
        }
    }
}

/// The disk, or what we may have of it or of open files, is used up.
pub fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Too many open files: in the system, in this process.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_may_be_tried_again_and_only_for_want_of_room() {
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert!(matches!(WriteError::of_write(error(kind)), WriteError::NoRoom(_)));
            assert!(matches!(WriteError::of_sync(error(kind)), WriteError::Failed(_)));
        }
        let files = io::Error::from_raw_os_error(EMFILE);
        assert!(matches!(WriteError::of_write(files), WriteError::NoRoom(_)));
        let other = error(io::ErrorKind::ReadOnlyFilesystem);
        assert!(matches!(WriteError::of_write(other), WriteError::Failed(_)));
    }
}
