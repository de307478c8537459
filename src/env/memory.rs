//! A world in memory, for tests. Its disk loses what was not synced, tears it at sectors, fills up,
//! and reads as slowly as it is told; its network counts; its clock can be held. Tasks and chance
//! are the real ones.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};

use self::clock::{Held, MemoryClock};
use self::net::MemoryNet;
use super::Env;
use super::disk::{Disk, Entry, File, Open, Space};
use super::tokio::{TokioEnv, TokioTask};

pub mod clock;
pub mod net;

#[derive(Clone)]
pub struct MemoryEnv {
    real: TokioEnv,
    clock: MemoryClock,
    net: MemoryNet,
    disk: MemoryDisk,
}

#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<State>);

#[derive(Default)]
struct State {
    tree: Mutex<Tree>,
    /// Bytes that can still be written; `u64::MAX` when it does not matter.
    space: Mutex<Option<u64>>,
    /// Every other read that must not wait says that it would.
    cold: AtomicBool,
    reads: AtomicU64,
    pub writes: AtomicU64,
    /// When every file says that it was written.
    modified_ms: AtomicI64,
}

#[derive(Default)]
struct Tree {
    entries: BTreeMap<PathBuf, Node>,
    /// What a power loss leaves.
    durable: BTreeMap<PathBuf, Node>,
}

#[derive(Clone)]
enum Node {
    Directory,
    File(Arc<Mutex<Contents>>),
}

#[derive(Clone, Default)]
struct Contents {
    visible: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone)]
pub struct MemoryFile {
    contents: Arc<Mutex<Contents>>,
    disk: MemoryDisk,
}

pub const SECTOR_BYTES: usize = 512;

impl MemoryEnv {
    pub fn new(real: TokioEnv) -> MemoryEnv {
        let clock = MemoryClock::Real(real.clock().clone());
        MemoryEnv { real, clock, net: MemoryNet::default(), disk: MemoryDisk::default() }
    }

    /// A world whose time stands still until `Held` moves it.
    pub fn held(real: TokioEnv) -> (MemoryEnv, Held) {
        let held = Held::default();
        let clock = MemoryClock::Held(held.clone());
        (MemoryEnv { clock, ..MemoryEnv::new(real) }, held)
    }

    /// The same world with another disk.
    pub fn with_disk(&self, disk: MemoryDisk) -> MemoryEnv {
        MemoryEnv { disk, ..self.clone() }
    }
}

impl MemoryDisk {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.tree.lock().unwrap()
    }

    /// Room for so many bytes more, or without end.
    pub fn set_space(&self, bytes: Option<u64>) {
        *self.0.space.lock().unwrap() = bytes;
    }

    pub fn set_modified_ms(&self, modified_ms: i64) {
        self.0.modified_ms.store(modified_ms, Ordering::Relaxed);
    }

    pub fn set_cold(&self, cold: bool) {
        self.0.cold.store(cold, Ordering::Relaxed);
    }

    /// Calls of `write_at` so far.
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// Another disk with the same contents, all of it synced.
    pub fn copy(&self) -> MemoryDisk {
        let copy = MemoryDisk::default();
        for (path, node) in &self.tree().entries {
            let node = match node {
                Node::Directory => Node::Directory,
                Node::File(contents) => {
                    let visible = contents.lock().unwrap().visible.clone();
                    let durable = visible.clone();
                    Node::File(Arc::new(Mutex::new(Contents { visible, durable })))
                }
            };
            copy.tree().entries.insert(path.clone(), node.clone());
            copy.tree().durable.insert(path.clone(), node);
        }
        copy
    }

    /// The disk after a power loss. Each directory entry and each sector that was not synced is
    /// as `draw` has it: old, new, or, for a sector, noise.
    pub fn after_power_loss(&self, mut draw: impl FnMut(u32) -> u32) -> MemoryDisk {
        let copy = MemoryDisk::default();
        let tree = self.tree();
        let mut paths: Vec<&PathBuf> = tree.entries.keys().chain(tree.durable.keys()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if parent.is_some_and(|parent| !copy.tree().entries.contains_key(parent)) {
                // Lost with its directory.
                continue;
            }
            let node = match (tree.durable.get(path), tree.entries.get(path)) {
                (Some(old), Some(new)) if old.is_same(new) => Some(new),
                (old, new) => [old, new][draw(2) as usize],
            };
            let node = match node {
                None => continue,
                Some(Node::Directory) => Node::Directory,
                Some(Node::File(contents)) => {
                    let visible = contents.lock().unwrap().torn(&mut draw);
                    let durable = visible.clone();
                    Node::File(Arc::new(Mutex::new(Contents { visible, durable })))
                }
            };
            copy.tree().entries.insert(path.clone(), node.clone());
            copy.tree().durable.insert(path.clone(), node);
        }
        copy
    }

    /// The whole file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        match self.tree().entries.get(path)? {
            Node::File(contents) => Some(contents.lock().unwrap().visible.clone()),
            Node::Directory => None,
        }
    }

    /// Puts a file there, synced.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut tree = self.tree();
        for dir in path.ancestors().skip(1) {
            tree.entries.insert(dir.to_owned(), Node::Directory);
            tree.durable.insert(dir.to_owned(), Node::Directory);
        }
        let contents = Contents { durable: bytes.clone(), visible: bytes };
        let node = Node::File(Arc::new(Mutex::new(contents)));
        tree.entries.insert(path.to_owned(), node.clone());
        tree.durable.insert(path.to_owned(), node);
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        self.tree().entries.keys().cloned().collect()
    }

    fn take_space(&self, wanted: u64) -> u64 {
        match &mut *self.0.space.lock().unwrap() {
            None => wanted,
            Some(left) => {
                let taken = wanted.min(*left);
                *left -= taken;
                taken
            }
        }
    }
}

impl Node {
    fn is_same(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Directory, Node::Directory) => true,
            (Node::File(one), Node::File(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Contents {
    fn torn(&self, draw: &mut impl FnMut(u32) -> u32) -> Vec<u8> {
        if self.visible == self.durable {
            return self.visible.clone();
        }
        let lengths = [self.durable.len(), self.visible.len()];
        let mut torn = vec![0; lengths[draw(2) as usize]];
        for (at, sector) in torn.chunks_mut(SECTOR_BYTES).enumerate() {
            let start = at * SECTOR_BYTES;
            let side = |bytes: &[u8]| {
                let from = start.min(bytes.len());
                bytes[from..(start + sector.len()).clamp(from, bytes.len())].to_vec()
            };
            let (old, new) = (side(&self.durable), side(&self.visible));
            if old == new {
                sector[..new.len()].copy_from_slice(&new);
                continue;
            }
            match draw(3) {
                0 => sector[..old.len()].copy_from_slice(&old),
                1 => sector[..new.len()].copy_from_slice(&new),
                // Bytes that no write changed stay: disks write sectors whole.
                _ => {
                    for (at, byte) in sector.iter_mut().enumerate() {
                        *byte = match (old.get(at), new.get(at)) {
                            (Some(old), Some(new)) if old == new => *old,
                            _ => draw(256) as u8,
                        };
                    }
                }
            }
        }
        torn
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;
    type Lock = ();

    fn open(&self, path: &Path, how: Open) -> io::Result<MemoryFile> {
        let mut tree = self.tree();
        let contents = match (tree.entries.get(path), how) {
            (Some(Node::File(_)), Open::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(contents)), _) => contents.clone(),
            (Some(Node::Directory), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (None, Open::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let parent = path.parent().unwrap_or(Path::new(""));
                if !matches!(tree.entries.get(parent), Some(Node::Directory)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let contents = Arc::<Mutex<Contents>>::default();
                tree.entries.insert(path.to_owned(), Node::File(contents.clone()));
                contents
            }
        };
        Ok(MemoryFile { contents, disk: self.clone() })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        for dir in path.ancestors() {
            self.tree().entries.entry(dir.to_owned()).or_insert(Node::Directory);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        let node = tree.entries.remove(from).ok_or(io::ErrorKind::NotFound)?;
        tree.entries.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tree().entries.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.tree().entries.retain(|at, _| !at.starts_with(path));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let tree = self.tree();
        if !matches!(tree.entries.get(dir), Some(Node::Directory)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = tree.entries.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, node): (&PathBuf, &Node)| Entry {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            is_dir: matches!(node, Node::Directory),
        };
        Ok(inside.map(entry).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.tree().entries.contains_key(path))
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        match self.exists(path)? {
            true => Ok(self.0.modified_ms.load(Ordering::Relaxed)),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(Space::default())
    }

    fn lock(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let Tree { entries, durable } = &mut *self.tree();
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        durable.retain(|path, _| !inside(path));
        let now = entries.iter().filter(|(path, _)| inside(path));
        durable.extend(now.map(|(path, node)| (path.clone(), node.clone())));
        Ok(())
    }

    async fn sync_all(&self, _: &Path) -> io::Result<()> {
        let Tree { entries, durable } = &mut *self.tree();
        *durable = entries.clone();
        for node in entries.values() {
            if let Node::File(contents) = node {
                let contents = &mut *contents.lock().unwrap();
                contents.durable = contents.visible.clone();
            }
        }
        Ok(())
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.lock().unwrap().visible.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.contents.lock().unwrap().visible.resize(len as usize, 0);
        Ok(())
    }

    fn write_at(&self, at: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.disk.0.writes.fetch_add(1, Ordering::Relaxed);
        let data: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let room = self.disk.take_space(data.len() as u64) as usize;
        let (at, end) = (at as usize, at as usize + room);
        let visible = &mut self.contents.lock().unwrap().visible;
        if visible.len() < end {
            visible.resize(end, 0);
        }
        visible[at..end].copy_from_slice(&data[..room]);
        if room < data.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn try_read_at(&self, at: u64, len_max: u32, into: &mut BytesMut) -> io::Result<Option<u32>> {
        let reads = self.disk.0.reads.fetch_add(1, Ordering::Relaxed);
        if self.disk.0.cold.load(Ordering::Relaxed) && reads.is_multiple_of(2) {
            return Ok(None);
        }
        let visible = &self.contents.lock().unwrap().visible;
        let start = (at as usize).min(visible.len());
        let found = &visible[start..visible.len().min(start + len_max as usize)];
        into.extend_from_slice(found);
        Ok(Some(found.len() as u32))
    }

    async fn read_at(&self, at: u64, len_max: u32) -> io::Result<Bytes> {
        let visible = &self.contents.lock().unwrap().visible;
        let start = (at as usize).min(visible.len());
        let end = visible.len().min(start + len_max as usize);
        Ok(Bytes::copy_from_slice(&visible[start..end]))
    }

    async fn sync(&self) -> io::Result<()> {
        let contents = &mut *self.contents.lock().unwrap();
        contents.durable = contents.visible.clone();
        Ok(())
    }
}

impl Env for MemoryEnv {
    type Clock = MemoryClock;
    type Net = MemoryNet;
    type Disk = MemoryDisk;
    type Task = TokioTask;

    fn clock(&self) -> &MemoryClock {
        &self.clock
    }

    fn net(&self) -> &MemoryNet {
        &self.net
    }

    fn disk(&self) -> &MemoryDisk {
        &self.disk
    }

    fn random_u64(&self) -> u64 {
        self.real.random_u64()
    }

    fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> TokioTask {
        self.real.spawn(name, task)
    }

    async fn offload<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        self.real.offload(work).await
    }
}
