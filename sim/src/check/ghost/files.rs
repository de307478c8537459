//! The small files that a power loss leaves behind: the old contents or the new, and nothing that the
//! disk does not keep (I42). Looked at when a process has just opened its metadata, before it writes
//! any of them.

use std::path::Path;

use ottla::log::checkpoint::{Checkpoint, Offsets, parse_offsets};
use ottla::log::epochs::Epochs;
use ottla::log::properties::MetaProperties;
use ottla::log::sync::EPOCHS_NAME;
use ottla::quorum::state::{FILE_NAME as QUORUM_STATE, QuorumState};
use ottla::types::{LeaderEpoch, Offset};

use super::image::View;
use super::replica::Replica;
use super::{DATA_DIR, Verdict, broken};
use crate::check::Invariant::{I37, I42};
use crate::check::Violation;
use crate::disk::volume::Volume;

const PROPERTIES: &str = "meta.properties";

/// `replicas` are those of this node, as its processes have spoken of them so far.
pub fn check<'a>(
    volume: &Volume,
    metadata_dir: &Path,
    epoch: LeaderEpoch,
    replicas: impl Iterator<Item = &'a Replica> + Clone,
) -> Verdict {
    let dir = Path::new(DATA_DIR);
    whole(volume, &dir.join(PROPERTIES), |text| MetaProperties::parse(text).ok())?;
    let state = metadata_dir.join(QUORUM_STATE);
    if let Some(state) = whole(volume, &state, |text| QuorumState::decode(text.as_bytes()).ok())?
        && state.epoch < epoch
    {
        let evidence = format!("{state:?} is remembered of the quorum; epoch {} led", epoch.0);
        return broken(I37, evidence);
    }
    for which in [Checkpoint::RecoveryPoint, Checkpoint::LogStart, Checkpoint::Replication] {
        let path = dir.join(which.file_name());
        let offsets = whole(volume, &path, |text| parse_offsets(text).ok())?.unwrap_or_default();
        for replica in replicas.clone() {
            check_offset(which, &offsets, replica)?;
        }
    }
    Ok(())
}

fn check_offset(which: Checkpoint, offsets: &Offsets, replica: &Replica) -> Verdict {
    let is_it = |name: &str| replica.dir == Path::new(DATA_DIR).join(name);
    let found = offsets.iter().find(|(name, _)| is_it(&name.to_string()));
    let Some((name, &offset)) = found else { return Ok(()) };
    let max = match which {
        Checkpoint::LogStart => replica.latest_start(),
        Checkpoint::Replication if replica.relaxed => Offset(i64::MAX),
        _ => replica.durable_end,
    };
    if offset > max {
        let file = which.file_name();
        let evidence = format!("{file} says {offset} of {name}, which goes no further than {max}");
        return broken(I42, evidence);
    }
    Ok(())
}

/// The epochs' file of a log that was just opened.
pub fn check_epochs(volume: &Volume, dir: &Path) -> Verdict {
    whole(volume, &dir.join(EPOCHS_NAME), Epochs::parse).map(|_| ())
}

/// What the file says; `None` when it is not there.
fn whole<T>(
    volume: &Volume,
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Violation> {
    let Some(image) = View::Cache.file(volume, path) else { return Ok(None) };
    let bytes = image.to_vec();
    match std::str::from_utf8(&bytes).ok().and_then(parse) {
        Some(parsed) => Ok(Some(parsed)),
        None => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            let evidence =
                format!("{} is torn: {} bytes that begin {text:?}", path.display(), bytes.len());
            broken(I42, evidence)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use ottla::env::disk::Open;

    use super::super::tests::{LOG, broke};
    use super::*;
    use crate::check::Invariant;

    fn put(volume: &mut Volume, path: &Path, text: &str) {
        let ino = volume.open(path, Open::OrCreate, 0).unwrap();
        volume.set_len(ino, 0, 0);
        let mut bytes = vec![];
        write!(bytes, "{text}").unwrap();
        volume.write(ino, 0, Bytes::from(bytes), 0);
        volume.close(ino);
    }

    /// A directory with the file, as a log that is durable below 10 and begins at 5 sees it.
    fn verdict(name: &str, text: &str) -> Option<Invariant> {
        let metadata_dir = Path::new(DATA_DIR).join("__cluster_metadata-0");
        let mut volume = Volume::new(1 << 20);
        volume.create_dir_all(&metadata_dir).unwrap();
        put(&mut volume, &Path::new(DATA_DIR).join(name), text);
        let mut replica = Replica::new(LOG);
        replica.dir = Path::new(DATA_DIR).join("orders-0");
        (replica.start, replica.durable_end) = (Offset(5), Offset(10));
        let replicas = [replica];
        broke(check(&volume, &metadata_dir, LeaderEpoch(3), replicas.iter()))
    }

    #[test]
    fn whole_files_pass_and_torn_ones_are_caught() {
        for (name, whole) in [
            ("recovery-point-offset-checkpoint", "0\n1\norders 0 10\n"),
            ("replication-offset-checkpoint", "0\n2\nother 0 99\norders 0 10\n"),
            ("log-start-offset-checkpoint", "0\n1\norders 0 5\n"),
            (
                "__cluster_metadata-0/quorum-state",
                r#"{"leaderId":1,"leaderEpoch":3,"votedId":-1,"data_version":1}"#,
            ),
        ] {
            assert_eq!(verdict(name, whole), None, "{name}");
            for cut in [1, whole.len() / 2, whole.len() - 3] {
                assert_eq!(verdict(name, &whole[..cut]), Some(I42), "{name} cut at {cut}");
            }
        }
        assert_eq!(verdict("meta.properties", "\0\0\0"), Some(I42));
    }

    #[test]
    fn checkpoints_that_say_more_than_the_disk_are_caught() {
        let line = |offset: i64| format!("0\n1\norders 0 {offset}\n");
        assert_eq!(verdict("recovery-point-offset-checkpoint", &line(11)), Some(I42));
        assert_eq!(verdict("replication-offset-checkpoint", &line(11)), Some(I42));
        assert_eq!(verdict("log-start-offset-checkpoint", &line(6)), Some(I42));
    }

    #[test]
    fn a_forgotten_vote_is_caught() {
        let old = r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"data_version":1}"#;
        assert_eq!(verdict("__cluster_metadata-0/quorum-state", old), Some(I37));
    }
}
