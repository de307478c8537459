//! Replays the corpora of the fuzz targets, so that what fuzzing once found stays found, and a few
//! damaged copies of each seed, so that the ordinary tests fuzz a little too.

use std::fs;
use std::path::{Path, PathBuf};

use crate::codec_hostile::damage;
use crate::fuzz::TARGETS;
use crate::wire_bytes::Draw;

const DAMAGED_COPIES: usize = 20;

#[test]
fn every_corpus_passes_its_target() {
    for (name, run) in TARGETS {
        for seed in seeds(name) {
            // Shown only when the test fails, and then the last line names the culprit.
            println!("{}", seed.display());
            run(&fs::read(&seed).unwrap());
        }
    }
}

#[test]
fn damaged_copies_of_every_corpus_pass_its_target() {
    let mut draw = Draw(4);
    for (name, run) in TARGETS {
        for seed in seeds(name) {
            let bytes = fs::read(&seed).unwrap();
            for copy in 0..DAMAGED_COPIES {
                println!("{}, copy {copy}", seed.display());
                let mut bytes = bytes.clone();
                damage(&mut bytes, &mut draw);
                run(&bytes);
            }
        }
    }
}

/// In an order that is the same everywhere; there must be some.
fn seeds(target: &str) -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&corpus).unwrap();
    let mut seeds: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!seeds.is_empty(), "{} is empty", corpus.display());
    seeds.sort();
    seeds
}
