//! Without faults the disk behaves like a real file system; each fault does what it says.

#![allow(clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use madsim::runtime::{Handle, Runtime};
use ottla::env::disk::{Disk, File, Open};

use super::faults::{Fault, Reason};
use super::loss::Persona;
use super::{NodeDisk, SimDisk, SimFile, Temper, files_below};
use crate::agenda::Agenda;
use crate::chance::{Chance, Subsystem};
use crate::clock::NodeClock;
use crate::trace::Trace;

const CAPACITY_BYTES: u64 = 64 << 20;

fn with_disk<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(NodeDisk) -> F) {
    Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(async {
        let host = Handle::current().create_node().name("fabric").build();
        let agenda = Agenda::start(&host);
        let chance = |subsystem| Chance::stream(seed, subsystem, 0, 0);
        let clock = NodeClock::new(agenda.clone(), 0, 0, chance(Subsystem::Clock));
        let trace = Arc::new(Trace::default());
        let drawn = chance(Subsystem::Disk);
        test(NodeDisk::new("disk", agenda, trace, clock, CAPACITY_BYTES, drawn)).await;
    });
}

fn write(file: &SimFile, at: u64, data: &[u8]) -> io::Result<()> {
    file.write_at(at, &[IoSlice::new(data)])
}

/// The whole file as processes see it.
fn content(node: &NodeDisk, path: &str) -> Option<Vec<u8>> {
    node.with_volume(|volume| {
        let ino = volume.find(Path::new(path))?;
        Some(volume.image(ino).to_vec())
    })
}

/// What is left to chance, another each time.
fn drawn(node: &NodeDisk) -> Chance {
    Chance::stream(node.state().chance.draw(), Subsystem::Fault, 0, 0)
}

fn reboot(node: &NodeDisk, persona: Persona) -> SimDisk {
    node.power_loss(persona, &mut drawn(node));
    let last = node.state().last_incarnation;
    node.boot(last + 1)
}

// Against a real file system.

struct Both {
    sim: SimDisk,
    root: PathBuf,
    open: BTreeMap<usize, (SimFile, fs::File)>,
    chance: Chance,
}

impl Both {
    fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap())
    }

    /// Few names, so that they meet.
    fn path(&mut self) -> PathBuf {
        let mut path = PathBuf::from("/");
        for _ in 0..self.chance.between(1..4) {
            path.push(self.chance.pick(&["a", "b", "c"]));
        }
        path
    }

    async fn step(&mut self, step: usize) {
        match self.chance.index(16) {
            0..=2 => self.open(step),
            3..=6 => self.write_or_cut(),
            7..=9 => self.read().await,
            10 => {
                let (path, other) = (self.path(), self.path());
                let real = fs::rename(self.real(&path), self.real(&other));
                agree(step, self.sim.rename(&path, &other), real, "rename");
            }
            11 => {
                let path = self.path();
                agree(step, self.sim.remove(&path), fs::remove_file(self.real(&path)), "remove");
            }
            12 => {
                let path = self.path();
                let real = fs::create_dir_all(self.real(&path));
                agree(step, self.sim.create_dir_all(&path), real, "mkdir");
            }
            13 => {
                let path = self.path();
                // The real one deletes a file too; ours is asked for directories only.
                if !self.real(&path).is_file() {
                    let real = fs::remove_dir_all(self.real(&path));
                    agree(step, self.sim.remove_dir_all(&path), real, "remove all");
                }
            }
            14 => self.list(step),
            _ => drop(self.open.pop_first()),
        }
    }

    fn open(&mut self, step: usize) {
        let path = self.path();
        let how = *self.chance.pick(&[Open::Existing, Open::OrCreate, Open::New]);
        let sim = self.sim.open(&path, how);
        let mut options = fs::File::options();
        options.read(true).write(true);
        let real = match how {
            Open::Existing => &mut options,
            Open::OrCreate => options.create(true),
            Open::New => options.create_new(true),
        }
        .open(self.real(&path));
        if let (Ok(sim), Ok(real)) = (&sim, &real) {
            self.open.insert(step, (sim.clone(), real.try_clone().unwrap()));
        }
        agree(step, sim.map(drop), real.map(drop), "open");
    }

    fn pick_open(&mut self) -> Option<(SimFile, fs::File)> {
        let keys: Vec<_> = self.open.keys().copied().collect();
        let (sim, real) = self.open.get(keys.get(self.chance.index(keys.len().max(1)))?)?;
        Some((sim.clone(), real.try_clone().unwrap()))
    }

    fn write_or_cut(&mut self) {
        let Some((sim, real)) = self.pick_open() else { return };
        let at = self.chance.between(0..20_000);
        if self.chance.happens(0.2) {
            sim.set_len(at).unwrap();
            real.set_len(at).unwrap();
            return;
        }
        let mut data = vec![0; self.chance.index(6000)];
        self.chance.fill(&mut data);
        let (left, right) = data.split_at(data.len() / 3);
        sim.write_at(at, &[IoSlice::new(left), IoSlice::new(right)]).unwrap();
        real.write_all_at(&data, at).unwrap();
    }

    async fn read(&mut self) {
        let Some((sim, real)) = self.pick_open() else { return };
        assert_eq!(sim.len().unwrap(), real.metadata().unwrap().len());
        let at = self.chance.between(0..25_000);
        let mut expected = vec![0; self.chance.index(8000)];
        let len = real.read_at(&mut expected, at).unwrap();
        let read = sim.read_at(at, expected.len() as u32).await.unwrap();
        assert_eq!(read, expected[..len]);
        let mut into = BytesMut::from(&b"before"[..]);
        if let Some(some) = sim.try_read_at(at, expected.len() as u32, &mut into).unwrap() {
            assert!(some > 0 || len == 0);
            assert_eq!(into[6..], expected[..some as usize]);
        }
    }

    fn list(&mut self, step: usize) {
        let path = self.path();
        let real = fs::read_dir(self.real(&path)).map(|entries| {
            let named = |entry: io::Result<fs::DirEntry>| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), entry.path().is_dir())
            };
            let mut entries: Vec<_> = entries.map(named).collect();
            entries.sort();
            entries
        });
        assert_eq!(self.sim.exists(&path).unwrap(), self.real(&path).exists());
        let sim = self.sim.list(&path);
        if let (Ok(sim), Ok(real)) = (&sim, &real) {
            let sim: Vec<_> = sim.iter().map(|e| (e.name.clone(), e.is_dir)).collect();
            assert_eq!(&sim, real, "step {step}");
        }
        agree(step, sim.map(drop), real.map(drop), "list");
    }
}

fn agree(step: usize, sim: io::Result<()>, real: io::Result<()>, what: &str) {
    let kinds = |result: io::Result<()>| result.map_err(|error| error.kind());
    assert_eq!(kinds(sim), kinds(real), "step {step}: {what}");
}

#[test]
fn without_faults_it_behaves_like_a_real_file_system() {
    for seed in 0..6 {
        let root = tempfile::tempdir().unwrap();
        with_disk(seed, |node| async move {
            let chance = Chance::stream(seed, Subsystem::Workload, 0, 0);
            let (sim, open) = (node.boot(1), BTreeMap::new());
            let mut both = Both { sim, root: root.path().into(), open, chance };
            for step in 0..5000 {
                both.step(step).await;
            }
            drop(both);
            node.boot(2).sync_all(Path::new("/")).await.unwrap();
            let paths = node.with_volume(|volume| files_below(volume, Path::new("/")));
            for path in &paths {
                let real = fs::read(root.path().join(path.strip_prefix("/").unwrap())).unwrap();
                assert_eq!(content(&node, path.to_str().unwrap()), Some(real));
            }
            assert_eq!(node.with_volume(|volume| volume.files()), paths.len(), "no file leaked");
        });
    }
}

// Power loss and process crash.

#[test]
fn what_was_synced_survives_and_the_rest_may_not() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        with_disk(seed, |node| async move {
            let disk = node.boot(1);
            let file = disk.open(Path::new("/log"), Open::New).unwrap();
            write(&file, 0, &[1; 1000]).unwrap();
            file.sync().await.unwrap();
            disk.sync_dir(Path::new("/")).await.unwrap();
            write(&file, 1000, &[2; 5000]).unwrap();
            let persona = Persona::ALL[seed as usize % 4];
            reboot(&node, persona);
            let after = content(&node, "/log").unwrap();
            assert_eq!(after[..1000], [1; 1000], "synced bytes stay, even in a torn sector");
            match persona {
                Persona::Everything => assert_eq!(after[1000..], [2; 5000]),
                Persona::Nothing => assert_eq!(after.len(), 1000),
                Persona::InOrder => assert!(after[1000..].iter().all(|byte| *byte == 2)),
                Persona::Scattered => assert!(after.len() <= 6000),
            }
        });
    }
    for seed in 0..100 {
        let counts = std::cell::Cell::new((0, 0));
        with_disk(seed, |node| {
            let counts = &counts;
            async move {
                let disk = node.boot(1);
                let file = disk.open(Path::new("/log"), Open::New).unwrap();
                disk.sync_dir(Path::new("/")).await.unwrap();
                write(&file, 0, &[2; 100 * 512]).unwrap();
                reboot(&node, Persona::Scattered);
                let after = content(&node, "/log").unwrap();
                let kept = after.chunks(512).filter(|sector| sector.iter().all(|b| *b == 2));
                counts.set((kept.count(), 100));
            }
        });
        let (some, of) = counts.get();
        lost += usize::from(some == 0);
        kept += usize::from(0 < some && some < of);
    }
    assert!(lost > 5 && kept > 20, "all sectors lost {lost} times, some of them {kept} times");
}

#[test]
fn a_sync_does_not_cover_what_was_written_while_it_ran() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
        write(&file, 0, b"before").unwrap();
        let mut sync = std::pin::pin!(file.sync());
        std::future::poll_fn(|cx| {
            assert!(sync.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        write(&file, 6, b" and during").unwrap();
        sync.await.unwrap();
        reboot(&node, Persona::Nothing);
        assert_eq!(content(&node, "/log").unwrap(), b"before");
    });
}

#[test]
fn names_need_a_sync_of_their_directory() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        write(&file, 0, b"data").unwrap();
        file.sync().await.unwrap();
        let disk = reboot(&node, Persona::Nothing);
        assert!(!disk.exists(Path::new("/log")).unwrap(), "a file sync keeps no name");

        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        write(&file, 0, b"data").unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
        reboot(&node, Persona::Nothing);
        assert_eq!(content(&node, "/log").unwrap(), b"", "a directory sync keeps no data");
    });
}

#[test]
fn sync_all_covers_names_and_data() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        disk.create_dir_all(Path::new("/a/b")).unwrap();
        write(&disk.open(Path::new("/a/b/log"), Open::New).unwrap(), 0, b"data").unwrap();
        disk.sync_all(Path::new("/a")).await.unwrap();
        reboot(&node, Persona::Nothing);
        assert_eq!(content(&node, "/a/b/log").unwrap(), b"data");
    });
}

#[test]
fn a_process_crash_keeps_the_page_cache_and_kills_the_handles() {
    with_disk(1, |node| async move {
        let old = node.boot(1);
        let file = old.open(Path::new("/log"), Open::New).unwrap();
        let lock = old.lock(Path::new("/.lock")).unwrap();
        assert_eq!(old.lock(Path::new("/.lock")).err().unwrap().kind(), ErrorKind::WouldBlock);
        write(&file, 0, b"cached").unwrap();
        node.process_crash();
        let new = node.boot(2);
        assert_eq!(content(&node, "/log").unwrap(), b"cached");
        write(&file, 0, b"ghosts").unwrap_err();
        assert!(old.remove(Path::new("/log")).is_err());
        let relocked = new.lock(Path::new("/.lock")).unwrap();
        drop(lock);
        assert!(new.lock(Path::new("/.lock")).is_err(), "a ghost releases nothing");
        drop(relocked);
        new.lock(Path::new("/.lock")).unwrap();
        assert_eq!(content(&node, "/log").unwrap(), b"cached");
    });
}

// Injected faults.

#[test]
fn a_failed_sync_leaves_clean_pages_that_are_not_on_the_disk() {
    let (mut damaged, mut evicted) = (0, 0);
    for seed in 0..50 {
        let counts = std::cell::Cell::new((0, 0));
        with_disk(seed, |node| {
            let counts = &counts;
            async move {
                let disk = node.boot(1);
                let file = disk.open(Path::new("/log"), Open::New).unwrap();
                disk.sync_dir(Path::new("/")).await.unwrap();
                write(&file, 0, &[1; 5000]).unwrap();
                node.arm(Fault::FailSync, None, drawn(&node));
                // Both kinds of sync are refused and lie afterwards.
                if seed % 2 == 0 {
                    file.sync().await.unwrap_err();
                    file.sync().await.expect("the retry lies");
                } else {
                    disk.sync_all(Path::new("/")).await.unwrap_err();
                    file.sync().await.expect_err("its holder is told, once");
                    disk.sync_all(Path::new("/")).await.expect("the retry lies");
                }
                assert_eq!(node.reasons(), [Reason::Error].into());
                assert_eq!(file.len().unwrap(), 5000);
                let evicted = content(&node, "/log").unwrap() != [1; 5000];
                write(&file, 5000, &[2; 10]).unwrap();
                file.sync().await.unwrap();
                reboot(&node, Persona::Everything);
                let after = content(&node, "/log").unwrap();
                assert_eq!(after[5000..], [2; 10], "what is written later is written");
                counts.set((usize::from(after[..5000] != [1; 5000]), usize::from(evicted)));
            }
        });
        damaged += counts.get().0;
        evicted += counts.get().1;
    }
    assert!(damaged > 10, "only {damaged} of 50 lost data");
    assert!(0 < evicted && evicted < damaged, "{evicted} of 50 read back the old bytes at once");
}

#[test]
fn a_failed_sync_is_healed_by_writing_again() {
    for seed in 0..50 {
        with_disk(seed, |node| async move {
            let disk = node.boot(1);
            let file = disk.open(Path::new("/log"), Open::New).unwrap();
            disk.sync_dir(Path::new("/")).await.unwrap();
            write(&file, 0, &[1; 5000]).unwrap();
            node.arm(Fault::FailSync, None, drawn(&node));
            file.sync().await.unwrap_err();
            write(&file, 0, &[1; 5000]).unwrap();
            file.sync().await.unwrap();
            reboot(&node, Persona::Nothing);
            assert_eq!(content(&node, "/log").unwrap(), [1; 5000]);
        });
    }
}

#[test]
fn evicted_pages_show_what_the_disk_holds() {
    let mut unmasked = 0;
    for seed in 0..50 {
        let seen = std::cell::Cell::new(false);
        with_disk(seed, |node| {
            let seen = &seen;
            async move {
                let disk = node.boot(1);
                let file = disk.open(Path::new("/log"), Open::New).unwrap();
                disk.sync_dir(Path::new("/")).await.unwrap();
                write(&file, 0, &[1; 5000]).unwrap();
                node.arm(Fault::FailSync, None, drawn(&node));
                file.sync().await.unwrap_err();
                write(&file, 5000, &[2; 10]).unwrap();
                file.evict().unwrap();
                let shown = content(&node, "/log").unwrap();
                assert_eq!(shown[5000..], [2; 10], "what is not synced stays");
                seen.set(shown[..5000] != [1; 5000]);
                reboot(&node, Persona::Everything);
                assert_eq!(content(&node, "/log").unwrap(), shown);
            }
        });
        unmasked += usize::from(seen.get());
    }
    assert!(unmasked > 10, "only {unmasked} of 50 failures showed");
}

#[test]
fn each_error_strikes_the_call_that_it_is_meant_for_once() {
    with_disk(1, |node| async move {
        let (disk, root) = (node.boot(1), Path::new("/"));
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        for fault in [Fault::FailOpen, Fault::FailRead, Fault::FailSyncDir] {
            node.arm(fault, None, drawn(&node));
        }
        write(&file, 0, b"data").unwrap();
        file.sync().await.unwrap();
        let eio = Some(super::eio().raw_os_error());
        let codes = |result: io::Result<()>| result.err().map(|error| error.raw_os_error());
        let opened = || disk.open(Path::new("/log"), Open::Existing).map(drop);
        assert_eq!([codes(opened()), codes(opened())], [eio, None]);
        assert_eq!(codes(file.read_at(0, 4).await.map(drop)), eio);
        assert_eq!(codes(file.read_at(0, 4).await.map(drop)), None);
        assert_eq!(codes(disk.sync_dir(root).await), eio);
        assert_eq!(codes(disk.sync_dir(root).await), None);
        assert_eq!(node.reasons(), [Reason::Error].into());
        node.process_crash();
        node.boot(2);
        assert!(node.reasons().is_empty(), "the next process was told nothing");
    });
}

#[test]
fn a_process_runs_out_of_files_and_gets_them_back() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let _log = disk.open(Path::new("/log"), Open::New).unwrap();
        node.limit_files(Some(1));
        let open = || disk.open(Path::new("/other"), Open::OrCreate);
        let other = open().unwrap();
        assert_eq!(open().err().unwrap().raw_os_error(), Some(24), "EMFILE");
        drop(other);
        open().unwrap();
        assert_eq!(node.reasons(), [Reason::NoFiles].into());
        let _third = open().unwrap();
        node.limit_files(None);
        open().unwrap();
    });
}

#[test]
fn a_lost_write_reads_back_until_the_power_fails() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        disk.create_dir_all(Path::new("/a")).unwrap();
        let files = ["/a/log", "/log"].map(|path| disk.open(Path::new(path), Open::New).unwrap());
        node.arm(Fault::LoseWrite, Some(Path::new("/a")), drawn(&node));
        for file in [&files[1], &files[0]] {
            write(file, 0, b"first ").unwrap();
            write(file, 6, b"second").unwrap();
        }
        disk.sync_all(Path::new("/")).await.unwrap();
        assert_eq!(content(&node, "/a/log").unwrap(), b"first second");
        reboot(&node, Persona::Nothing);
        assert_eq!(content(&node, "/a/log").unwrap(), b"\0\0\0\0\0\0second");
        assert_eq!(content(&node, "/log").unwrap(), b"first second", "in the other directory");
    });
}

#[test]
fn the_fate_of_a_power_loss_is_its_faults_own() {
    // Whatever was drawn from the disk's stream before.
    let lost = |draws: u32| {
        let left = std::cell::RefCell::new(vec![]);
        with_disk(1, |node| {
            let left = &left;
            async move {
                let disk = node.boot(1);
                let file = disk.open(Path::new("/log"), Open::New).unwrap();
                disk.sync_dir(Path::new("/")).await.unwrap();
                for _ in 0..draws {
                    file.sync().await.unwrap();
                }
                write(&file, 0, &[1; 9000]).unwrap();
                let mut chance = Chance::stream(1, Subsystem::Fault, 3, 0);
                node.power_loss(Persona::Scattered, &mut chance);
                *left.borrow_mut() = content(&node, "/log").unwrap();
            }
        });
        left.into_inner()
    };
    assert_eq!(lost(0), lost(5));
}

#[test]
fn a_failed_write_may_be_carried_out_in_part() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        node.arm(Fault::FailWrite, None, drawn(&node));
        let error = write(&file, 0, &[1; 5000]).unwrap_err();
        assert_eq!(error.raw_os_error(), super::eio().raw_os_error());
        assert!(file.len().unwrap() < 5000);
        write(&file, 0, &[1; 5000]).expect("it strikes once");
    });
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        node.set_capacity(10 * 4096);
        let error = write(&file, 0, &[1; 100_000]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 10 * 4096, "a part was stored");
        assert_eq!(disk.space(Path::new("/")).unwrap().usable_bytes, 0);
        assert_eq!(
            disk.open(Path::new("/new"), Open::New).err().unwrap().kind(),
            ErrorKind::StorageFull
        );
        assert_eq!(node.reasons(), [Reason::NoSpace].into());
        write(&file, 0, &[2; 4096]).expect("pages that exist can be rewritten");
        file.set_len(0).unwrap();
        write(&file, 0, &[1; 4096]).expect("space came back");
    });
}

#[test]
fn a_stall_holds_the_calls_that_wait_and_slowness_stretches_them() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        let begun = node.agenda.now();
        node.stall(Duration::from_secs(7));
        write(&file, 0, b"inline").unwrap();
        file.sync().await.unwrap();
        assert!(node.agenda.now() - begun >= Duration::from_secs(7));

        let begun = node.agenda.now();
        node.set_temper(Temper { slowness: 100, ..Temper::default() });
        file.sync().await.unwrap();
        assert!(node.agenda.now() - begun >= Duration::from_millis(10));
    });
}

#[test]
fn rot_sticks_and_a_flipped_read_does_not() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        write(&file, 0, &[0; 3000]).unwrap();
        assert_eq!(node.rot(Path::new("/log"), &mut drawn(&node)), None, "nothing is durable");
        disk.sync_all(Path::new("/")).await.unwrap();
        node.arm(Fault::FlipRead, None, drawn(&node));
        let flipped = |data: &[u8]| data.iter().map(|byte| byte.count_ones()).sum::<u32>();
        assert_eq!(flipped(&file.read_at(0, 3000).await.unwrap()), 1);
        assert_eq!(flipped(&file.read_at(0, 3000).await.unwrap()), 0);
        node.rot(Path::new("/log"), &mut drawn(&node)).unwrap();
        assert_eq!(flipped(&file.read_at(0, 3000).await.unwrap()), 1);
        assert_eq!(flipped(&file.read_at(0, 3000).await.unwrap()), 1);
    });
}

#[test]
fn reads_after_a_power_loss_wait_for_the_device() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        let file = disk.open(Path::new("/log"), Open::New).unwrap();
        write(&file, 0, b"data").unwrap();
        disk.sync_all(Path::new("/")).await.unwrap();
        let disk = reboot(&node, Persona::Nothing);
        let file = disk.open(Path::new("/log"), Open::Existing).unwrap();
        assert_eq!(file.try_read_at(0, 4, &mut BytesMut::new()).unwrap(), None);
        assert_eq!(file.read_at(0, 4).await.unwrap(), "data");
        let mut warm = 0;
        for _ in 0..100 {
            warm += usize::from(file.try_read_at(0, 4, &mut BytesMut::new()).unwrap().is_some());
        }
        assert!(warm > 80, "a warm file answers at once, mostly: {warm} of 100");
    });
}

#[test]
fn moments_open_with_the_calls_that_make_them() {
    use crate::plan::fault::Window;
    use std::sync::Mutex;
    with_disk(1, |node| async move {
        let seen = Arc::new(Mutex::new(vec![]));
        let disk = node.boot(1);
        let watch = || {
            for window in Window::ALL {
                let seen = seen.clone();
                node.moments().next(window, move || seen.lock().unwrap().push(window));
            }
        };
        let told = || {
            node.moments().close();
            std::mem::take(&mut *seen.lock().unwrap())
        };
        watch();
        let file = disk.open(Path::new("/1.log"), Open::New).unwrap();
        assert_eq!(told(), [Window::Renaming]);
        watch();
        write(&file, 0, b"data").unwrap();
        assert_eq!(told(), [Window::Unsynced]);
        watch();
        file.sync().await.unwrap();
        assert_eq!(told(), [Window::Syncing]);
        watch();
        write(&disk.open(Path::new("/state.tmp"), Open::New).unwrap(), 0, b"new").unwrap();
        disk.rename(Path::new("/state.tmp"), Path::new("/state")).unwrap();
        assert_eq!(told(), [Window::Replacing]);
    });
}

#[test]
fn a_wiped_disk_is_empty() {
    with_disk(1, |node| async move {
        let disk = node.boot(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_all(Path::new("/")).await.unwrap();
        node.power_loss(Persona::Everything, &mut drawn(&node));
        node.wipe();
        assert_eq!(node.boot(2).list(Path::new("/")).unwrap(), []);
    });
}
