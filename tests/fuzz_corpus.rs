//! Replays the corpora of the fuzz targets, so that what fuzzing once found stays found.

use std::fs;
use std::path::Path;

use crate::fuzz::TARGETS;

#[test]
fn every_corpus_passes_its_target() {
    for (name, run) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut seeds = 0;
        for entry in fs::read_dir(&corpus).unwrap() {
            let path = entry.unwrap().path();
            // Shown only when the test fails, and then the last line names the culprit.
            println!("{}", path.display());
            run(&fs::read(&path).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{} is empty", corpus.display());
    }
}
