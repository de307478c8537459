//! How a command fails, and the exit codes that scripts and service managers see.

use ottla::config::settings::SettingsError;
use ottla::log::directory::error::DirectoryError;
use ottla::server::node::RunError;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// One line for each thing that is wrong.
    #[error("the configuration is wrong: {}", .0.join("; "))]
    Config(Vec<String>),
    /// A disk said no: full, failing, read-only, or holding what is not ours.
    #[error("{0}")]
    Disk(String),
    /// Another process has the data directory.
    #[error("{0}")]
    Locked(String),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// EX_CONFIG, EX_IOERR and EX_TEMPFAIL of sysexits.h; 1 is everything that has no number of its own.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Config(_) => 78,
            Failure::Disk(_) => 74,
            Failure::Locked(_) => 75,
            Failure::Other(_) => 1,
        }
    }

    pub fn lines(&self) -> Vec<String> {
        match self {
            Failure::Config(lines) => lines.clone(),
            Failure::Disk(line) | Failure::Locked(line) | Failure::Other(line) => {
                vec![line.clone()]
            }
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Failure {
        let line = error.to_string();
        match error {
            RunError::Directory(DirectoryError::Locked { .. }) => Failure::Locked(line),
            RunError::Directory(_) | RunError::Offline(_) | RunError::Controller(_) => {
                Failure::Disk(line)
            }
            RunError::Listen(_) | RunError::Membership(_) | RunError::Unpublished => {
                Failure::Other(line)
            }
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        Failure::Config(vec![error.to_string()])
    }
}

impl From<Vec<SettingsError>> for Failure {
    fn from(errors: Vec<SettingsError>) -> Failure {
        Failure::Config(errors.iter().map(|error| error.to_string()).collect())
    }
}
