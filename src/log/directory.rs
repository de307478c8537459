//! A log directory: whose it is, who uses it, how it was left, which logs it holds.
//!
//! 1. `.lock` is held from before the first look until after the last write.
//! 2. `meta.properties` says which node of which cluster a directory belongs to. An empty
//!    directory is formatted; one of another owner, or one that holds other things, is refused
//!    and left as it was.
//! 3. `.kafka_cleanshutdown` is there only while nobody uses the directory, after a clean stop:
//!    it is to be taken before anything in a log is changed.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::env::Env;
use crate::env::disk::{Disk, Space};
use crate::types::{BrokerEpoch, NodeId, Uuid};

use self::error::{DirectoryError, io_error, malformed, write_error};
use super::checkpoint::{self, Checkpoint, FormatError, Offsets};
use super::name::{Fate, LogName};
use super::properties::MetaProperties;
use super::replace;

pub mod error;
pub mod open;

pub struct Directory<E: Env> {
    env: E,
    path: PathBuf,
    properties: MetaProperties,
    id: Uuid,
    lock: Mutex<Option<LockOf<E>>>,
    /// Held while a file is replaced: two writers of one file would share its `.tmp`.
    writing: tokio::sync::Mutex<()>,
}

type LockOf<E> = <<E as Env>::Disk as Disk>::Lock;

/// One log found in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: LogName,
    pub fate: Fate,
    pub path: PathBuf,
}

/// The last owner closed every log and wrote every checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// What it was registered as; unknown when an old Kafka left the file.
    pub broker_epoch: Option<BrokerEpoch>,
}

const LOCK: &str = ".lock";
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// Directories that others make, and that are none of ours: by mkfs, and by Kafka's tiered storage.
const IGNORED: [&str; 2] = ["lost+found", "remote-log-index-cache"];

impl<E: Env> Directory<E> {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn id(&self) -> Uuid {
        self.id
    }

    pub fn cluster_id(&self) -> &str {
        &self.properties.cluster_id
    }

    pub fn node_id(&self) -> NodeId {
        self.properties.node_id
    }

    pub fn log_path(&self, name: &LogName) -> PathBuf {
        self.path.join(name.to_string())
    }

    pub fn space(&self) -> Result<Space, DirectoryError> {
        self.env.disk().space(&self.path).map_err(io_error("look at", &self.path))
    }

    /// All logs, sorted by the names of their directories.
    pub fn logs(&self) -> Result<Vec<Found>, DirectoryError> {
        let entries = self.env.disk().list(&self.path).map_err(io_error("list", &self.path))?;
        let mut logs = Vec::new();
        for entry in entries {
            if !entry.is_dir || IGNORED.contains(&&*entry.name) {
                continue;
            }
            let path = self.path.join(&entry.name);
            match LogName::parse_with_fate(&entry.name) {
                Some((name, fate)) => logs.push(Found { name, fate, path }),
                None => return Err(DirectoryError::UnknownName { path }),
            }
        }
        Ok(logs)
    }

    /// How the last owner left: `None` when it did not stop cleanly. Says so once: afterwards, and
    /// before anything else is written, the directory counts as in use.
    ///
    /// An owner that was killed may have created what we see and synced no directory: its names
    /// are made durable here, those inside each log when the log is opened.
    pub async fn take_clean_shutdown(&self) -> Result<Option<CleanShutdown>, DirectoryError> {
        let path = self.path.join(CLEAN_SHUTDOWN);
        let disk = self.env.disk();
        let contents = replace::read(disk, &path).await.map_err(io_error("read", &path))?;
        let Some(contents) = contents else {
            if let Some(parent) = self.path.parent().filter(|parent| *parent != Path::new("")) {
                disk.sync_dir(parent).await.map_err(io_error("sync", parent))?;
            }
            disk.sync_dir(&self.path).await.map_err(io_error("sync", &self.path))?;
            return Ok(None);
        };
        disk.remove(&path).map_err(io_error("remove", &path))?;
        disk.sync_dir(&self.path).await.map_err(io_error("sync", &self.path))?;
        Ok(parse_clean_shutdown(&contents))
    }

    /// What the file says; nothing when it is absent or empty. When it is malformed the caller may
    /// go on as if it said nothing: every one of them can be done without, at some cost.
    pub async fn read_offsets(&self, which: Checkpoint) -> Result<Offsets, DirectoryError> {
        let path = self.path.join(which.file_name());
        match read_text(self.env.disk(), &path).await? {
            None => Ok(Offsets::new()),
            Some(text) => checkpoint::parse_offsets(&text).map_err(malformed(&path)),
        }
    }

    /// Returns when the new contents are durable.
    pub async fn write_offsets(
        &self,
        which: Checkpoint,
        offsets: &Offsets,
    ) -> Result<(), DirectoryError> {
        self.replace(which.file_name(), &checkpoint::render_offsets(offsets)).await
    }

    /// After every log was closed and every checkpoint written: says so on disk, and lets go of
    /// the directory.
    pub async fn close(&self, broker_epoch: Option<BrokerEpoch>) -> Result<(), DirectoryError> {
        let BrokerEpoch(epoch) = broker_epoch.unwrap_or(BrokerEpoch(-1));
        let text = format!(r#"{{"version":0,"brokerEpoch":{epoch}}}"#);
        self.replace(CLEAN_SHUTDOWN, &text).await?;
        let path = self.path.join(LOCK);
        let lock = self.lock.lock().expect("nothing panics while it holds the lock").take();
        if lock.is_some() {
            self.env.disk().remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    async fn replace(&self, name: &str, text: &str) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let _writing = self.writing.lock().await;
        let written = replace::replace(self.env.disk(), &path, text.as_bytes()).await;
        written.map_err(write_error(&path))
    }
}

/// Kafka 3.6 and older left the file empty. Anything else that is not the JSON of today was not
/// written by a clean stop.
fn parse_clean_shutdown(contents: &[u8]) -> Option<CleanShutdown> {
    #[derive(serde::Deserialize)]
    struct Contents {
        version: i32,
        #[serde(rename = "brokerEpoch")]
        broker_epoch: i64,
    }
    if contents.is_empty() {
        return Some(CleanShutdown { broker_epoch: None });
    }
    let found: Contents = serde_json::from_slice(contents).ok()?;
    let known = found.broker_epoch >= 0;
    let broker_epoch = known.then_some(BrokerEpoch(found.broker_epoch));
    (found.version == 0).then_some(CleanShutdown { broker_epoch })
}

async fn read_text<D: Disk>(disk: &D, path: &Path) -> Result<Option<String>, DirectoryError> {
    let contents = replace::read(disk, path).await.map_err(io_error("read", path))?;
    let Some(contents) = contents else { return Ok(None) };
    String::from_utf8(contents.into()).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..good].iter().filter(|&&byte| byte == b'\n').count();
        malformed(path)(FormatError::at(line, "bytes that are no text"))
    })
}

#[cfg(test)]
pub mod tests {
    use std::io::IoSlice;

    use tempfile::TempDir;

    use super::open::{Owner, open_all};
    use super::*;
    use crate::env::disk::{File, Open};
    use crate::env::memory::MemoryEnv;
    use crate::env::tokio::TokioEnv;
    use crate::log::epochs::Epochs;
    use crate::log::identity::{self, IDENTITY_NAME};
    use crate::log::sync::EPOCHS_NAME;
    use crate::types::Offset;

    pub const OWNER: Owner = Owner { node_id: NodeId(1), cluster_id: None, new_cluster_id: None };

    pub fn world() -> (TokioEnv, TempDir) {
        let env = TokioEnv::new(tokio::runtime::Handle::current());
        (env, tempfile::tempdir().unwrap())
    }

    pub async fn open(env: &TokioEnv, path: &Path) -> Result<Directory<TokioEnv>, DirectoryError> {
        Ok(open_all(env, &[path.to_owned()], &OWNER).await?.remove(0))
    }

    pub fn put(env: &TokioEnv, path: PathBuf, text: &str) {
        let file = env.disk().open(&path, Open::OrCreate).unwrap();
        file.set_len(0).unwrap();
        file.write_at(0, &[IoSlice::new(text.as_bytes())]).unwrap();
    }

    #[tokio::test]
    async fn a_clean_stop_is_told_once() {
        let (env, dir) = world();
        let first = open(&env, dir.path()).await.unwrap();
        first.close(Some(BrokerEpoch(13))).await.unwrap();
        let path = dir.path().join(CLEAN_SHUTDOWN);
        let text = replace::read(env.disk(), &path).await.unwrap().unwrap();
        assert_eq!(text, r#"{"version":0,"brokerEpoch":13}"#);
        let second = open(&env, dir.path()).await.unwrap();
        let broker_epoch = Some(BrokerEpoch(13));
        let told = second.take_clean_shutdown().await.unwrap();
        assert_eq!(told, Some(CleanShutdown { broker_epoch }));
        assert!(!env.disk().exists(&path).unwrap());
        assert_eq!(second.take_clean_shutdown().await.unwrap(), None);
    }

    /// Kept in the page cache after the process died, and nothing that was acknowledged since may
    /// rest on it.
    #[tokio::test]
    async fn what_a_killed_process_created_survives_the_power_loss_that_follows() {
        let env = MemoryEnv::new(TokioEnv::new(tokio::runtime::Handle::current()));
        let path = Path::new("/disk/data");
        let paths = [path.to_owned()];
        env.disk().put(Path::new("/disk/other"), Vec::new());
        let killed = open_all(&env, &paths, &OWNER).await.unwrap().remove(0);
        let log = killed.log_path(&LogName::new("orders", 0));
        env.disk().create_dir_all(&log).unwrap();
        drop(killed);
        let again = open_all(&env, &paths, &OWNER).await.unwrap().remove(0);
        assert_eq!(again.take_clean_shutdown().await.unwrap(), None);
        let oldest = |_| 0;
        let left = env.disk().after_power_loss(oldest);
        assert!(left.exists(&log).unwrap(), "{:?}", left.paths());
    }

    #[test]
    fn only_a_whole_file_speaks_of_a_clean_stop() {
        let unknown = Some(CleanShutdown { broker_epoch: None });
        assert_eq!(parse_clean_shutdown(b""), unknown, "as Kafka 3.6 left it");
        assert_eq!(parse_clean_shutdown(br#"{"version":0,"brokerEpoch":-1}"#), unknown);
        for torn in [&b"{\"version\":0"[..], b"\0\0\0\0", br#"{"version":1,"brokerEpoch":3}"#] {
            assert_eq!(parse_clean_shutdown(torn), None);
        }
    }

    #[tokio::test]
    async fn offsets_read_back_as_written_and_mistakes_name_their_place() {
        let (env, dir) = world();
        let directory = open(&env, dir.path()).await.unwrap();
        for which in Checkpoint::ALL {
            assert_eq!(directory.read_offsets(which).await.unwrap(), Offsets::new());
            let offsets = Offsets::from([(LogName::new("orders", 3), Offset(which as i64))]);
            directory.write_offsets(which, &offsets).await.unwrap();
            assert_eq!(directory.read_offsets(which).await.unwrap(), offsets);
        }
        let path = dir.path().join("cleaner-offset-checkpoint");
        put(&env, path.clone(), "0\n1\norders 3\n");
        let error = directory.read_offsets(Checkpoint::Cleaner).await.unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.ends_with(": line 3: 2 fields, 3 expected: topic partition offset"));
        env.disk().open(&path, Open::Existing).unwrap().set_len(0).unwrap();
        assert_eq!(directory.read_offsets(Checkpoint::Cleaner).await.unwrap(), Offsets::new());
    }

    #[tokio::test]
    async fn logs_are_listed_and_strangers_refused() {
        let (env, dir) = world();
        let directory = open(&env, dir.path()).await.unwrap();
        let unique = "00000000000000000000000000000007";
        let names = ["a-0", "a-1", &format!("a-1.{unique}-delete"), &format!("b-0.{unique}-stray")];
        for name in names.iter().chain(&["remote-log-index-cache", "lost+found"]) {
            env.disk().create_dir_all(&dir.path().join(name)).unwrap();
        }
        let found = directory.logs().unwrap();
        let fates: Vec<Fate> = found.iter().map(|log| log.fate).collect();
        assert_eq!(fates, [Fate::Live, Fate::Live, Fate::Delete, Fate::Stray]);
        assert_eq!(found[1].path, directory.log_path(&LogName::new("a", 1)));
        env.disk().create_dir_all(&dir.path().join("holiday")).unwrap();
        let error = directory.logs().unwrap_err().to_string();
        assert!(error.contains("holiday is no name of a log"), "{error}");
    }

    #[tokio::test]
    async fn kafkas_own_directories_are_understood() {
        let (env, _) = world();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/directory");
        for (state, epoch, logs) in [("clean", Some(BrokerEpoch(13)), 20), ("killed", None, 21)] {
            let root = golden.join(state);
            let text = read_text(env.disk(), &root.join("meta.properties")).await.unwrap();
            let properties = MetaProperties::parse(&text.unwrap()).unwrap();
            assert_eq!((properties.node_id, &*properties.cluster_id), KAFKA);
            let directory = Directory {
                env: env.clone(),
                path: root.clone(),
                id: properties.directory_id.unwrap(),
                properties,
                lock: Mutex::new(None),
                writing: tokio::sync::Mutex::new(()),
            };
            let ends = directory.read_offsets(Checkpoint::Replication).await.unwrap();
            let recovery_points = directory.read_offsets(Checkpoint::RecoveryPoint).await.unwrap();
            assert_eq!((ends.len(), recovery_points.len()), (logs, logs));
            let starts = directory.read_offsets(Checkpoint::LogStart).await.unwrap();
            assert_eq!(starts, Offsets::from([(LogName::new("trimmed", 0), Offset(60))]));
            assert_eq!(directory.read_offsets(Checkpoint::Cleaner).await.unwrap().len(), 3);
            let clean = replace::read(env.disk(), &root.join(CLEAN_SHUTDOWN)).await.unwrap();
            let clean = clean.and_then(|contents| parse_clean_shutdown(&contents));
            assert_eq!(clean.and_then(|clean| clean.broker_epoch), epoch);

            let found = directory.logs().unwrap();
            let live: Vec<&LogName> =
                found.iter().filter(|log| log.fate == Fate::Live).map(|log| &log.name).collect();
            assert_eq!(live.len(), logs + 1, "all of the checkpoint and the metadata log");
            assert!(ends.keys().all(|name| live.contains(&name)));
            for log in &found {
                let id = read_text(env.disk(), &log.path.join(IDENTITY_NAME)).await.unwrap();
                let id = identity::parse(&id.unwrap()).unwrap();
                let metadata = log.name.topic == "__cluster_metadata";
                assert_eq!(metadata, id == Uuid::METADATA_TOPIC, "{:?}", log.path);
                let epochs = read_text(env.disk(), &log.path.join(EPOCHS_NAME)).await.unwrap();
                let epochs = epochs.unwrap();
                assert_eq!(Epochs::parse(&epochs).unwrap().to_text(), epochs);
            }
        }
    }

    const KAFKA: (NodeId, &str) = (NodeId(1), "6OXLvydkRc6lRYjZ6lskFQ");
}
