//! Rules the compiler cannot hold us to. Each failure names the file and says what to do.
//!
//! Only code counts: comments are stripped, and so are the tests at the end of a file, which may
//! stand on the real world.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 800;

/// Lowest first. A module may import itself and what stands in a higher line of this list, but
/// not its neighbours: they meet only in the layers below and above them.
const LAYERS: &[&[&str]] = &[
    &["types", "metrics"],
    &["env", "protocol", "config"],
    &["log", "metadata", "client"],
    &["quorum"],
    &["partition", "controller", "coordinator"],
    &["broker"],
    &["api"],
    &["server"],
];

/// Lower, and yet none of its business.
const STRANGERS: &[(&str, &str, &str)] = &[
    ("quorum", "metadata", "the quorum does not know what a record means"),
    ("controller", "broker", "the controller speaks in metadata records alone"),
];

/// Pure files and folders: given the same events they do the same thing, for ever.
const PURE: &[&str] = &[
    "api/error.rs",
    "broker/fetch_sessions.rs",
    "config",
    "config.rs",
    "controller/bootstrap.rs",
    "controller/brokers.rs",
    "controller/configs.rs",
    "controller/features.rs",
    "controller/leaders.rs",
    "controller/operation.rs",
    "controller/partitions.rs",
    "controller/placement.rs",
    "controller/producer_ids.rs",
    "controller/refusal.rs",
    "controller/topics.rs",
    "log/checkpoint.rs",
    "log/epochs.rs",
    "log/name.rs",
    "log/producers.rs",
    "log/properties.rs",
    "log/retention.rs",
    "log/snapshot.rs",
    "log/text.rs",
    "log/transactions.rs",
    "metadata/apply.rs",
    "metadata/delta.rs",
    "metadata/image.rs",
    "metadata/kept.rs",
    "metadata/map.rs",
    "metadata/record.rs",
    "metadata/replay.rs",
    "metadata/snapshot.rs",
    "metadata/topic.rs",
    "partition/replica.rs",
    "partition/waiters.rs",
    "protocol",
    "protocol.rs",
    "quorum/control.rs",
    "quorum/progress.rs",
    "quorum/raft",
    "quorum/raft.rs",
    "quorum/state.rs",
    "quorum/voters.rs",
    "types.rs",
];

/// What a pure file has no use for, and what it takes instead.
const BANNED_IN_PURE: &[(&str, &str)] = &[
    ("async", "an event that comes in, an effect that goes out"),
    ("await", "an event that comes in, an effect that goes out"),
    ("crate::env", "`now` and chance as arguments"),
    ("HashMap", "BTreeMap: its order is the same everywhere"),
    ("HashSet", "BTreeSet: its order is the same everywhere"),
    ("Mutex", "an owner, who calls"),
    ("RwLock", "an owner, who calls"),
    ("tracing", "effects, which the driver may log"),
];

/// Only `env/tokio` and the binary touch the real world.
const BANNED: &[(&str, &str)] = &[
    ("std::fs", "env::disk"),
    ("std::thread", "Env::spawn or Env::offload"),
    ("std::process", "an error that the command line turns into an exit code"),
    ("std::env", "config: the command line reads the environment"),
    ("TcpStream", "env::net"),
    ("TcpListener", "env::net"),
    ("UdpSocket", "env::net"),
    ("ToSocketAddrs", "Net::resolve"),
    ("SystemTime", "Clock::wall_ms"),
    ("Instant::now", "Clock::now"),
    ("std::time::Instant", "types::Instant"),
    ("tokio::time", "env::clock"),
    ("tokio::net", "env::net"),
    ("tokio::fs", "env::disk"),
    ("tokio::spawn", "Env::spawn"),
    ("tokio::task", "Env::spawn or Env::offload"),
    ("tokio::signal", "the command line"),
    ("rand", "Env::random_u64"),
    ("madsim", "a trait in env: src never knows that it is simulated"),
    ("cfg(madsim)", "a trait in env: src never knows that it is simulated"),
    ("println!", "tracing"),
    ("eprintln!", "tracing"),
];

/// Nothing that differs from process to process, in the broker as in the simulator around it.
const BANNED_EVERYWHERE: &[(&str, &str)] = &[
    ("HashMap", "BTreeMap: its order is the same in every process"),
    ("HashSet", "BTreeSet: its order is the same in every process"),
    ("hashbrown", "BTreeMap: its order is the same in every process"),
    ("ahash", "BTreeMap: its order is the same in every process"),
    ("DefaultHasher", "a hash of our own, the same in every process"),
    ("RandomState", "a hash of our own, the same in every process"),
    ("thread_rng", "Env::random_u64, or Chance in the simulator"),
    ("getrandom", "Env::random_u64, or Chance in the simulator"),
    ("fastrand", "Env::random_u64, or Chance in the simulator"),
    ("futures::select", "tokio::select! with `biased;`"),
    ("select_all", "a loop that polls in order"),
    ("select_ok", "a loop that polls in order"),
    ("FuturesUnordered", "a loop that polls in order"),
    ("JoinSet", "Env::spawn and a channel"),
    ("available_parallelism", "an option, or an argument"),
    ("ThreadId", "nothing: who runs a task is nobody's business"),
];

/// A simulated run has one clock, one chance, one order of things: those of its world.
const BANNED_IN_RUNS: &[(&str, &str)] = &[
    ("std::fs", "the simulated disk"),
    ("TcpStream", "the simulated network"),
    ("TcpListener", "the simulated network"),
    ("UdpSocket", "the simulated network"),
    ("ToSocketAddrs", "the simulated network"),
    ("std::env", "the plan"),
    ("std::process", "commands.rs: a run is inside one process"),
    ("std::thread", "a task of the simulated process"),
    ("SystemTime", "the agenda, or a node's clock"),
    ("Instant::now", "the agenda, or a node's clock"),
    ("std::time::Instant", "the agenda, or a node's clock"),
    ("tokio::time", "the agenda"),
    ("tokio::net", "the simulated network"),
    ("tokio::fs", "the simulated disk"),
    ("tokio::spawn", "a task of the simulated process"),
    ("tokio::task", "a task of the simulated process"),
    ("rand", "Chance"),
];

/// These stand around the runs, in the real world.
const AROUND_RUNS: &[&str] = &[
    "sim/src/commands",
    "sim/src/main.rs",
    "sim/src/mutants",
    "sim/src/record",
    // It gives the run its thread.
    "sim/src/run.rs",
];

/// Nothing of these is left behind, in any of our code.
const LEFTOVERS: &[&str] = &["todo!", "unimplemented!", "dbg!", "FIXME", "#[ignore", "TODO"];

#[test]
fn imports_point_downward() {
    for source in sources("src") {
        let module = source.module();
        let Some(layer) = layer_of(&module) else { continue };
        for target in source.imports() {
            let Some(target_layer) = layer_of(&target) else { continue };
            assert!(
                target == module || target_layer < layer,
                "{}: `{module}` may not import `{target}`, which stands beside or above it",
                source.name()
            );
            for (from, to, why) in STRANGERS {
                assert!(
                    (module.as_str(), target.as_str()) != (*from, *to),
                    "{}: {why}",
                    source.name()
                );
            }
        }
    }
}

#[test]
fn every_module_has_a_layer() {
    for source in sources("src") {
        let module = source.module();
        assert!(
            layer_of(&module).is_some() || ["lib", "main", "cli"].contains(&module.as_str()),
            "{}: say in tests/tidy.rs which layer `{module}` is",
            source.name()
        );
    }
}

#[test]
fn the_world_is_reached_through_env() {
    for source in sources("src").filter(|source| !source.may_touch_the_world()) {
        for line in source.code().map(|line| foreign(&line)) {
            for (banned, instead) in BANNED {
                assert!(
                    !has_word(&line, banned),
                    "{}: {banned} is banned, use {instead}: {line}",
                    source.name()
                );
            }
            let hides_instant = line.contains("std::time::{") && has_word(&line, "Instant");
            assert!(!hides_instant, "{}: use types::Instant: {line}", source.name());
        }
    }
}

#[test]
fn pure_files_stay_pure() {
    for pure in PURE {
        assert!(Path::new("src").join(pure).exists(), "{pure} is gone: take it from the list");
    }
    for source in sources("src").filter(Source::is_pure) {
        for line in source.code() {
            for (banned, instead) in BANNED_IN_PURE {
                assert!(
                    !has_word(&line, banned),
                    "{}: {banned} in a pure file, use {instead}: {line}",
                    source.name()
                );
            }
        }
    }
}

#[test]
fn nothing_differs_from_process_to_process() {
    for source in sources("src").chain(sources("sim/src")).filter(|source| !source.is_test()) {
        for line in source.code() {
            for (banned, instead) in BANNED_EVERYWHERE {
                assert!(
                    !has_word(&line, banned),
                    "{}: {banned} is banned, use {instead}: {line}",
                    source.name()
                );
            }
        }
    }
}

#[test]
fn a_simulated_run_reaches_nothing_but_its_world() {
    let around = |source: &Source| AROUND_RUNS.iter().any(|start| source.name().starts_with(start));
    for source in sources("sim/src").filter(|source| !source.is_test() && !around(source)) {
        for line in source.code().map(|line| foreign(&line)) {
            for (banned, instead) in BANNED_IN_RUNS {
                assert!(
                    !has_word(&line, banned),
                    "{}: {banned} is banned, use {instead}: {line}",
                    source.name()
                );
            }
        }
    }
}

/// An unbiased `select!` draws its order at random, behind the simulator's back.
#[test]
fn every_select_is_biased() {
    for source in all_sources() {
        let code: Vec<_> = source.code().collect();
        for (line, next) in code.iter().zip(code.iter().skip(1)) {
            let is_select = line.trim_end().ends_with("select! {");
            assert!(
                !is_select || next.trim() == "biased;",
                "{}: begin the select with `biased;`: {line}",
                source.name()
            );
        }
    }
}

#[test]
fn files_stay_short_and_say_what_they_are_for() {
    for source in all_sources() {
        let lines = source.text.lines().count();
        let name = source.name();
        assert!(lines <= LINES_MAX, "{name}: {lines} lines, {LINES_MAX} at most: open a folder");
        // One line that calls a function says it all.
        let is_stub = source.path.starts_with("fuzz/fuzz_targets");
        let says = source.is_unit_test() || is_stub || source.text.starts_with("//!");
        assert!(says, "{name}: begin with a comment that says why it is");
    }
}

#[test]
fn nothing_is_left_behind() {
    for source in all_sources().filter(|source| !source.path.ends_with("tests/tidy.rs")) {
        for leftover in LEFTOVERS {
            assert!(!source.text.contains(leftover), "{}: {leftover}", source.name());
        }
    }
}

#[test]
fn there_is_one_path_to_each_thing() {
    for source in all_sources().filter(|source| !source.is_unit_test()) {
        let name = source.name();
        assert!(!name.ends_with("/mod.rs"), "{name}: name it after its folder, beside the folder");
        for line in source.code() {
            let line = line.trim();
            let is_use = line.starts_with("use ") || line.starts_with("pub use ");
            assert!(!(is_use && line.ends_with("::*;")), "{name}: import by name: {line}");
            let is_export = line.starts_with("pub use ") || line.starts_with("pub(crate) use ");
            assert!(!(is_export && line.contains("::")), "{name}: no re-exports: {line}");
        }
    }
}

/// A test that cannot be told from its rules would pass for ever.
#[test]
fn the_rules_bite() {
    assert!(has_word("use std::fs;", "std::fs"));
    assert!(has_word("let n = rand::random();", "rand"));
    assert!(!has_word("let operand = 1;", "rand"));
    assert!(!has_word(&foreign("use crate::env::tokio::net::TokioNet;"), "tokio::net"));
    assert!(has_word(&foreign("use std::{fs, io};"), "std::fs"));
    assert!(has_word(&foreign("use tokio::{io, time};"), "tokio::time"));
    assert!(!has_word("env.random_u64()", "rand"));
    let source = Source {
        path: PathBuf::from("src/log/x.rs"),
        text: "//! x\nuse crate::{env::disk, broker};\nlet a = 1; // std::fs\n\
               let url = \"a://b\";\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n"
            .to_owned(),
    };
    assert_eq!(source.imports(), ["env", "broker"]);
    let code: Vec<_> = source.code().collect();
    assert!(!code.iter().any(|line| line.contains("std::fs")), "{code:?}");
    assert!(code.iter().any(|line| line.contains("a://b")), "{code:?}");
    assert_eq!(source.module(), "log");
    assert!(layer_of("env") < layer_of("log") && layer_of("log") < layer_of("broker"));
}

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The top module that the file belongs to.
    fn module(&self) -> String {
        let inside = self.path.strip_prefix("src").expect("only asked of files in src");
        let first = inside.components().next().expect("a file has a name").as_os_str();
        first.to_string_lossy().trim_end_matches(".rs").to_owned()
    }

    fn may_touch_the_world(&self) -> bool {
        let name = self.name();
        let real = ["src/env/tokio", "src/cli", "src/main.rs"];
        real.iter().any(|start| name.starts_with(start)) || self.is_test()
    }

    fn is_test(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "tests.rs")
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }

    /// A module of tests in a file of its own, which may import all that it tests.
    fn is_unit_test(&self) -> bool {
        self.is_test() && !self.path.starts_with("tests")
    }

    fn is_pure(&self) -> bool {
        let inside = self.path.strip_prefix("src").expect("only asked of files in src");
        !self.is_test() && PURE.iter().any(|pure| inside.starts_with(pure))
    }

    /// Lines without comments, up to the tests at the end.
    fn code(&self) -> impl Iterator<Item = String> {
        let tests = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub mod tests"];
        let end = tests.iter().filter_map(|start| self.text.find(start)).min();
        let end = end.unwrap_or(self.text.len());
        let lines = self.text[..end].lines().map(|line| match line.find("//") {
            Some(0) => String::new(),
            Some(at) if !line[..at].ends_with(':') => line[..at].to_owned(),
            _ => line.to_owned(),
        });
        lines.filter(|line| !line.trim().is_empty())
    }

    /// The top modules that `crate::` is followed by.
    fn imports(&self) -> Vec<String> {
        let code: String = self.code().map(|line| line + "\n").collect();
        let mut found = Vec::new();
        for rest in code.split("crate::").skip(1) {
            let group = rest.strip_prefix('{').and_then(|rest| rest.split_once("};"));
            let items = match group {
                Some((items, _)) => items.split(',').collect(),
                None => vec![rest],
            };
            for item in items {
                let word: String =
                    item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.push(word);
            }
        }
        found
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether `word` stands in `line` by itself, not as a part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// The line as the bans see it: our own `env::tokio` left out, groups of imports spelt out.
fn foreign(line: &str) -> String {
    let mut line = line.replace("env::tokio", "env").replace("super::tokio", "super");
    for root in ["std::", "tokio::"] {
        let group = line.split_once(&format!("{root}{{")).map(|(_, group)| group.to_owned());
        for item in group.iter().flat_map(|group| group.split([',', '}'])) {
            line.push_str(&format!(" {root}{}", item.trim()));
        }
    }
    line
}

fn all_sources() -> impl Iterator<Item = Source> {
    ["src", "sim/src", "tests", "fuzz", "ci"].into_iter().flat_map(sources)
}

fn sources(root: &str) -> impl Iterator<Item = Source> {
    let mut found = Vec::new();
    walk(Path::new(root), &mut found);
    found.sort();
    found.into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("our sources are text");
        Source { path, text }
    })
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the folders of this list stand in the repository") {
        let path = entry.expect("the folder is ours to read").path();
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
