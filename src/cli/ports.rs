//! The file that tells others where the broker answers.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, io, process};

use ottla::server::node::Ready;
use serde::Serialize;

#[derive(Serialize)]
struct Ports<'a> {
    pid: u32,
    cluster_id: &'a str,
    /// The first address, for a client to begin with.
    bootstrap: Option<SocketAddr>,
    listeners: Vec<Listener<'a>>,
}

#[derive(Serialize)]
struct Listener<'a> {
    name: &'a str,
    address: SocketAddr,
}

/// Writes the file whole or not at all: whoever sees it can connect.
pub fn write(path: &Path, ready: &Ready) -> io::Result<()> {
    let listeners = ready.bound.iter().map(|(name, address)| Listener { name, address: *address });
    let ports = Ports {
        pid: process::id(),
        cluster_id: &ready.cluster_id,
        bootstrap: ready.bound.first().map(|(_, address)| *address),
        listeners: listeners.collect(),
    };
    let mut text = serde_json::to_vec(&ports)?;
    text.push(b'\n');
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_every_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ports.json");
        let at: SocketAddr = "127.0.0.1:41234".parse().unwrap();
        let ready = Ready {
            cluster_id: "c".to_owned(),
            is_fresh: false,
            bound: vec![("PLAINTEXT".to_owned(), at)],
            advertised: vec![],
        };
        write(&path, &ready).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["bootstrap"], "127.0.0.1:41234");
        assert_eq!(read["listeners"][0]["name"], "PLAINTEXT");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing unfinished is left");
    }
}
