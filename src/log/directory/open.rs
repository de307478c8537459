//! Takes a node's log directories into use: lock, identity, format.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::env::Env;
use crate::env::disk::Disk;
use crate::log::properties::{self, MetaProperties};
use crate::log::replace;
use crate::types::{NodeId, Uuid};

use super::error::{DirectoryError, io_error, malformed, write_error};
use super::{Directory, IGNORED, LOCK, read_text};

/// Whose directories are to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub node_id: NodeId,
    /// `None`: the cluster of the directories that have one, or a new one.
    pub cluster_id: Option<String>,
    /// Of the new one; `None`: drawn.
    pub new_cluster_id: Option<String>,
}

/// Opens the directories of one node, and formats the empty ones among them once all the others
/// were found to be the owner's.
pub async fn open_all<E: Env>(
    env: &E,
    paths: &[PathBuf],
    owner: &Owner,
) -> Result<Vec<Directory<E>>, DirectoryError> {
    let mut looked = Vec::with_capacity(paths.len());
    for path in paths {
        create(env.disk(), path).await?;
        // Before the lock, so that no lock file is left in what is no log directory.
        if read_properties(env.disk(), path).await?.is_none() {
            check_empty(env.disk(), path)?;
        }
        let lock = lock(env.disk(), path)?;
        let found = read_properties(env.disk(), path).await?;
        looked.push((path, lock, found));
    }
    let known = looked.iter().filter_map(|(path, _, found)| Some((&***path, found.as_ref()?)));
    let cluster_id = verify(owner, known)?;
    let drawn = || Uuid::random(|| env.random_u64()).to_string();
    let cluster_id = cluster_id.or_else(|| owner.new_cluster_id.clone()).unwrap_or_else(drawn);

    let mut directories = Vec::with_capacity(looked.len());
    for (path, lock, found) in looked {
        let new_id = || Uuid::random(|| env.random_u64());
        let properties = match found {
            Some(properties) if properties.directory_id.is_some() => properties,
            found => {
                let mut properties = found
                    .unwrap_or_else(|| MetaProperties::new(&cluster_id, owner.node_id, new_id()));
                properties.directory_id.get_or_insert_with(new_id);
                let file = path.join(properties::FILE_NAME);
                let text = properties.render();
                let written = replace::replace(env.disk(), &file, text.as_bytes()).await;
                written.map_err(write_error(&file))?;
                properties
            }
        };
        directories.push(Directory {
            env: env.clone(),
            path: path.clone(),
            id: properties.directory_id.expect("it was given one"),
            properties,
            lock: Mutex::new(Some(lock)),
            writing: tokio::sync::Mutex::new(()),
        });
    }
    Ok(directories)
}

/// Creates `path`, durably.
async fn create<D: Disk>(disk: &D, path: &Path) -> Result<(), DirectoryError> {
    let mut parents_changed = Vec::new();
    for ancestor in path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        if disk.exists(ancestor).map_err(io_error("look at", ancestor))? {
            break;
        }
        match ancestor.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parents_changed.push(parent),
            _ => parents_changed.push(Path::new(".")),
        }
    }
    disk.create_dir_all(path).map_err(io_error("create", path))?;
    for parent in parents_changed.into_iter().rev() {
        disk.sync_dir(parent).await.map_err(io_error("sync", parent))?;
    }
    Ok(())
}

fn lock<D: Disk>(disk: &D, directory: &Path) -> Result<D::Lock, DirectoryError> {
    let path = directory.join(LOCK);
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => DirectoryError::Locked { path: directory.to_owned() },
        _ => DirectoryError::Io { path, doing: "lock", error },
    })
}

async fn read_properties<D: Disk>(
    disk: &D,
    directory: &Path,
) -> Result<Option<MetaProperties>, DirectoryError> {
    let path = directory.join(properties::FILE_NAME);
    let Some(text) = read_text(disk, &path).await? else { return Ok(None) };
    MetaProperties::parse(&text).map(Some).map_err(malformed(&path))
}

/// Hidden files count for nothing, nor does what we left when a format was cut short.
fn check_empty<D: Disk>(disk: &D, path: &Path) -> Result<(), DirectoryError> {
    let entries = disk.list(path).map_err(io_error("list", path))?;
    let leftover = format!("{}.tmp", properties::FILE_NAME);
    let other = entries.into_iter().find(|entry| {
        let ignored = entry.is_dir && IGNORED.contains(&&*entry.name);
        let hidden = !entry.is_dir && entry.name.starts_with('.');
        !ignored && !hidden && entry.name != leftover
    });
    match other {
        None => Ok(()),
        Some(entry) => {
            Err(DirectoryError::NotFormatted { path: path.to_owned(), entry: entry.name })
        }
    }
}

/// That all belong to `owner`, and no two are one. Answers the cluster.
fn verify<'a>(
    owner: &Owner,
    found: impl Iterator<Item = (&'a Path, &'a MetaProperties)>,
) -> Result<Option<String>, DirectoryError> {
    let mut cluster_id = owner.cluster_id.clone();
    let mut ids: BTreeMap<Uuid, PathBuf> = BTreeMap::new();
    for (directory, properties) in found {
        let path = directory.join(properties::FILE_NAME);
        let (found, expected) = (properties.node_id, owner.node_id);
        if found != expected {
            return Err(DirectoryError::OtherNode { path, found, expected });
        }
        let found = properties.cluster_id.clone();
        let expected = cluster_id.get_or_insert_with(|| found.clone()).clone();
        if found != expected {
            return Err(DirectoryError::OtherCluster { path, found, expected });
        }
        let Some(id) = properties.directory_id else { continue };
        if let Some(first) = ids.insert(id, path.clone()) {
            return Err(DirectoryError::SameId { first, second: path, id });
        }
    }
    Ok(cluster_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::tokio::TokioEnv;
    use crate::log::directory::tests::{OWNER, open, put, world};

    async fn refusal(env: &TokioEnv, paths: &[PathBuf], owner: &Owner) -> String {
        match open_all(env, paths, owner).await {
            Ok(_) => panic!("it was to be refused"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn an_empty_directory_is_formatted_and_stays_the_same() {
        let (env, dir) = world();
        let path = dir.path().join("new/data");
        let first = open(&env, &path).await.unwrap();
        assert_eq!(first.node_id(), NodeId(1));
        assert!(Uuid::parse(first.cluster_id()).is_some());
        let (id, cluster_id) = (first.id(), first.cluster_id().to_owned());
        drop(first);
        let again = open(&env, &path).await.unwrap();
        assert_eq!((again.id(), again.cluster_id()), (id, &*cluster_id));
        assert_eq!(again.take_clean_shutdown().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_mkfs_leaves_counts_as_empty_and_other_things_do_not() {
        let (env, dir) = world();
        env.disk().create_dir_all(&dir.path().join("lost+found")).unwrap();
        put(&env, dir.path().join(".gitkeep"), "");
        put(&env, dir.path().join("meta.properties.tmp"), "nod");
        assert_eq!(open(&env, dir.path()).await.unwrap().logs().unwrap(), []);

        let (_, home) = world();
        put(&env, home.path().join("thesis.tex"), "");
        let error = refusal(&env, &[home.path().to_owned()], &OWNER).await;
        assert!(error.contains("is not empty and has no meta.properties"), "{error}");
        assert!(error.contains("it holds thesis.tex"), "{error}");
        assert_eq!(env.disk().list(home.path()).unwrap().len(), 1, "it was left as it was");
    }

    #[tokio::test]
    async fn directories_of_others_are_refused() {
        let (env, dir) = world();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        open(&env, &a).await.unwrap();
        open(&env, &b).await.unwrap();
        let error = refusal(&env, &[a.clone(), b.clone()], &OWNER).await;
        assert!(error.starts_with(b.join("meta.properties").to_str().unwrap()), "{error}");
        assert!(error.contains("belongs to cluster"), "{error}");
        let other = Owner { node_id: NodeId(2), ..OWNER };
        let error = refusal(&env, std::slice::from_ref(&a), &other).await;
        assert!(error.contains("belongs to node.id 1, 2 expected"), "{error}");
        let other = Owner { cluster_id: Some("mine".to_owned()), ..OWNER };
        let error = refusal(&env, std::slice::from_ref(&a), &other).await;
        assert!(error.contains("mine expected"), "{error}");
        let text = replace::read(env.disk(), &a.join("meta.properties")).await.unwrap().unwrap();
        put(&env, b.join("meta.properties"), str::from_utf8(&text).unwrap());
        let error = refusal(&env, &[a, b], &OWNER).await;
        assert!(error.contains("one is a copy of the other"), "{error}");
    }

    #[tokio::test]
    async fn a_new_cluster_has_the_id_that_it_was_given_and_an_old_one_keeps_its_own() {
        let (env, dir) = world();
        let paths = [dir.path().to_owned()];
        let first = Owner { new_cluster_id: Some("first".to_owned()), ..OWNER };
        let opened = open_all(&env, &paths, &first).await.unwrap();
        assert_eq!(opened[0].cluster_id(), "first");
        drop(opened);
        let second = Owner { new_cluster_id: Some("second".to_owned()), ..OWNER };
        assert_eq!(open_all(&env, &paths, &second).await.unwrap()[0].cluster_id(), "first");
    }

    #[tokio::test]
    async fn a_new_directory_joins_the_cluster_of_the_others() {
        let (env, dir) = world();
        let paths = [dir.path().join("new"), dir.path().join("old")];
        let cluster_id = open(&env, &paths[1]).await.unwrap().cluster_id().to_owned();
        let both = open_all(&env, &paths, &OWNER).await.unwrap();
        assert_eq!(both[0].cluster_id(), cluster_id);
        assert_ne!(both[0].id(), both[1].id());
    }

    #[tokio::test]
    async fn an_old_kafkas_directory_is_given_an_id_once() {
        let (env, dir) = world();
        let text = "version=1\ncluster.id=a cluster\nnode.id=1\nkept=yes\n";
        put(&env, dir.path().join("meta.properties"), text);
        let id = open(&env, dir.path()).await.unwrap().id();
        let again = open(&env, dir.path()).await.unwrap();
        assert_eq!((again.id(), again.cluster_id()), (id, "a cluster"));
        let path = dir.path().join("meta.properties");
        let text = replace::read(env.disk(), &path).await.unwrap().unwrap();
        assert!(str::from_utf8(&text).unwrap().contains("kept=yes"));
    }

    #[tokio::test]
    async fn one_broker_uses_a_directory() {
        let (env, dir) = world();
        let first = open(&env, dir.path()).await.unwrap();
        let error = refusal(&env, &[dir.path().to_owned()], &OWNER).await;
        assert!(error.contains("is in use: another broker holds its lock"), "{error}");
        first.close(None).await.unwrap();
        assert!(!env.disk().exists(&dir.path().join(".lock")).unwrap());
        open(&env, dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_path_that_can_not_be_used_is_named() {
        let (env, dir) = world();
        let path = dir.path().join("file");
        put(&env, path.clone(), "");
        let error = refusal(&env, std::slice::from_ref(&path), &OWNER).await;
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(error.ends_with("A log directory must be a directory"), "{error}");
        let error =
            DirectoryError::Io { path, doing: "write", error: io::ErrorKind::StorageFull.into() };
        assert!(error.to_string().contains("Make room"), "{error}");
    }
}
