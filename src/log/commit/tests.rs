//! The loop over a disk that says what it synced, waits when told to, and fails when told to.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use super::*;
use crate::env::disk::{Entry, Open, Space};
use crate::env::tokio::net::TokioNet;
use crate::env::tokio::{TokioEnv, TokioTask, clock::TokioClock};

#[derive(Clone)]
struct FakeEnv {
    real: TokioEnv,
    disk: FakeDisk,
}

#[derive(Clone)]
struct FakeDisk(Arc<FakeState>);

struct FakeState {
    synced: Mutex<Vec<String>>,
    /// One permit for each sync.
    permits: Semaphore,
    fails: AtomicBool,
}

#[derive(Clone)]
struct FakeFile(FakeDisk, &'static str);

impl FakeDisk {
    async fn sync(&self, what: String) -> io::Result<()> {
        self.0.permits.acquire().await.unwrap().forget();
        self.0.synced.lock().unwrap().push(what);
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device is gone"));
        }
        Ok(())
    }
}

impl Disk for FakeDisk {
    type File = FakeFile;
    type Lock = ();

    fn open(&self, _: &Path, _: Open) -> io::Result<FakeFile> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove_dir_all(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<Entry>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn exists(&self, _: &Path) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn modified_ms(&self, _: &Path) -> io::Result<i64> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn space(&self, _: &Path) -> io::Result<Space> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn lock(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync(format!("dir {}", dir.display())).await
    }
    async fn sync_all(&self, dir: &Path) -> io::Result<()> {
        self.sync(format!("all {}", dir.display())).await
    }
}

impl File for FakeFile {
    fn len(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write_at(&self, _: u64, _: &[io::IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn try_read_at(&self, _: u64, _: u32, _: &mut BytesMut) -> io::Result<Option<u32>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn read_at(&self, _: u64, _: u32) -> io::Result<Bytes> {
        Err(io::ErrorKind::Unsupported.into())
    }
    async fn sync(&self) -> io::Result<()> {
        self.0.sync(self.1.to_owned()).await
    }
}

impl Env for FakeEnv {
    type Clock = TokioClock;
    type Net = TokioNet;
    type Disk = FakeDisk;
    type Task = TokioTask;

    fn clock(&self) -> &TokioClock {
        self.real.clock()
    }
    fn net(&self) -> &TokioNet {
        self.real.net()
    }
    fn disk(&self) -> &FakeDisk {
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
    fn offload<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        self.real.offload(work)
    }
}

/// A log that is appended to by counting.
struct Member<E: Env> {
    mark: Mark,
    file: FileOf<E>,
    directory: Option<PathBuf>,
    state: Mutex<MemberState>,
    told: Notify,
}

#[derive(Debug, Default)]
struct MemberState {
    end: Offset,
    durable_end: Offset,
    syncing: Option<Offset>,
    begun: u64,
    failed: u64,
}

impl<E: Env> Member<E> {
    fn new(file: FileOf<E>) -> Arc<Member<E>> {
        let (mark, state, told) = (Mark::default(), Mutex::default(), Notify::new());
        Arc::new(Member { mark, file, directory: None, state, told })
    }

    fn append(self: &Arc<Self>, committer: &Committer<E>) -> Result<Offset, Arc<Offline>> {
        let mut state = self.state.lock().unwrap();
        state.end = state.end.plus(1);
        committer.mark(self)?;
        Ok(state.end)
    }

    async fn durable(&self, end: Offset) {
        while self.state.lock().unwrap().durable_end < end {
            self.told.notified().await;
        }
    }
}

impl<E: Env> Dirty<E> for Member<E> {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn begin_sync(&self, round: &mut Round<FileOf<E>>) -> Option<Offset> {
        let mut state = self.state.lock().unwrap();
        state.begun += 1;
        assert_eq!(state.syncing, None, "one sync of a member at a time");
        if state.end == state.durable_end {
            return None;
        }
        round.file(self.file.clone());
        self.directory.iter().for_each(|directory| round.directory(directory));
        state.syncing = Some(state.end);
        Some(state.end)
    }

    fn on_synced(&self, end: Offset) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.syncing.take(), Some(end));
        state.durable_end = end;
        self.told.notify_one();
    }

    fn on_sync_failed(&self, _: &Arc<Offline>) {
        self.state.lock().unwrap().failed += 1;
    }
}

fn fake(permits: usize) -> (FakeEnv, Committer<FakeEnv>) {
    let state = FakeState {
        synced: Mutex::default(),
        permits: Semaphore::new(permits),
        fails: AtomicBool::new(false),
    };
    let real = TokioEnv::new(tokio::runtime::Handle::current());
    let env = FakeEnv { real, disk: FakeDisk(Arc::new(state)) };
    let committer = Committer::start(&env, Path::new("/data"), Uuid([7; 16]));
    (env, committer)
}

fn members<const N: usize>(env: &FakeEnv, names: [&'static str; N]) -> [Arc<Member<FakeEnv>>; N] {
    names.map(|name| Member::new(FakeFile(env.disk.clone(), name)))
}

impl FakeEnv {
    fn synced(&self) -> Vec<String> {
        std::mem::take(&mut self.disk.0.synced.lock().unwrap())
    }

    /// Until the loop waits for a permit, or has nothing to do.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

const FOREVER: usize = 1 << 20;

#[tokio::test]
async fn what_is_marked_is_synced_and_told() {
    let (env, committer) = fake(FOREVER);
    let [log] = members(&env, ["a"]);
    let end = log.append(&committer).unwrap();
    log.durable(end).await;
    assert_eq!(env.synced(), ["a"]);
    assert_eq!(committer.counts(), Counts { rounds: 1, members: 1 });
}

#[tokio::test]
async fn while_one_sync_runs_the_next_one_gathers() {
    let (env, committer) = fake(0);
    let [a, b] = members(&env, ["a", "b"]);
    a.append(&committer).unwrap();
    env.settle().await;
    for _ in 0..1000 {
        a.append(&committer).unwrap();
        b.append(&committer).unwrap();
    }
    assert_eq!(a.state.lock().unwrap().durable_end, Offset(0), "the first sync is under way");
    env.disk.0.permits.add_permits(1);
    a.durable(Offset(1)).await;
    assert_eq!(a.state.lock().unwrap().durable_end, Offset(1), "what came later is not covered");
    env.disk.0.permits.add_permits(2);
    a.durable(Offset(1001)).await;
    b.durable(Offset(1000)).await;
    assert_eq!(env.synced(), ["a", "a", "b"]);
    assert_eq!(committer.counts(), Counts { rounds: 2, members: 3 });
    assert_eq!(a.state.lock().unwrap().begun, 2, "marked once however often it asked");
}

#[tokio::test]
async fn connections_that_are_ready_append_before_the_sync_begins() {
    let (env, committer) = fake(FOREVER);
    let logs = members(&env, ["a", "b", "c"]);
    let tasks = logs.clone().map(|log| {
        let committer = committer.clone();
        tokio::spawn(async move {
            let end = log.append(&committer).unwrap();
            log.durable(end).await;
        })
    });
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(committer.counts(), Counts { rounds: 1, members: 3 });
}

#[tokio::test]
async fn few_are_synced_one_by_one_and_many_all_at_once() {
    let (env, committer) = fake(FOREVER);
    let [a, b, c] = members(&env, ["a", "b", "c"]);
    for log in [&a, &b] {
        log.append(&committer).unwrap();
    }
    b.durable(Offset(1)).await;
    assert_eq!(env.synced(), ["a", "b"]);
    for log in [&a, &b, &c] {
        log.append(&committer).unwrap();
    }
    c.durable(Offset(1)).await;
    assert_eq!(env.synced(), ["all /data"]);
}

#[tokio::test]
async fn directories_are_synced_once_with_the_files() {
    let (env, committer) = fake(FOREVER);
    let logs = members(&env, ["a", "b"]).map(|mut log| {
        Arc::get_mut(&mut log).unwrap().directory = Some("/data/new".into());
        log
    });
    let [a, b] = &logs;
    a.append(&committer).unwrap();
    a.durable(Offset(1)).await;
    assert_eq!(env.synced(), ["a", "dir /data/new"]);
    a.append(&committer).unwrap();
    b.append(&committer).unwrap();
    b.durable(Offset(1)).await;
    assert_eq!(env.synced(), ["all /data"]);
}

#[tokio::test]
async fn a_failed_sync_takes_the_directory_offline_for_good() {
    let (env, committer) = fake(0);
    let [covered, queued, timed, late] = members(&env, ["covered", "queued", "timed", "late"]);
    env.disk.0.fails.store(true, Ordering::SeqCst);
    covered.append(&committer).unwrap();
    env.settle().await;
    queued.append(&committer).unwrap();
    committer.mark_by(&timed, env.clock().now().after(Duration::from_secs(3600))).unwrap();
    assert!(committer.offline().is_none());
    env.disk.0.permits.add_permits(FOREVER);
    let offline = committer.ended().await.unwrap();
    assert_eq!(offline.to_string(), "log directory /data is offline: the device is gone");
    for log in [&covered, &queued, &timed] {
        let state = log.state.lock().unwrap();
        assert_eq!((state.failed, state.durable_end), (1, Offset(0)));
    }
    env.disk.0.fails.store(false, Ordering::SeqCst);
    for log in [&covered, &late] {
        assert!(log.append(&committer).is_err());
        assert!(committer.mark_by(log, Instant::default()).is_err());
    }
    assert!(committer.close().await.is_err());
    assert_eq!(env.synced(), ["covered"], "never retried");
}

#[tokio::test]
async fn a_failed_write_takes_the_directory_offline_too() {
    let (env, committer) = fake(FOREVER);
    let [log] = members(&env, ["a"]);
    committer.fail(io::ErrorKind::StorageFull.into());
    let offline = committer.ended().await.unwrap();
    assert_eq!(offline.error.kind(), io::ErrorKind::StorageFull);
    assert!(log.append(&committer).is_err());
    assert_eq!(env.synced(), [""; 0]);
}

#[tokio::test]
async fn a_mark_for_later_is_carried_out_in_time_and_not_before() {
    let (env, committer) = fake(FOREVER);
    let [log] = members(&env, ["a"]);
    log.state.lock().unwrap().end = Offset(1);
    let deadline = env.clock().now().after(Duration::from_millis(20));
    committer.mark_by(&log, deadline).unwrap();
    committer.mark_by(&log, Instant::default()).unwrap();
    env.settle().await;
    assert_eq!(env.synced(), [""; 0], "the first deadline counts");
    log.durable(Offset(1)).await;
    assert!(env.clock().now() >= deadline);
    log.state.lock().unwrap().end = Offset(2);
    committer.mark_by(&log, env.clock().now()).unwrap();
    log.durable(Offset(2)).await;
    assert_eq!(env.synced(), ["a", "a"]);
}

#[tokio::test]
async fn closing_syncs_what_is_marked_now_or_for_later() {
    let (env, committer) = fake(FOREVER);
    let [now, later] = members(&env, ["now", "later"]);
    later.state.lock().unwrap().end = Offset(1);
    committer.mark_by(&later, env.clock().now().after(Duration::from_secs(3600))).unwrap();
    now.append(&committer).unwrap();
    committer.close().await.unwrap();
    assert_eq!(env.synced(), ["now", "later"]);
    let error = now.append(&committer).unwrap_err();
    assert!(error.to_string().ends_with("the commit loop was closed"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_append_becomes_durable_on_a_real_disk() {
    let env = TokioEnv::new(tokio::runtime::Handle::current());
    let dir = tempfile::tempdir().unwrap();
    let committer = Committer::start(&env, dir.path(), Uuid([7; 16]));
    let logs: Vec<_> = (0..6)
        .map(|n| {
            let file = env.disk().open(&dir.path().join(n.to_string()), Open::New).unwrap();
            Member::<TokioEnv>::new(file)
        })
        .collect();
    let tasks: Vec<_> = logs
        .iter()
        .map(|log| {
            let (log, committer) = (log.clone(), committer.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    log.file.write_at(n, &[io::IoSlice::new(b"x")]).unwrap();
                    let end = log.append(&committer).unwrap();
                    log.durable(end).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    committer.close().await.unwrap();
    assert!(logs.iter().all(|log| log.state.lock().unwrap().durable_end == Offset(50)));
    assert_eq!(committer.counts().members, 300);
    assert!(committer.counts().rounds < 300, "commits are shared");
}
