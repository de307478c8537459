//! The directories of a volume: what a process sees, and what a power loss would leave.
//!
//! Every change of a directory waits in a journal until a sync of that directory covers it. An
//! inode's own changes never overtake each other (a journaling file system keeps its link counts
//! right), so a kept change brings the earlier ones of its inode along. Nothing else is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ino(pub u64);

pub const ROOT: Ino = Ino(0);

/// Changes that may wait for a sync before the kernel commits the oldest by itself.
const JOURNAL_LEN_MAX: usize = 256;

pub struct Tree {
    dirs: BTreeMap<Ino, Dir>,
    journal: Vec<(u64, Op)>,
    inos: u64,
    references: References,
}

/// How many names, durable ones too, and pending changes lead to each inode.
#[derive(Default)]
struct References {
    counts: BTreeMap<Ino, u32>,
    /// Those that lost their last one, and may have got another since.
    lost: Vec<Ino>,
}

#[derive(Default)]
struct Dir {
    entries: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
}

#[derive(Clone, Debug, PartialEq)]
enum Op {
    Link { place: Place, ino: Ino },
    Unlink { place: Place, ino: Ino },
    Rename { from: Place, to: Place, ino: Ino },
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub dir: Ino,
    pub name: String,
}

impl Default for Tree {
    fn default() -> Tree {
        let dirs = BTreeMap::from([(ROOT, Dir::default())]);
        Tree { dirs, journal: vec![], inos: 0, references: References::default() }
    }
}

impl Tree {
    pub fn find(&self, path: &Path) -> Option<Ino> {
        self.walk(path, |dir| &dir.entries)
    }

    /// The inode that `path` would name after a power loss that keeps nothing unsynced.
    pub fn find_durable(&self, path: &Path) -> Option<Ino> {
        self.walk(path, |dir| &dir.durable)
    }

    fn walk(&self, path: &Path, view: impl Fn(&Dir) -> &BTreeMap<String, Ino>) -> Option<Ino> {
        let mut at = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    at = *view(self.dirs.get(&at)?).get(name.to_str()?)?;
                }
                Component::Prefix(_) | Component::ParentDir => return None,
            }
        }
        Some(at)
    }

    /// Where `path` is or would be; `None` when its parent is no directory.
    pub fn place(&self, path: &Path) -> Option<Place> {
        let dir = self.find(path.parent()?).filter(|dir| self.is_dir(*dir))?;
        let name = path.file_name()?.to_str()?.to_string();
        Some(Place { dir, name })
    }

    pub fn at(&self, place: &Place) -> Option<Ino> {
        self.dirs.get(&place.dir)?.entries.get(&place.name).copied()
    }

    pub fn is_dir(&self, ino: Ino) -> bool {
        self.dirs.contains_key(&ino)
    }

    pub fn entries(&self, dir: Ino) -> Option<&BTreeMap<String, Ino>> {
        self.dirs.get(&dir).map(|dir| &dir.entries)
    }

    /// Is `ino` the directory `dir`, or anywhere below it?
    pub fn contains(&self, dir: Ino, ino: Ino) -> bool {
        dir == ino
            || self.entries(dir).is_some_and(|e| e.values().any(|child| self.contains(*child, ino)))
    }

    pub fn create(&mut self, seq: u64, place: Place, is_dir: bool) -> Ino {
        self.inos += 1;
        let ino = Ino(self.inos);
        if is_dir {
            self.dirs.insert(ino, Dir::default());
        }
        self.insert(&place, ino);
        self.note(seq, Op::Link { place, ino });
        ino
    }

    pub fn unlink(&mut self, seq: u64, place: Place) {
        let entries =
            &mut self.dirs.get_mut(&place.dir).expect("a place is in a directory").entries;
        let ino = entries.remove(&place.name).expect("the caller has looked");
        self.note(seq, Op::Unlink { place, ino });
        self.references.drop(ino);
    }

    pub fn rename(&mut self, seq: u64, from: Place, to: Place) {
        let entries = &mut self.dirs.get_mut(&from.dir).expect("a place is in a directory").entries;
        let ino = entries.remove(&from.name).expect("the caller has looked");
        self.insert(&to, ino);
        self.note(seq, Op::Rename { from, to, ino });
        self.references.drop(ino);
    }

    fn note(&mut self, seq: u64, op: Op) {
        self.references.add(op.ino());
        self.journal.push((seq, op));
        if self.journal.len() > JOURNAL_LEN_MAX {
            let (_, oldest) = self.journal.remove(0);
            oldest.apply(&mut self.dirs, &mut self.references);
        }
    }

    fn insert(&mut self, place: &Place, ino: Ino) {
        let dir = self.dirs.get_mut(&place.dir).expect("a place is in a directory");
        self.references.add(ino);
        if let Some(replaced) = dir.entries.insert(place.name.clone(), ino) {
            self.references.drop(replaced);
        }
    }

    /// A sync of `dir`, or of everything, ended: what was done before `upto` is durable.
    pub fn commit(&mut self, dir: Option<Ino>, upto: u64) {
        let covered = |op: &Op| dir.is_none_or(|dir| op.touches(dir));
        let mut last_of = BTreeMap::new();
        for (seq, op) in self.journal.iter().filter(|(seq, op)| *seq < upto && covered(op)) {
            last_of.insert(op.ino(), *seq);
        }
        self.keep(|seq, op| last_of.get(&op.ino()).is_some_and(|last| seq <= *last));
    }

    /// Power is lost: `keeps(seq, ino)` says which changes had reached the disk. An inode's later
    /// changes are lost with the first one that is.
    pub fn power_loss(&mut self, mut keeps: impl FnMut(u64, Ino) -> bool) {
        let mut lost = BTreeSet::new();
        self.keep(|seq, op| {
            if !lost.contains(&op.ino()) && !keeps(seq, op.ino()) {
                lost.insert(op.ino());
            }
            !lost.contains(&op.ino())
        });
        self.journal.clear();
        for dir in self.dirs.values_mut() {
            dir.entries = dir.durable.clone();
        }
        let reachable = self.referenced();
        self.dirs.retain(|ino, _| reachable.contains(ino));
        self.references = References::default();
        for dir in self.dirs.values() {
            let children = dir.entries.values().chain(dir.durable.values());
            children.for_each(|ino| self.references.add(*ino));
        }
    }

    /// Moves the changes that `covered` accepts from the journal to the durable view, in order.
    fn keep(&mut self, mut covered: impl FnMut(u64, &Op) -> bool) {
        for (seq, op) in std::mem::take(&mut self.journal) {
            if covered(seq, &op) {
                op.apply(&mut self.dirs, &mut self.references);
            } else {
                self.journal.push((seq, op));
            }
        }
    }

    /// Every inode that a name, durable or not, or a pending change still leads to.
    fn referenced(&self) -> BTreeSet<Ino> {
        let mut found = BTreeSet::from([ROOT]);
        let mut unvisited = vec![ROOT];
        unvisited.extend(self.journal.iter().map(|(_, op)| op.ino()));
        while let Some(ino) = unvisited.pop() {
            found.insert(ino);
            if let Some(dir) = self.dirs.get(&ino) {
                let children = dir.entries.values().chain(dir.durable.values());
                unvisited.extend(children.filter(|child| !found.contains(child)));
            }
        }
        found
    }

    /// The oldest change that no sync has covered.
    pub fn first_pending(&self) -> Option<u64> {
        self.journal.first().map(|(seq, _)| *seq)
    }

    pub fn is_referenced(&self, ino: Ino) -> bool {
        ino == ROOT || self.references.counts.contains_key(&ino)
    }

    /// An inode that nothing leads to any more, once.
    pub fn forget_one(&mut self) -> Option<Ino> {
        loop {
            let ino = self.references.lost.pop()?;
            if self.is_referenced(ino) {
                continue;
            }
            if let Some(dir) = self.dirs.remove(&ino) {
                let children = dir.entries.values().chain(dir.durable.values());
                children.for_each(|child| self.references.drop(*child));
            }
            return Some(ino);
        }
    }
}

impl References {
    fn add(&mut self, ino: Ino) {
        *self.counts.entry(ino).or_default() += 1;
    }

    fn drop(&mut self, ino: Ino) {
        let count = self.counts.get_mut(&ino).expect("counted when it was made");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&ino);
            self.lost.push(ino);
        }
    }
}

impl Op {
    fn ino(&self) -> Ino {
        match self {
            Op::Link { ino, .. } | Op::Unlink { ino, .. } | Op::Rename { ino, .. } => *ino,
        }
    }

    fn touches(&self, dir: Ino) -> bool {
        match self {
            Op::Link { place, .. } | Op::Unlink { place, .. } => place.dir == dir,
            Op::Rename { from, to, .. } => from.dir == dir || to.dir == dir,
        }
    }

    /// What was pending is durable, and pending no more.
    fn apply(self, dirs: &mut BTreeMap<Ino, Dir>, references: &mut References) {
        let ino = self.ino();
        let (linked, unlinked) = match self {
            Op::Link { place, .. } => (Some(place), None),
            Op::Rename { from, to, .. } => (Some(to), Some(from)),
            Op::Unlink { place, .. } => (None, Some(place)),
        };
        if let Some(place) = linked
            && let Some(dir) = dirs.get_mut(&place.dir)
        {
            references.add(ino);
            if let Some(replaced) = dir.durable.insert(place.name, ino) {
                references.drop(replaced);
            }
        }
        // Only the inode that is meant: the name may have been given to another since.
        if let Some(place) = unlinked
            && let Some(dir) = dirs.get_mut(&place.dir)
            && dir.durable.get(&place.name) == Some(&ino)
        {
            dir.durable.remove(&place.name);
            references.drop(ino);
        }
        references.drop(ino);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tree: &Tree, path: &str) -> Place {
        tree.place(Path::new(path)).unwrap()
    }

    fn durable(tree: &Tree, path: &str) -> Option<Ino> {
        tree.find_durable(Path::new(path))
    }

    #[test]
    fn a_new_file_in_a_new_directory_needs_both_parents_synced() {
        let mut tree = Tree::default();
        let dir = tree.create(0, place(&tree, "/data"), true);
        let file = tree.create(1, place(&tree, "/data/log"), false);
        tree.commit(Some(dir), 2);
        assert_eq!(durable(&tree, "/data/log"), None);
        tree.commit(Some(ROOT), 2);
        assert_eq!(durable(&tree, "/data/log"), Some(file));
    }

    #[test]
    fn a_sync_covers_only_what_was_done_before_it_began() {
        let mut tree = Tree::default();
        let first = tree.create(0, place(&tree, "/a"), false);
        tree.create(1, place(&tree, "/b"), false);
        tree.commit(Some(ROOT), 1);
        assert_eq!((durable(&tree, "/a"), durable(&tree, "/b")), (Some(first), None));
    }

    #[test]
    fn a_lost_rename_leaves_the_old_names_and_a_kept_one_the_new() {
        for kept in [false, true] {
            let mut tree = Tree::default();
            let old = tree.create(0, place(&tree, "/state"), false);
            let new = tree.create(1, place(&tree, "/state.tmp"), false);
            tree.commit(None, 2);
            let (from, to) = (place(&tree, "/state.tmp"), place(&tree, "/state"));
            tree.rename(2, from, to);
            assert_eq!(tree.find(Path::new("/state")), Some(new));
            tree.power_loss(|_, _| kept);
            let expected = if kept { (Some(new), None) } else { (Some(old), Some(new)) };
            let found = |path| tree.find(Path::new(path));
            assert_eq!((found("/state"), found("/state.tmp")), expected);
        }
    }

    #[test]
    fn a_sync_of_the_target_directory_brings_the_whole_move_along() {
        let mut tree = Tree::default();
        let dirs = ["/a", "/b"].map(|path| tree.create(0, place(&tree, path), true));
        let file = tree.create(1, place(&tree, "/a/x"), false);
        let (from, to) = (place(&tree, "/a/x"), place(&tree, "/b/y"));
        tree.rename(2, from, to);
        tree.commit(Some(ROOT), 3);
        tree.commit(Some(dirs[1]), 3);
        assert_eq!((durable(&tree, "/a/x"), durable(&tree, "/b/y")), (None, Some(file)));
    }

    #[test]
    fn an_unlinked_file_may_come_back() {
        let mut tree = Tree::default();
        let file = tree.create(0, place(&tree, "/x"), false);
        tree.commit(None, 1);
        tree.unlink(1, place(&tree, "/x"));
        assert!(tree.referenced().contains(&file), "its durable name still leads to it");
        tree.power_loss(|_, _| false);
        assert_eq!(tree.find(Path::new("/x")), Some(file));
    }

    #[test]
    fn what_is_forgotten_is_what_nothing_leads_to() {
        use crate::chance::{Chance, Subsystem};
        let mut chance = Chance::stream(1, Subsystem::Disk, 0, 0);
        let (mut tree, mut made) = (Tree::default(), BTreeSet::from([ROOT]));
        let paths = ["/a", "/b", "/c", "/a/x", "/b/x", "/c/y", "/a/x/z", "/b/x/z"];
        for seq in 0..3000 {
            let [path, other] = [(); 2].map(|()| Path::new(*chance.pick(&paths)));
            let (from, to) = (tree.place(path), tree.place(other));
            match (chance.index(12), from, to) {
                (0..4, Some(place), _) if tree.at(&place).is_none() => {
                    made.insert(tree.create(seq, place, chance.happens(0.5)));
                }
                (4..6, Some(place), _) if tree.at(&place).is_some() => tree.unlink(seq, place),
                (6..9, Some(from), Some(to))
                    if from != to
                        && tree.at(&from).is_some_and(|moved| !tree.contains(moved, to.dir)) =>
                {
                    tree.rename(seq, from, to);
                }
                (9, ..) => tree.commit(tree.find(path).filter(|ino| tree.is_dir(*ino)), seq + 1),
                (10, ..) if chance.happens(0.1) => {
                    tree.power_loss(|seq, _| seq % 3 > 0);
                    made = tree.referenced();
                }
                _ => {}
            }
            while let Some(forgotten) = tree.forget_one() {
                assert!(made.remove(&forgotten), "forgotten twice");
            }
            assert_eq!(made, tree.referenced());
        }
    }

    #[test]
    fn an_inode_never_has_two_names() {
        for kept in 0..8u64 {
            let mut tree = Tree::default();
            tree.create(0, place(&tree, "/a"), false);
            let (a, b) = (place(&tree, "/a"), place(&tree, "/b"));
            tree.rename(1, a, b);
            let (b, c) = (place(&tree, "/b"), place(&tree, "/c"));
            tree.rename(2, b, c);
            tree.power_loss(|seq, _| kept >> seq & 1 == 1);
            assert!(tree.entries(ROOT).unwrap().len() <= 1);
        }
    }
}
