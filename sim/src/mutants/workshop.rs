//! Where mutants are made: one copy of the tree and one build directory for all of them, so that
//! only what a patch touches is compiled again.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Mutant;

/// In the repository, which is the current directory.
pub const PATCHES_DIR: &str = "sim/mutants";
const WORKSHOP_DIR: &str = "target/mutants";

/// Lines of the compiler's words that are shown when it refuses.
const COMPLAINT_LINES: usize = 40;

/// Settings that make a mutant sooner than they slow it down.
const PROFILE: [&str; 3] = [
    "profile.sim.debug=false",
    "profile.sim.package.ottla.opt-level=1",
    "profile.sim.package.ottla.codegen-units=256",
];

pub struct Workshop {
    /// Absolute: the compiler works in the copy.
    dir: PathBuf,
}

/// All mutants of `dir`, in the order of their names.
pub fn read_all(dir: &Path) -> Result<Vec<Mutant>, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension() == Some(OsStr::new("patch"))).collect();
    paths.sort();
    paths.iter().map(|path| read(path, Mutant::parse)).collect()
}

/// A patch from elsewhere.
pub fn read_bare(path: &Path) -> Result<Mutant, String> {
    read(path, |name, text| Ok(Mutant::bare(name, text)))
}

fn read(
    path: &Path,
    parse: impl Fn(&str, &str) -> Result<Mutant, String>,
) -> Result<Mutant, String> {
    let told = |error: String| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(&name, &text).map_err(told)
}

impl Workshop {
    pub fn open() -> Result<Workshop, String> {
        let opened = || {
            fs::create_dir_all(Path::new(WORKSHOP_DIR).join("tree"))?;
            fs::create_dir_all(Path::new(WORKSHOP_DIR).join("runs"))?;
            fs::canonicalize(WORKSHOP_DIR)
        };
        let dir = opened().map_err(|error| format!("no place for mutants: {error}"))?;
        Ok(Workshop { dir })
    }

    /// Where the runs of a mutant leave their remains.
    pub fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    /// Builds the simulator around the broker as `patch` makes it.
    pub fn build(&self, patch: &str) -> Result<PathBuf, String> {
        self.restore().map_err(|error| format!("the tree cannot be copied: {error}"))?;
        self.apply(patch)?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(self.dir.join("tree")).env("CARGO_INCREMENTAL", "1");
        cargo.args(["build", "--quiet", "--config", "sim/cargo-sim.toml", "--profile", "sim"]);
        cargo.args(["-p", "ottla-sim", "--target-dir"]).arg(self.dir.join("build"));
        cargo.args(PROFILE.iter().flat_map(|setting| ["--config", setting]));
        let output = cargo.output().map_err(|error| format!("cargo does not run: {error}"))?;
        succeeded(&output).map_err(|why| format!("it does not compile:\n{why}"))?;
        Ok(self.dir.join("build/sim/ottla-sim"))
    }

    fn apply(&self, patch: &str) -> Result<(), String> {
        let mut git = Command::new("git");
        // The copy lies inside a repository, whose paths are not meant.
        git.current_dir(self.dir.join("tree")).env("GIT_CEILING_DIRECTORIES", &self.dir);
        git.args(["apply", "--whitespace=nowarn", "-"]);
        git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let applied = git.spawn().and_then(|mut child| {
            let mut stdin = child.stdin.take().expect("it was asked for");
            stdin.write_all(patch.as_bytes())?;
            drop(stdin);
            child.wait_with_output()
        });
        let output = applied.map_err(|error| format!("git does not run: {error}"))?;
        succeeded(&output).map_err(|why| format!("the patch no longer applies:\n{why}"))
    }

    /// Makes the copy what the tree is now, and writes only what differs: everything else counts
    /// as built.
    fn restore(&self) -> std::io::Result<()> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let is_there = |path: &&str| !path.is_empty() && Path::new(path).is_file();
        let ours: BTreeSet<&Path> = listed.split('\0').filter(is_there).map(Path::new).collect();
        let tree = self.dir.join("tree");
        for path in files_below(&tree)? {
            let within = path.strip_prefix(&tree).expect("found below it");
            if !ours.contains(within) {
                fs::remove_file(&path)?;
            }
        }
        for path in ours {
            let (wanted, copy) = (fs::read(path)?, tree.join(path));
            if fs::read(&copy).is_ok_and(|found| found == wanted) {
                continue;
            }
            fs::create_dir_all(copy.parent().expect("it is below the tree"))?;
            fs::write(&copy, wanted)?;
        }
        Ok(())
    }
}

fn succeeded(output: &Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().take(COMPLAINT_LINES).collect();
    Err(lines.join("\n"))
}

fn files_below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(dir)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
