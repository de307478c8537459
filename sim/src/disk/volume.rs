//! One node's file system: the page cache that processes see, and what is really on the disk.
//!
//! Pure: no time passes here. `begin_sync` notes what a sync will cover, `finish_sync` makes it
//! durable; what happens between, and whether it fails, is the business of `disk.rs`.
//!
//! Invariants:
//!   a byte is durable only through a sync that began after its write, write-back, or chance at a
//!   power loss; a synced byte that was not rewritten since survives everything but rot and wipe

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use ottla::env::disk::{Entry, Open};

use super::image::Image;
use super::loss::{Loss, Persona};
use super::tree::{Ino, Place, ROOT, Tree};
use crate::chance::Chance;

/// What a file may leave unsynced before the kernel writes the oldest of it back by itself.
const DIRTY_BYTES_MAX: usize = 1 << 20;

/// How often the pages of a failed sync are dropped from memory: file systems differ.
const EVICTED_AFTER_FAILURE: f64 = 0.3;

pub struct Volume {
    tree: Tree,
    files: BTreeMap<Ino, FileData>,
    /// Orders every change of the volume.
    seq: u64,
    capacity_bytes: u64,
    used_bytes: u64,
    /// Open handles; an unlinked file lives until the last is closed.
    open: BTreeMap<Ino, u32>,
    locked: BTreeSet<Ino>,
}

#[derive(Default)]
struct FileData {
    cache: Image,
    durable: Image,
    pending: VecDeque<(u64, Change)>,
    pending_bytes: usize,
    modified_ms: i64,
    /// Nothing of the file is in memory: the next read waits for the device.
    cold: bool,
    /// Pages were lost to a failure that nobody told the file's holders of yet.
    wronged: bool,
}

#[derive(Clone, Debug)]
pub enum Change {
    Write { at: u64, data: Bytes },
    SetLen(u64),
}

impl Volume {
    pub fn new(capacity_bytes: u64) -> Volume {
        Volume {
            tree: Tree::default(),
            files: BTreeMap::new(),
            seq: 0,
            capacity_bytes,
            used_bytes: 0,
            open: BTreeMap::new(),
            locked: BTreeSet::new(),
        }
    }

    pub fn open(&mut self, path: &Path, how: Open, wall_ms: i64) -> io::Result<Ino> {
        let ino = match (self.tree.find(path), how) {
            (Some(_), Open::New) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(ino), _) if self.tree.is_dir(ino) => {
                return Err(ErrorKind::IsADirectory.into());
            }
            (Some(ino), _) => ino,
            (None, Open::Existing) => return Err(self.absence(path)),
            (None, Open::OrCreate | Open::New) => {
                let Some(place) = self.tree.place(path) else { return Err(self.absence(path)) };
                if self.space().1 == 0 {
                    return Err(ErrorKind::StorageFull.into());
                }
                let seq = self.next_seq();
                let ino = self.tree.create(seq, place, false);
                self.files.insert(ino, FileData { modified_ms: wall_ms, ..FileData::default() });
                ino
            }
        };
        *self.open.entry(ino).or_default() += 1;
        Ok(ino)
    }

    pub fn close(&mut self, ino: Ino) {
        let handles = self.open.get_mut(&ino).expect("closed once per open");
        *handles -= 1;
        if *handles == 0 {
            self.open.remove(&ino);
            self.free(ino);
        }
    }

    pub fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        match self.tree.find(path) {
            Some(ino) if self.tree.is_dir(ino) => return Ok(()),
            Some(_) => return Err(ErrorKind::AlreadyExists.into()),
            None => {}
        }
        if let Some(parent) = path.parent() {
            match self.create_dir_all(parent) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(ErrorKind::NotADirectory.into());
                }
                result => result?,
            }
        }
        let place = self.tree.place(path).ok_or(ErrorKind::InvalidInput)?;
        let seq = self.next_seq();
        self.tree.create(seq, place, true);
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.tree.place(from).ok_or_else(|| self.absence(from))?;
        let target = self.tree.place(to).ok_or_else(|| self.absence(to))?;
        let moved = self.tree.at(&source).ok_or(ErrorKind::NotFound)?;
        if self.tree.is_dir(moved) && self.tree.contains(moved, target.dir) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(replaced) = self.tree.at(&target) {
            if replaced == moved {
                return Ok(());
            }
            if self.tree.contains(replaced, source.dir) {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            match (self.tree.is_dir(moved), self.tree.entries(replaced)) {
                (true, None) => return Err(ErrorKind::NotADirectory.into()),
                (false, Some(_)) => return Err(ErrorKind::IsADirectory.into()),
                (true, Some(entries)) if !entries.is_empty() => {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
        }
        let seq = self.next_seq();
        self.tree.rename(seq, source, target);
        self.collect();
        Ok(())
    }

    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.tree.find(path).ok_or_else(|| self.absence(path))?;
        if self.tree.is_dir(ino) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let place = self.tree.place(path).ok_or(ErrorKind::InvalidInput)?;
        let seq = self.next_seq();
        self.tree.unlink(seq, place);
        self.collect();
        Ok(())
    }

    pub fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.tree.find(path).ok_or_else(|| self.absence(path))?;
        if !self.tree.is_dir(ino) {
            return Err(ErrorKind::NotADirectory.into());
        }
        let place = self.tree.place(path).ok_or(ErrorKind::InvalidInput)?;
        self.unlink_all(ino);
        let seq = self.next_seq();
        self.tree.unlink(seq, place);
        self.collect();
        Ok(())
    }

    fn unlink_all(&mut self, dir: Ino) {
        let children = self.tree.entries(dir).expect("a directory").clone();
        for (name, child) in children {
            if self.tree.is_dir(child) {
                self.unlink_all(child);
            }
            let seq = self.next_seq();
            self.tree.unlink(seq, Place { dir, name });
        }
    }

    pub fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let dir = self.tree.find(path).ok_or_else(|| self.absence(path))?;
        let entries = self.tree.entries(dir).ok_or(ErrorKind::NotADirectory)?;
        let entry = |(name, ino): (&String, &Ino)| Entry {
            name: name.clone(),
            is_dir: self.tree.is_dir(*ino),
        };
        Ok(entries.iter().map(entry).collect())
    }

    pub fn exists(&self, path: &Path) -> bool {
        self.tree.find(path).is_some()
    }

    pub fn dir(&self, path: &Path) -> io::Result<Ino> {
        let ino = self.tree.find(path).ok_or_else(|| self.absence(path))?;
        if self.tree.is_dir(ino) { Ok(ino) } else { Err(ErrorKind::NotADirectory.into()) }
    }

    pub fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let ino = self.tree.find(path).ok_or_else(|| self.absence(path))?;
        Ok(self.files.get(&ino).map_or(0, |file| file.modified_ms))
    }

    /// Total and free bytes.
    pub fn space(&self) -> (u64, u64) {
        (self.capacity_bytes, self.capacity_bytes.saturating_sub(self.used_bytes))
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Handles.
    pub fn open_files(&self) -> usize {
        self.open.values().sum::<u32>() as usize
    }

    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    pub fn lock(&mut self, ino: Ino) -> io::Result<()> {
        if self.locked.insert(ino) { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    pub fn unlock(&mut self, ino: Ino) {
        self.locked.remove(&ino);
    }

    pub fn len(&self, ino: Ino) -> u64 {
        self.files[&ino].cache.len()
    }

    pub fn set_len(&mut self, ino: Ino, len: u64, wall_ms: i64) {
        let seq = self.next_seq();
        self.with_usage(ino, |file| {
            file.modified_ms = wall_ms;
            file.cache.set_len(len);
            file.pending.push_back((seq, Change::SetLen(len)));
        });
    }

    /// Stores what fits and says how much that was.
    pub fn write(&mut self, ino: Ino, at: u64, data: Bytes, wall_ms: i64) -> usize {
        let seq = self.next_seq();
        let (_, free) = self.space();
        self.with_usage(ino, |file| {
            let fitting = file.cache.fitting(at, data.len(), free);
            let data = data.slice(..fitting);
            file.modified_ms = wall_ms;
            file.cache.write(at, &data);
            file.pending_bytes += data.len();
            file.pending.push_back((seq, Change::Write { at, data }));
            while file.pending_bytes > DIRTY_BYTES_MAX {
                file.persist_oldest();
            }
            fitting
        })
    }

    pub fn read(&mut self, ino: Ino, at: u64, len_max: usize, into: &mut BytesMut) -> usize {
        let file = self.file(ino);
        file.cold = false;
        file.cache.read(at, len_max, into)
    }

    pub fn is_cold(&self, ino: Ino) -> bool {
        self.files[&ino].cold
    }

    /// Notes what a sync that begins now will cover.
    pub fn begin_sync(&self) -> u64 {
        self.seq
    }

    pub fn finish_sync(&mut self, ino: Ino, upto: u64) {
        let file = self.file(ino);
        while file.pending.front().is_some_and(|(seq, _)| *seq < upto) {
            file.persist_oldest();
        }
    }

    pub fn finish_sync_dir(&mut self, dir: Ino, upto: u64) {
        self.tree.commit(Some(dir), upto);
        self.collect();
    }

    pub fn finish_sync_all(&mut self, upto: u64) {
        for ino in self.files.keys().copied().collect::<Vec<_>>() {
            self.finish_sync(ino, upto);
        }
        self.tree.commit(None, upto);
        self.collect();
    }

    /// The device refused. The kernel marks the pages clean all the same: they read back, as they
    /// were written or as the disk has them; some of them reached it, and no later sync will write
    /// the others (fsyncgate).
    pub fn fail_sync(&mut self, ino: Ino, upto: u64, chance: &mut Chance) {
        let is_evicted = chance.happens(EVICTED_AFTER_FAILURE);
        let mut loss = Loss::draw(Persona::Scattered, 0, chance);
        self.with_usage(ino, |file| {
            let kept = file.pending.iter().take_while(|(seq, _)| *seq < upto).count();
            let covered: Vec<_> = file.pending.drain(..kept).collect();
            file.pending_bytes = file.pending.iter().map(|(_, change)| change.bytes()).sum();
            loss.apply(&covered, &mut file.durable);
            if is_evicted {
                file.read_back();
            }
        });
    }

    /// The same for every file. Who has one of them open is told by its next sync, once.
    pub fn fail_sync_all(&mut self, upto: u64, chance: &mut Chance) {
        for ino in self.files.keys().copied().collect::<Vec<_>>() {
            let covers = |file: &FileData| file.pending.front().is_some_and(|(seq, _)| *seq < upto);
            if covers(&self.files[&ino]) {
                self.fail_sync(ino, upto, chance);
                self.file(ino).wronged = self.open.contains_key(&ino);
            }
        }
    }

    /// Must a sync of the file say that an earlier failure took pages of it?
    pub fn take_wrong(&mut self, ino: Ino) -> bool {
        std::mem::take(&mut self.file(ino).wronged)
    }

    /// Clean pages leave the memory.
    pub fn evict(&mut self, ino: Ino) {
        self.with_usage(ino, |file| {
            file.read_back();
            file.cold = true;
        });
    }

    /// What was written last is in memory, and never reaches the disk.
    pub fn lose_last_write(&mut self, ino: Ino) {
        let file = self.file(ino);
        if let Some((_, lost)) = file.pending.pop_back() {
            file.pending_bytes -= lost.bytes();
        }
    }

    /// The process died and the kernel did not: the page cache stays.
    pub fn process_crash(&mut self) {
        self.locked.clear();
        for ino in std::mem::take(&mut self.open).into_keys() {
            self.file(ino).wronged = false;
            self.free(ino);
        }
    }

    /// Every change that no sync covers survives or not, as `persona` and chance have it.
    pub fn power_loss(&mut self, persona: Persona, chance: &mut Chance) {
        self.open.clear();
        self.locked.clear();
        let cut = self.cut(persona, chance);
        self.tree.power_loss(|seq, _| persona.keeps_name(seq, cut, chance));
        self.files.retain(|ino, _| self.tree.is_referenced(*ino));
        for file in self.files.values_mut() {
            let mut loss = Loss::draw(persona, cut, chance);
            let pending: Vec<_> = file.pending.drain(..).collect();
            loss.strike(&pending, file.cache.len(), &mut file.durable);
            file.pending_bytes = 0;
            file.cache = file.durable.clone();
            file.cold = true;
            file.wronged = false;
        }
        self.used_bytes = self.files.values().map(|file| file.cache.allocated_bytes()).sum();
    }

    /// A change at or after which an orderly disk kept nothing.
    fn cut(&self, persona: Persona, chance: &mut Chance) -> u64 {
        let pending = self.files.values().flat_map(|file| file.pending.iter().map(|(seq, _)| *seq));
        let first = pending.chain(self.tree.first_pending()).min().unwrap_or(self.seq);
        match persona {
            Persona::Everything => u64::MAX,
            Persona::Nothing => 0,
            Persona::InOrder | Persona::Scattered => chance.between(first..self.seq + 1),
        }
    }

    pub fn wipe(&mut self) {
        *self = Volume::new(self.capacity_bytes);
    }

    /// Flips one bit, on the disk and in memory: rot that sticks.
    pub fn rot(&mut self, ino: Ino, at: u64, bit: u8) {
        let file = self.file(ino);
        for image in [&mut file.cache, &mut file.durable] {
            let mut byte = BytesMut::new();
            if image.read(at, 1, &mut byte) == 1 {
                image.write(at, &[byte[0] ^ (1 << bit)]);
            }
        }
    }

    /// Forgets the second half of a file that was synced.
    pub fn betray(&mut self, ino: Ino) {
        self.with_usage(ino, |file| {
            let half = file.cache.len() / 2;
            file.cache.set_len(half);
            file.durable.set_len(half);
        });
    }

    pub fn find(&self, path: &Path) -> Option<Ino> {
        self.tree.find(path)
    }

    /// What processes read from an inode.
    pub fn image(&self, ino: Ino) -> &Image {
        &self.files[&ino].cache
    }

    #[cfg_attr(not(test), allow(dead_code, reason = "tests look"))]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// What `path` would hold after a power loss that keeps nothing unsynced.
    pub fn durable(&self, path: &Path) -> Option<&Image> {
        self.tree.find_durable(path).and_then(|ino| self.files.get(&ino)).map(|file| &file.durable)
    }

    fn file(&mut self, ino: Ino) -> &mut FileData {
        self.files.get_mut(&ino).expect("an open file has data")
    }

    fn with_usage<R>(&mut self, ino: Ino, change: impl FnOnce(&mut FileData) -> R) -> R {
        let file = self.files.get_mut(&ino).expect("an open file has data");
        let before = file.cache.allocated_bytes();
        let result = change(file);
        self.used_bytes = self.used_bytes - before + file.cache.allocated_bytes();
        result
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq - 1
    }

    /// Frees what no name, no pending change and no handle leads to.
    fn collect(&mut self) {
        while let Some(ino) = self.tree.forget_one() {
            self.free(ino);
        }
    }

    fn free(&mut self, ino: Ino) {
        if !self.tree.is_referenced(ino)
            && !self.open.contains_key(&ino)
            && let Some(file) = self.files.remove(&ino)
        {
            self.used_bytes -= file.cache.allocated_bytes();
        }
    }

    /// Why `path` is not there: something on the way to it is a file, or is missing.
    fn absence(&self, path: &Path) -> io::Error {
        let on_the_way = path.ancestors().skip(1).filter_map(|parent| self.tree.find(parent));
        match on_the_way.into_iter().next() {
            Some(ino) if ino != ROOT && !self.tree.is_dir(ino) => ErrorKind::NotADirectory.into(),
            _ => ErrorKind::NotFound.into(),
        }
    }
}

impl FileData {
    /// Clean pages are read from the disk again; the length is kept in memory.
    fn read_back(&mut self) {
        let len = self.cache.len();
        self.cache = self.durable.clone();
        self.cache.set_len(len);
        for (_, change) in &self.pending {
            match change {
                Change::Write { at, data } => self.cache.write(*at, data),
                Change::SetLen(len) => self.cache.set_len(*len),
            }
        }
    }

    fn persist_oldest(&mut self) {
        let (_, change) = self.pending.pop_front().expect("the caller has looked");
        self.pending_bytes -= change.bytes();
        match change {
            Change::Write { at, data } => self.durable.write(at, &data),
            Change::SetLen(len) => self.durable.set_len(len),
        }
    }
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Change::Write { data, .. } => data.len(),
            Change::SetLen(_) => 0,
        }
    }
}
