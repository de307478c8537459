//! The binary: flags and their variables, the ports file, signals, exit codes, kill -9.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::protocol::error::ErrorCode;
use ottla::protocol::frame::decode_response;
use ottla::protocol::messages::produce_request::ProduceRequest;
use rustix::process::{Pid, Signal, kill_process};

use super::harness::calls::{
    FETCH, PRODUCE, batch, code, expect_service, fetch_request, produce_request,
};
use super::harness::eventually;
use super::harness::wire::Wire;

struct Process {
    child: Child,
    ports_file: PathBuf,
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.env_clear().current_dir(dir).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

impl Process {
    fn start(dir: &Path, arguments: &[&str]) -> Process {
        let ports_file = dir.join("ports.json");
        let _ = fs::remove_file(&ports_file);
        let mut command = command(dir);
        command.args(["--listen", "127.0.0.1:0", "--data-dir", "data"]).args(arguments);
        command.arg("--ports-file").arg(&ports_file);
        Process { child: command.spawn().unwrap(), ports_file }
    }

    /// Where it listens, once it does.
    fn address(&self) -> SocketAddr {
        let mut text = String::new();
        eventually("the ports file is there", || {
            text = fs::read_to_string(&self.ports_file).unwrap_or_default();
            !text.is_empty()
        });
        let ports: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(ports["pid"], self.child.id());
        ports["bootstrap"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says, and with which code it ends.
fn fails(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = command(dir);
    command.args(["--listen", "127.0.0.1:0", "--data-dir", "data"]).args(arguments);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("no signal"), said)
}

#[test]
fn both_signals_stop_it_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("data/.kafka_cleanshutdown");
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut process = Process::start(dir.path(), &[]);
        let mut wire = Wire::connect(process.address());
        assert!(!mark.exists());
        if round == 0 {
            wire.create("t", 1, &[]);
        }
        assert_eq!(wire.append("t", &["x"]), round as i64);
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0));
        assert!(mark.exists());
        wire.expect_closed();
    }
}

/// A peer that asks for much and reads nothing keeps the stop waiting.
fn stuck_peer(address: SocketAddr) -> Wire {
    let mut wire = Wire::connect(address);
    wire.create("t", 1, &[("max.message.bytes", "20000000")]);
    wire.append("t", &[&"x".repeat(15_000_000)]);
    let mut request = fetch_request("t", 0);
    request.max_bytes = i32::MAX;
    request.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    wire.send(&request, FETCH);
    // Until the first bytes are there: the answer is being written.
    assert_eq!(wire.stream.peek(&mut [0]).unwrap(), 1);
    wire
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path(), &[]);
    let _stuck = stuck_peer(process.address());
    process.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(process.child.try_wait().unwrap().is_none(), "it waits for the peer");
    process.signal(Signal::INT);
    assert_eq!(process.wait().code(), Some(130));
    assert!(!dir.path().join("data/.kafka_cleanshutdown").exists());
}

#[test]
fn a_stop_takes_no_longer_than_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("data/.kafka_cleanshutdown");
    let mut process = Process::start(dir.path(), &["--shutdown-grace", "0s"]);
    let _stuck = stuck_peer(process.address());
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(143), "no grace is no clean stop");
    assert!(!mark.exists());

    // Half of the time is for peers, the rest for the disk: the stop is clean all the same.
    let mut process = Process::start(dir.path(), &["--shutdown-grace", "4s"]);
    let address = process.address();
    let mut stuck = Wire::connect(address);
    let mut request = fetch_request("t", 0);
    request.max_bytes = i32::MAX;
    request.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    stuck.send(&request, FETCH);
    assert_eq!(stuck.stream.peek(&mut [0]).unwrap(), 1);
    let begun = std::time::Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(mark.exists());
}

#[test]
fn a_new_cluster_is_named_by_flag_or_variable() {
    let dir = tempfile::tempdir().unwrap();
    let id = |dir: &Path| {
        let text = fs::read_to_string(dir.join("data/meta.properties")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("cluster.id=")).unwrap().to_owned()
    };
    let ports_file = dir.path().join("ports.json");
    for given in ["first", "second"] {
        let mut command = command(dir.path());
        command.env("CLUSTER_ID", given).args(["--listen", "127.0.0.1:0", "--ports-file"]);
        let child = command.arg(&ports_file).spawn().unwrap();
        let mut process = Process { child, ports_file: ports_file.clone() };
        process.address();
        process.signal(Signal::TERM);
        assert_eq!(process.wait().code(), Some(0));
        assert_eq!(id(dir.path()), "first", "as Kafka's image: a cluster keeps its id");
        fs::remove_file(&ports_file).unwrap();
    }
    let (status, said) = fails(dir.path(), &["--cluster-id", "second"]);
    assert_eq!(status, 74, "{said}");
    assert!(said.contains("belongs to cluster first, second expected"), "{said}");
    let (status, said) = fails(dir.path(), &["--cluster-id", "two words"]);
    assert_eq!(status, 78, "{said}");
    let (status, said) = fails(dir.path(), &["--shutdown-grace", "30"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("30s"), "{said}");
}

#[test]
fn exit_codes_say_what_was_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said) = fails(dir.path(), &["-D", "num.partitions=none"]);
    assert_eq!(status, 78, "{said}");
    assert!(said.contains("num.partitions"), "{said}");
    let (status, said) = fails(dir.path(), &["--strict-config", "-D", "num.partition=1"]);
    assert_eq!(status, 78, "{said}");
    assert!(said.contains("num.partitions"), "a suggestion: {said}");
    assert_eq!(fails(dir.path(), &["--no-such-flag"]).0, 2);
    assert!(!dir.path().join("data").exists(), "nothing was begun");

    let process = Process::start(dir.path(), &[]);
    let address = process.address().to_string();
    let (status, said) = fails(dir.path(), &[]);
    assert_eq!(status, 75, "{said}");
    let (status, said) = fails(dir.path(), &["--listen", &address]);
    assert_eq!(status, 2, "a flag given twice: {said}");
    let listeners = format!("listeners=PLAINTEXT://{address}");
    let mut taken = command(dir.path());
    let taken = taken.args(["--data-dir", "other", "-D", &listeners]).output().unwrap();
    assert_eq!(taken.status.code(), Some(1));
    expect_service(process.address());
    drop(process);

    let (status, said) = fails(dir.path(), &["--node-id", "7"]);
    assert_eq!(status, 74, "{said}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
}

#[test]
fn variables_stand_for_flags_and_flags_win() {
    let dir = tempfile::tempdir().unwrap();
    let ports_file = dir.path().join("ports.json");
    let mut command = command(dir.path());
    command
        .env("OTTLA_LISTEN", "127.0.0.1:0")
        .env("OTTLA_DATA_DIR", "from-the-environment")
        .env("OTTLA_PORTS_FILE", &ports_file)
        .env("OTTLA_LOG_FORMAT", "json")
        .env("OTTLA_NUM_PARTITIONS", "3")
        .env("OTTLA_AUTO_CREATE_TOPICS_ENABLE", "false")
        .args(["serve", "-D", "num.partitions=5"]);
    let process = Process { child: command.spawn().unwrap(), ports_file };
    let mut wire = Wire::connect(process.address());
    assert!(dir.path().join("from-the-environment/meta.properties").exists());
    wire.create("t", -1, &[]);
    assert_eq!(wire.describe("t").partitions.len(), 5);
}

/// Produces until the broker dies, five requests ahead; says what was acknowledged.
fn produce_until_death(address: SocketAddr, first: usize, acknowledged_some: &AtomicBool) -> usize {
    let mut wire = Wire::connect(address);
    let (mut sent, mut acknowledged) = (first, first);
    loop {
        while sent < acknowledged + 5 {
            let value = sent.to_string();
            let frame = wire.frame(&produce_request("t", 0, batch(&[&value]), -1), PRODUCE);
            if std::io::Write::write_all(&mut wire.stream, &frame).is_err() {
                return acknowledged;
            }
            sent += 1;
        }
        let Some(frame) = wire.try_receive_frame() else { return acknowledged };
        let (_, response) = decode_response::<ProduceRequest>(frame, PRODUCE).unwrap();
        let answer = &response.responses[0].partition_responses[0];
        if code(answer.error_code) != ErrorCode::None {
            return acknowledged;
        }
        acknowledged += 1;
        acknowledged_some.store(acknowledged > first + 20, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_broker_has_every_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path(), &[]);
    Wire::connect(process.address()).create("t", 1, &[]);
    let mut first = 0;
    for round in 0..4 {
        let (address, under_way) = (process.address(), AtomicBool::new(false));
        let acknowledged = std::thread::scope(|scope| {
            let producing = scope.spawn(|| produce_until_death(address, first, &under_way));
            eventually("records are acknowledged", || under_way.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(7 * round));
            process.signal(Signal::KILL);
            process.wait();
            producing.join().unwrap()
        });
        process = Process::start(dir.path(), &[]);
        let read = Wire::connect(process.address()).read_all("t");
        assert!(read.len() >= acknowledged, "{} of {acknowledged}", read.len());
        let numbers: Vec<String> = (0..read.len()).map(|n| n.to_string()).collect();
        assert_eq!(read, numbers, "in order, once");
        first = read.len();
    }
}
