//! One segment and the files beside it, of any bytes: it opens or it is refused. What opens reads
//! whole, and opens the same again.
//!
//! The input: a byte of flags (1: the stop was clean), the recovery point, five lengths u16 (index,
//! time index, transaction index, epochs, producers), those files, and the records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use ottla::env::disk::File;
use ottla::env::tokio::TokioEnv;
use ottla::log::read::Wanted;
use ottla::log::recovery::{Known, OpenError};
use ottla::log::{Log, LogConfig};
use ottla::protocol::records::batch::Batch;
use ottla::types::{Offset, Uuid};

const HEAD_BYTES: usize = 12;
const ID: Uuid = Uuid([7; 16]);

pub fn recovery(data: &[u8]) {
    let Some((head, mut rest)) = data.split_at_checked(HEAD_BYTES) else { return };
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("ottla-recovery-{}-{run}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let base = format!("{:020}", 0);
    let snapshot = format!("{:020}.snapshot", head[1]);
    let beside = ["index", "timeindex", "txnindex"].map(|ending| format!("{base}.{ending}"));
    let [index, time, aborted] = beside;
    let names = [index, time, aborted, "leader-epoch-checkpoint".to_owned(), snapshot];
    for (name, length) in names.iter().zip(head[2..].chunks_exact(2)) {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]])).min(rest.len());
        let (file, after) = rest.split_at(length);
        if length > 0 {
            fs::write(dir.join(name), file).unwrap();
        }
        rest = after;
    }
    fs::write(dir.join(format!("{base}.log")), rest).unwrap();
    let known = Known {
        clean: head[0] & 1 != 0,
        recovery_point: Offset(head[1].into()),
        log_start: Offset(0),
    };
    let runtime = TokioEnv::runtime().unwrap();
    let env = TokioEnv::with_files_open_max(runtime.handle().clone(), 16);
    runtime.block_on(check(env, dir.clone(), known));
    fs::remove_dir_all(&dir).unwrap();
}

async fn check(env: TokioEnv, dir: PathBuf, known: Known) {
    let Ok((end, batches)) = opened(&env, &dir, known).await else { return };
    let again = opened(&env, &dir, known).await.expect("what opened once opens again");
    assert_eq!(again, (end, batches));
}

async fn opened(
    env: &TokioEnv,
    dir: &Path,
    known: Known,
) -> Result<(Offset, Vec<Batch>), OpenError> {
    let config = Arc::new(LogConfig::default());
    let (log, _) = Log::open(env.clone(), dir, ID, config, known, 0).await?;
    let (mut from, limit) = (log.start(), log.end());
    let mut batches = Vec::new();
    let _ = log.last_stable(limit);
    while from < limit {
        let wanted = Wanted { from, limit, bytes_max: 1000, at_least_one: true, aborted: true };
        let plan = log.read(&wanted).expect("the log holds what lies before its end");
        // After a clean stop nothing is checked: reading may find what is no batch.
        let Ok(region) = plan.resolve().await else { break };
        let Some(file) = region.file else { break };
        let mut bytes = file.read_at(region.at, region.len).await.unwrap();
        let before = from;
        while let Ok(Some(batch)) = Batch::split(&mut bytes) {
            from = batch.next_offset();
            batches.push(batch);
        }
        if from == before {
            // Below the recovery point nothing is checked either: an index may lead into the middle
            // of a batch there, as rot on a disk would. What was scanned holds batches only.
            let trusted = known.clean || known.recovery_point > Offset(0);
            assert!(trusted, "a read of scanned bytes brings at least one batch");
            break;
        }
    }
    let lookup = log.time_lookup();
    let _ = lookup.at_or_after(1_700_000_000_000, limit).await;
    let _ = lookup.largest_timestamp(limit).await;
    Ok((log.end(), batches))
}
