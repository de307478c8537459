//! The bugs that the simulator plants (`sim/mutants`) are patches to `src`, and follow it: whoever
//! moves the code under one of them brings it along.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_planted_bug_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join("sim/mutants")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let patches: Vec<PathBuf> =
        paths.filter(|path| path.extension() == Some(OsStr::new("patch"))).collect();
    assert!(!patches.is_empty(), "sim/mutants holds no patch");
    for patch in patches {
        let mut git = Command::new("git");
        let output = git.current_dir(root).args(["apply", "--check"]).arg(&patch).output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} no longer applies:\n{why}", patch.display());
    }
}
