//! An ordered map whose clones are cheap and share what did not change.
//!
//! A sorted run of chunks behind `Arc`s: a change copies one chunk and the list of chunks, so the
//! next version of a map with 10,000 entries costs a few hundred words. Iteration is in key order,
//! whatever the history; two maps with the same entries are equal, however they are cut.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

const CHUNK_LEN_MAX: usize = 64;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

pub struct Map<K, V> {
    /// No chunk is empty; keys rise through each and from one to the next.
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Map<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> Map<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = &self.chunks[self.chunk_of(key)?];
        let at = chunk.binary_search_by(|(held, _)| held.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Entries from `start` on, in key order.
    pub fn range_from<Q: Ord + ?Sized>(&self, start: Bound<&Q>) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let before = |held: &K| match start {
            Bound::Unbounded => false,
            Bound::Included(key) => held.borrow() < key,
            Bound::Excluded(key) => held.borrow() <= key,
        };
        let first = self.chunks.partition_point(|chunk| before(last_key(chunk)));
        let skipped = self
            .chunks
            .get(first)
            .map_or(0, |chunk| chunk.partition_point(|(held, _)| before(held)));
        let rest = self.chunks[first..].iter().flat_map(|chunk| chunk.iter());
        rest.skip(skipped).map(|(key, value)| (key, value))
    }

    /// The chunk that holds `key`, if any does.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let at = self.chunks.partition_point(|chunk| last_key(chunk).borrow() < key);
        (at < self.chunks.len()).then_some(at)
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::new(Vec::new()));
        }
        // A key beyond the last chunk's end belongs at that end.
        let at = at.unwrap_or(chunks.len() - 1);
        let chunk = Arc::make_mut(&mut chunks[at]);
        match chunk.binary_search_by(|(held, _)| held.cmp(&key)) {
            Ok(found) => Some(std::mem::replace(&mut chunk[found].1, value)),
            Err(place) => {
                chunk.insert(place, (key, value));
                self.len += 1;
                if chunk.len() > CHUNK_LEN_MAX {
                    let upper = chunk.split_off(CHUNK_LEN_MAX / 2);
                    chunks.insert(at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key)?;
        let place = self.chunks[at].binary_search_by(|(held, _)| held.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let (_, value) = Arc::make_mut(&mut chunks[at]).remove(place);
        self.len -= 1;
        if chunks[at].is_empty() {
            chunks.remove(at);
        }
        Some(value)
    }

    /// The value at `key`, to change in place. It is copied first when an older map still holds it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key)?;
        let place = self.chunks[at].binary_search_by(|(held, _)| held.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[at]);
        Some(&mut chunk[place].1)
    }
}

/// One entry that two maps do not share.
#[derive(Debug, PartialEq)]
pub enum Change<'a, K, V> {
    Added(&'a K, &'a V),
    Removed(&'a K, &'a V),
    Changed(&'a K, &'a V, &'a V),
}

impl<K: Ord, V: PartialEq> Map<K, V> {
    /// What turns `older` into this map, in key order. Chunks that both hold are skipped unread.
    pub fn changes_since<'a>(&'a self, older: &'a Map<K, V>) -> Vec<Change<'a, K, V>> {
        let mut changes = Vec::new();
        let (mut old, mut new) = (Cursor::at_start(older), Cursor::at_start(self));
        loop {
            if let (Some(left), Some(right)) = (old.whole_chunk(), new.whole_chunk())
                && Arc::ptr_eq(left, right)
            {
                old.skip_chunk();
                new.skip_chunk();
                continue;
            }
            match (old.entry(), new.entry()) {
                (None, None) => return changes,
                (Some((old_key, was)), Some((key, is))) if old_key == key => {
                    if was != is {
                        changes.push(Change::Changed(key, was, is));
                    }
                    old.step();
                    new.step();
                }
                (Some((old_key, was)), entry) if entry.is_none_or(|(key, _)| old_key < key) => {
                    changes.push(Change::Removed(old_key, was));
                    old.step();
                }
                (_, Some((key, is))) => {
                    changes.push(Change::Added(key, is));
                    new.step();
                }
                (Some(_), None) => unreachable!("an old entry past the new end was removed above"),
            }
        }
    }
}

struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    place: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn at_start(map: &'a Map<K, V>) -> Cursor<'a, K, V> {
        Cursor { chunks: &map.chunks, place: 0 }
    }

    fn whole_chunk(&self) -> Option<&'a Chunk<K, V>> {
        if self.place == 0 { self.chunks.first() } else { None }
    }

    fn entry(&self) -> Option<(&'a K, &'a V)> {
        self.chunks.first().map(|chunk| (&chunk[self.place].0, &chunk[self.place].1))
    }

    fn skip_chunk(&mut self) {
        self.chunks = &self.chunks[1..];
        self.place = 0;
    }

    fn step(&mut self) {
        self.place += 1;
        if self.place == self.chunks[0].len() {
            self.skip_chunk();
        }
    }
}

fn last_key<K, V>(chunk: &Chunk<K, V>) -> &K {
    &chunk.last().expect("no chunk is empty").0
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Map<K, V> {
        Map { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Map<K, V> {
        Map { chunks: Arc::default(), len: 0 }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Map<K, V>) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
            || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<K: Eq, V: Eq> Eq for Map<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Map<K, V> {
        let mut map = Map::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, u8),
        Remove(u16),
        Raise(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..400u16, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
            2 => (0..400u16).prop_map(Step::Remove),
            1 => (0..400u16).prop_map(Step::Raise),
        ];
        proptest::collection::vec(step, 0..1500)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn behaves_as_the_standard_map_does(steps in steps(), start in 0..420u16) {
            let mut map = Map::default();
            let mut model = BTreeMap::new();
            let (mut first, mut first_model) = (Map::default(), BTreeMap::new());
            for (nth, step) in steps.into_iter().enumerate() {
                if nth == 500 {
                    (first, first_model) = (map.clone(), model.clone());
                }
                match step {
                    Step::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    Step::Raise(key) => {
                        let raise = |value: &mut u8| *value = value.wrapping_add(1);
                        prop_assert_eq!(map.get_mut(&key).map(raise), model.get_mut(&key).map(raise));
                    }
                }
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(first.iter().eq(first_model.iter()), "an older clone changed");
            let mut patched = first_model;
            for change in map.changes_since(&first) {
                match change {
                    Change::Added(key, is) => prop_assert_eq!(patched.insert(*key, *is), None),
                    Change::Removed(key, was) => prop_assert_eq!(patched.remove(key), Some(*was)),
                    Change::Changed(key, was, is) => {
                        prop_assert!(was != is);
                        prop_assert_eq!(patched.insert(*key, *is), Some(*was));
                    }
                }
            }
            prop_assert!(patched.iter().eq(model.iter()), "the changes make one of the other");
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.iter().rev().eq(model.iter().rev()));
            prop_assert!(map.range_from(Bound::Included(&start)).eq(model.range(start..)));
            let after = (Bound::Excluded(start), Bound::Unbounded);
            prop_assert!(map.range_from(Bound::Excluded(&start)).eq(model.range(after)));
            prop_assert_eq!(map, model.into_iter().collect());
        }
    }
}
