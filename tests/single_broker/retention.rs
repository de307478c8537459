//! Old records go by their age and by their number of bytes.

use std::path::Path;

use ottla::protocol::records::build::BatchOptions;

use super::harness::calls::{batch_of, now_ms, record_at};
use super::harness::eventually;
use super::harness::node::Node;

const OFTEN: (&str, &str) = ("log.retention.check.interval.ms", "20");

fn segments(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir.join("t-0")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".log")).count()
}

#[test]
fn records_go_when_they_are_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[OFTEN]);
    let mut wire = node.connect();
    wire.create("t", 1, &[("retention.ms", "3600000"), ("file.delete.delay.ms", "0")]);
    let old = record_at(now_ms() - 7_200_000, "old");
    wire.produce("t", batch_of(BatchOptions::default(), [old]));
    eventually("the old record is gone", || wire.list_offset("t", -2).1 == 1);
    wire.append("t", &["young"]);
    assert_eq!(wire.read_all("t"), ["young"]);
    eventually("its file is gone", || segments(dir.path()) == 1);
    node.kill();
    let node = Node::start(dir.path(), &[OFTEN]);
    assert_eq!(node.connect().read_all("t"), ["young"]);
}

#[test]
fn records_go_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[OFTEN]);
    let mut wire = node.connect();
    let configs = [
        ("retention.bytes", "2500000"),
        ("segment.bytes", "1048576"),
        ("file.delete.delay.ms", "0"),
    ];
    wire.create("t", 1, &configs);
    let value = "v".repeat(500_000);
    for _ in 0..12 {
        wire.append("t", &[&value]);
    }
    eventually("the first segments are gone", || wire.list_offset("t", -2).1 >= 6);
    eventually("their files are gone", || segments(dir.path()) <= 3);
    let kept = wire.read_all("t").len();
    assert!((4..=6).contains(&kept), "{kept}");
    assert_eq!(wire.list_offset("t", -1).1, 12);
}
