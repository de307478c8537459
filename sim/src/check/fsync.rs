//! After a failed sync nobody knows what is on the disk (I44): the pages that it was to cover may be
//! gone although they read back, and the next sync says that all is well. So a log whose records
//! were not synced becomes durable no further, until another process opens it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ottla::env::probe::Event;
use ottla::types::Uuid;

use super::Invariant::I44;
use super::Violation;
use crate::world::World;

#[derive(Default)]
pub struct Syncs {
    /// Where logs lie, by node, topic and partition.
    dirs: Mutex<BTreeMap<(usize, Uuid, i32), PathBuf>>,
}

impl Syncs {
    pub fn observe(&self, world: &World, node: usize, event: &Event) {
        let Some((topic, partition)) = event.log() else { return };
        let mut dirs = self.dirs.lock().unwrap();
        match event {
            Event::Recovered { dir, .. } => {
                drop(dirs.insert((node, topic, partition), dir.clone()))
            }
            Event::Durable { end, .. } => {
                let Some(dir) = dirs.get(&(node, topic, partition)) else { return };
                if let Some(file) = distrusted(&world.disk(node).failed_syncs(), dir) {
                    let (name, file) = (world.name(node), file.display());
                    let evidence = format!(
                        "{name}: {topic}-{partition} counts as durable below {end}, and this process was \
                         told that {file} could not be synced"
                    );
                    Violation::new(I44, evidence).raise();
                }
            }
            _ => {}
        }
    }
}

/// A file of records in `dir` whose sync failed.
fn distrusted<'a>(failed: &'a BTreeSet<PathBuf>, dir: &Path) -> Option<&'a PathBuf> {
    let holds_records = |file: &Path| file.extension().is_some_and(|kind| kind == "log");
    failed.iter().find(|file| file.parent() == Some(dir) && holds_records(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_records_of_the_log_itself_matter() {
        let failed = |file: &str| BTreeSet::from([PathBuf::from(file)]);
        let is_distrusted = |file| distrusted(&failed(file), Path::new("/data/t-0")).is_some();
        assert!(is_distrusted("/data/t-0/00000000000000000007.log"));
        assert!(!is_distrusted("/data/t-1/00000000000000000007.log"));
        assert!(!is_distrusted("/data/t-0/00000000000000000007.index"));
        assert!(!is_distrusted("/data/t-0/leader-epoch-checkpoint.tmp"));
    }
}
