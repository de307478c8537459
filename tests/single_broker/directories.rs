//! Data directories and ports that are not ours to use: the start ends with one clear line, and
//! nothing is touched.

use std::fs;
use std::path::Path;

use ottla::log::directory::error::DirectoryError;
use ottla::server::node::RunError;

use super::harness::calls::expect_service;
use super::harness::faults::{Faults, FaultyEnv};
use super::harness::node::{Node, configured};

fn refused(dir: &Path, options: &[(&str, &str)]) -> RunError {
    match Node::try_start(dir, options) {
        Ok(_) => panic!("the node starts where it should not"),
        Err(error) => error,
    }
}

#[test]
fn a_directory_in_use_is_refused_and_its_owner_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    let error = refused(dir.path(), &[]);
    assert!(matches!(error, RunError::Directory(DirectoryError::Locked { .. })), "{error}");
    assert!(error.to_string().contains("another broker holds its lock"), "{error}");
    expect_service(node.address);
    node.kill();
    Node::start(dir.path(), &[]).stop().unwrap();
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Node::start(dir.path(), &[]).stop().unwrap();
    let error = refused(dir.path(), &[("node.id", "2")]);
    assert!(matches!(error, RunError::Directory(DirectoryError::OtherNode { .. })), "{error}");
    assert!(error.to_string().contains("belongs to node.id 1, 2 expected"), "{error}");
    assert!(dir.path().join(".kafka_cleanshutdown").exists(), "nothing was changed");
    Node::start(dir.path(), &[]);
}

#[test]
fn a_directory_of_another_cluster_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&ours, &theirs] {
        Node::start(dir.path(), &[]).stop().unwrap();
    }
    let both = format!("{},{}", ours.path().display(), theirs.path().display());
    let error = refused(ours.path(), &[("log.dirs", &both)]);
    assert!(matches!(error, RunError::Directory(DirectoryError::OtherCluster { .. })), "{error}");
}

#[test]
fn a_copy_of_a_directory_is_refused() {
    let (first, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Node::start(first.path(), &[]).stop().unwrap();
    fs::copy(first.path().join("meta.properties"), copy.path().join("meta.properties")).unwrap();
    let both = format!("{},{}", first.path().display(), copy.path().display());
    let error = refused(first.path(), &[("log.dirs", &both)]);
    assert!(matches!(error, RunError::Directory(DirectoryError::SameId { .. })), "{error}");
}

#[test]
fn strange_files_are_passed_over_and_strange_directories_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    node.connect().create("t", 1, &[]);
    node.connect().append("t", &["x"]);
    node.stop().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("t-0").join("notes.txt"), "mine").unwrap();
    let node = Node::start(dir.path(), &[]);
    assert_eq!(node.connect().read_all("t"), ["x"]);
    node.stop().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "mine");
    fs::create_dir(dir.path().join("holiday")).unwrap();
    let error = refused(dir.path(), &[]);
    assert!(matches!(error, RunError::Directory(DirectoryError::UnknownName { .. })), "{error}");
    fs::remove_dir(dir.path().join("holiday")).unwrap();
    assert_eq!(Node::start(dir.path(), &[]).connect().read_all("t"), ["x"]);
}

#[test]
fn somebody_elses_directory_is_not_formatted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "mine").unwrap();
    let error = refused(dir.path(), &[]);
    assert!(matches!(error, RunError::Directory(DirectoryError::NotFormatted { .. })), "{error}");
    assert!(error.to_string().contains("it holds thesis.tex"), "{error}");
    let file = dir.path().join("thesis.tex");
    let error = refused(&file, &[]);
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn a_stray_log_is_put_aside_and_not_served() {
    let dir = tempfile::tempdir().unwrap();
    Node::start(dir.path(), &[]).stop().unwrap();
    fs::create_dir(dir.path().join("lost-0")).unwrap();
    fs::write(dir.path().join("lost-0").join("00000000000000000000.log"), "").unwrap();
    let node = Node::start(dir.path(), &[]);
    node.connect().create("lost", 1, &[]);
    assert_eq!(node.connect().append("lost", &["x"]), 0);
    let names = fs::read_dir(dir.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with("-stray")).count(), 1);
}

#[test]
fn a_read_only_directory_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    Node::start(dir.path(), &[]).stop().unwrap();
    let faults = Faults::default();
    faults.make_read_only();
    let start = configured(dir.path(), &[]);
    let Err(error) = Node::start_in(|runtime| FaultyEnv::new(runtime, &faults), start) else {
        panic!("the node starts where it cannot write")
    };
    assert!(matches!(error, RunError::Directory(DirectoryError::Io { .. })), "{error}");
    assert!(error.to_string().contains("A log directory must be writable"), "{error}");
    assert!(dir.path().join(".kafka_cleanshutdown").exists());
    Node::start(dir.path(), &[]);
}

#[test]
fn a_port_in_use_is_told_before_any_data_is_touched() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::start(first.path(), &[]);
    let taken = format!("PLAINTEXT://{}", node.address);
    let error = refused(second.path(), &[("listeners", &taken)]);
    assert!(matches!(error, RunError::Listen(_)), "{error}");
    assert!(error.to_string().contains("Another process uses this port"), "{error}");
    assert_eq!(fs::read_dir(second.path()).unwrap().count(), 0);
    expect_service(node.address);
}
