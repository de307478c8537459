//! The files of a log, by their names, and what an interrupted deletion or compaction left.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::env::Env;
use crate::env::disk::{Disk, File, Open};
use crate::log::scan::{Scanner, Step};
use crate::log::segment::{KINDS, Kind, file_name, parse_name};
use crate::log::sync::EPOCHS_NAME;
use crate::types::Offset;

/// What `list` found that belongs to the log.
#[derive(Debug, Default, PartialEq)]
pub struct Listing {
    /// By base offset, oldest first.
    pub segments: BTreeMap<Offset, Files>,
    /// Ascending.
    pub snapshots: Vec<Offset>,
    pub has_epochs: bool,
    /// Something was removed or renamed: the directory is to be synced.
    pub changed: bool,
}

/// Which files of one segment exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub log: bool,
    pub index: bool,
    pub time_index: bool,
    pub txn_index: bool,
}

impl Files {
    pub fn has_indexes(&self) -> bool {
        self.index && self.time_index
    }
}

/// Removes what is not part of the log any more, completes a compaction that was being swapped in,
/// and says what is there.
pub async fn list<E: Env>(env: &E, dir: &Path) -> io::Result<Listing> {
    let names = names(env, dir)?;
    let mut changed = remove_leftovers(env, dir, &names)?;
    let swapped = swapped(&names);
    if !swapped.is_empty() {
        swap_in(env, dir, &swapped, &names).await?;
        changed = true;
    }
    let names = if changed { self::names(env, dir)? } else { names };
    let mut listing = sort(&names);
    listing.changed = changed;
    let orphans: Vec<Offset> =
        listing.segments.iter().filter(|(_, files)| !files.log).map(|(base, _)| *base).collect();
    for base in orphans {
        remove_segment(env, dir, base)?;
        listing.segments.remove(&base);
        listing.changed = true;
    }
    Ok(listing)
}

/// Removes the files of a segment, its records last: without them the rest means nothing.
pub fn remove_segment<E: Env>(env: &E, dir: &Path, base: Offset) -> io::Result<()> {
    for kind in [Kind::Index, Kind::TimeIndex, Kind::TxnIndex, Kind::Log] {
        remove_if_there(env, &dir.join(file_name(base, kind)))?;
    }
    Ok(())
}

pub fn remove_if_there<E: Env>(env: &E, path: &Path) -> io::Result<()> {
    match env.disk().remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn names<E: Env>(env: &E, dir: &Path) -> io::Result<Vec<String>> {
    let entries = env.disk().list(dir)?;
    Ok(entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect())
}

fn sort(names: &[String]) -> Listing {
    let mut listing = Listing::default();
    for name in names {
        if name == EPOCHS_NAME {
            listing.has_epochs = true;
        }
        let Some((base, kind)) = parse_name(name) else { continue };
        if kind == Kind::Snapshot {
            listing.snapshots.push(base);
            continue;
        }
        let files = listing.segments.entry(base).or_default();
        match kind {
            Kind::Log => files.log = true,
            Kind::Index => files.index = true,
            Kind::TimeIndex => files.time_index = true,
            Kind::TxnIndex => files.txn_index = true,
            Kind::Snapshot => {}
        }
    }
    listing.snapshots.sort_unstable();
    listing
}

/// `<name of a segment's file>.<ending>`
fn with_ending(name: &str, ending: &str) -> Option<(Offset, Kind)> {
    parse_name(name.strip_suffix(ending)?)
}

/// Deleted files, indexes that were not complete, the output of a compaction that did not end, and its swaps: they begin at or
/// after the first segment it had not finished.
fn remove_leftovers<E: Env>(env: &E, dir: &Path, names: &[String]) -> io::Result<bool> {
    let unfinished =
        names.iter().filter_map(|name| with_ending(name, ".cleaned")).map(|(base, _)| base).min();
    let mut changed = false;
    for name in names {
        let swap_unfinished = with_ending(name, ".swap")
            .is_some_and(|(base, _)| unfinished.is_some_and(|first| base >= first));
        let leftover = with_ending(name, ".deleted").is_some()
            || with_ending(name, ".cleaned").is_some()
            || with_ending(name, ".tmp").is_some()
            || swap_unfinished;
        if leftover {
            remove_if_there(env, &dir.join(name))?;
            changed = true;
        }
    }
    Ok(changed)
}

/// The swap files that are to be completed.
fn swapped(names: &[String]) -> Vec<(Offset, Kind)> {
    let unfinished =
        names.iter().filter_map(|name| with_ending(name, ".cleaned")).map(|(base, _)| base).min();
    let swaps = names.iter().filter_map(|name| with_ending(name, ".swap"));
    swaps.filter(|(base, _)| unfinished.is_none_or(|first| *base < first)).collect()
}

/// A swap stands for the segments it was made of: they go, it takes its place.
async fn swap_in<E: Env>(
    env: &E,
    dir: &Path,
    swaps: &[(Offset, Kind)],
    names: &[String],
) -> io::Result<()> {
    let present: Vec<(Offset, Kind)> = names.iter().filter_map(|name| parse_name(name)).collect();
    for (base, _) in swaps.iter().filter(|(_, kind)| *kind == Kind::Log) {
        let swap = dir.join(format!("{}.swap", file_name(*base, Kind::Log)));
        let file = env.disk().open(&swap, Open::Existing)?;
        let end = end_of(&file, *base).await?;
        let replaced =
            present.iter().filter(|(at, kind)| *kind == Kind::Log && *base < *at && *at < end);
        for (at, _) in replaced {
            remove_segment(env, dir, *at)?;
        }
    }
    for kind in KINDS {
        for (base, _) in swaps.iter().filter(|(_, swapped)| *swapped == kind) {
            let name = file_name(*base, kind);
            env.disk().rename(&dir.join(format!("{name}.swap")), &dir.join(name))?;
        }
    }
    Ok(())
}

/// The offset after the last batch of a segment file.
async fn end_of<F: File>(file: &F, base: Offset) -> io::Result<Offset> {
    let mut scanner = Scanner::new(file.clone(), 0, file.len()?);
    let mut end = base;
    while let Step::Batch(batch) = scanner.header().await? {
        end = batch.next_offset();
        scanner.skip(&batch);
    }
    Ok(end)
}
