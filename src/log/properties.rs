//! `meta.properties`: whose log directory this is. Java properties; pure.

use std::collections::BTreeMap;

use super::checkpoint::FormatError;
use crate::types::{NodeId, Uuid};

pub const FILE_NAME: &str = "meta.properties";

/// Says which node of which cluster a directory belongs to, and tells it from others of that node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: NodeId,
    /// `None` when an old Kafka wrote the file: it is to be given one.
    pub directory_id: Option<Uuid>,
    /// Keys we don't know are kept.
    others: BTreeMap<String, String>,
}

const VERSION: &str = "version";
const CLUSTER_ID: &str = "cluster.id";
const NODE_ID: &str = "node.id";
const DIRECTORY_ID: &str = "directory.id";

impl MetaProperties {
    pub fn new(cluster_id: &str, node_id: NodeId, directory_id: Uuid) -> MetaProperties {
        assert!(!directory_id.is_reserved(), "{directory_id} is one of Kafka's own ids");
        MetaProperties {
            cluster_id: cluster_id.to_owned(),
            node_id,
            directory_id: Some(directory_id),
            others: BTreeMap::new(),
        }
    }

    pub fn parse(text: &str) -> Result<MetaProperties, FormatError> {
        let mut found = parse(text)?;
        let end = text.lines().count();
        let mut take = |key: &str| found.remove(key);
        let missing = |key: &str| FormatError::at(end, format!("the file ends without {key}"));
        let (line, version) = take(VERSION).ok_or_else(|| missing(VERSION))?;
        if version != "1" {
            let why = if version == "0" { " (a Kafka with ZooKeeper wrote 0)" } else { "" };
            let problem = format!("{VERSION}={version}, 1 expected{why}");
            return Err(FormatError::at(line, problem));
        }
        let (line, cluster_id) = take(CLUSTER_ID).ok_or_else(|| missing(CLUSTER_ID))?;
        if cluster_id.is_empty() {
            return Err(FormatError::at(line, format!("{CLUSTER_ID} is empty")));
        }
        let (line, node_id) = take(NODE_ID).ok_or_else(|| missing(NODE_ID))?;
        let node_id = match node_id.parse() {
            Ok(id @ 0..) => NodeId(id),
            _ => return Err(FormatError::at(line, format!("{NODE_ID}={node_id} is no node"))),
        };
        let directory_id = match take(DIRECTORY_ID) {
            None => None,
            Some((line, text)) => Some(directory_id(line, &text)?),
        };
        let others = found.into_iter().map(|(key, (_, value))| (key, value)).collect();
        Ok(MetaProperties { cluster_id, node_id, directory_id, others })
    }

    pub fn render(&self) -> String {
        let mut all = self.others.clone();
        all.insert(VERSION.to_owned(), "1".to_owned());
        all.insert(CLUSTER_ID.to_owned(), self.cluster_id.clone());
        all.insert(NODE_ID.to_owned(), self.node_id.0.to_string());
        if let Some(id) = self.directory_id {
            all.insert(DIRECTORY_ID.to_owned(), id.to_string());
        }
        all.iter().map(|(key, value)| format!("{}={}\n", escape(key), escape(value))).collect()
    }
}

fn directory_id(line: usize, text: &str) -> Result<Uuid, FormatError> {
    match Uuid::parse(text) {
        None => Err(FormatError::at(line, format!("{DIRECTORY_ID}={text} is no id"))),
        Some(id) if id.is_reserved() => {
            let problem = format!("{DIRECTORY_ID}={text} is one of the ids Kafka keeps for itself");
            Err(FormatError::at(line, problem))
        }
        Some(id) => Ok(id),
    }
}

/// Keys with their lines and values. Later lines win over earlier ones.
fn parse(text: &str) -> Result<BTreeMap<String, (usize, String)>, FormatError> {
    let mut found = BTreeMap::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, first)) = lines.next() {
        let mut logical = first.trim_start_matches(BLANK).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_escaped(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANK));
        }
        let (key, value) = split(&logical);
        let bad = || FormatError::at(line, "a \\u without four hex digits");
        let key = unescape(key).ok_or_else(bad)?;
        found.insert(key, (line, unescape(value).ok_or_else(bad)?));
    }
    Ok(found)
}

const BLANK: [char; 3] = [' ', '\t', '\x0c'];

/// An odd number of backslashes: the line goes on.
fn ends_escaped(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// At the first `=`, `:` or blank that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANK.contains(&c));
        escaped = !escaped && c == '\\';
        ends
    });
    let Some(end) = end else { return (line, "") };
    let value = line[end..].trim_start_matches(BLANK);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value);
    (&line[..end], value.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            None => {}
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => {
                let digits = rest.as_str().get(..4)?;
                let code = u32::from_str_radix(digits, 16).ok()?;
                // Half of a surrogate pair has no place in an id: it becomes the replacement.
                plain.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = rest.as_str()[4..].chars();
            }
            Some(other) => plain.push(other),
        }
    }
    Some(plain)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '=' | ':' | '#' | '!' | ' ' => escaped.extend(['\\', c]),
            ' '..='~' => escaped.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    const GOLDEN: &str = "#\n#Sat Nov 21 11:03:41 UTC 2026\nnode.id=1\n\
        directory.id=dNSyhqcwRnafEM9FIKcE8A\nversion=1\ncluster.id=6OXLvydkRc6lRYjZ6lskFQ\n";

    #[test]
    fn kafkas_own_file_is_understood() {
        let read = MetaProperties::parse(GOLDEN).unwrap();
        let id = Uuid::parse("dNSyhqcwRnafEM9FIKcE8A").unwrap();
        assert_eq!(read, MetaProperties::new("6OXLvydkRc6lRYjZ6lskFQ", NodeId(1), id));
        assert_eq!(MetaProperties::parse(&read.render()), Ok(read));
    }

    #[test]
    fn java_spellings_are_understood() {
        let text =
            "! a comment\n\n  node.id : 7\\\n  1\nversion 1\ncluster\\.id=a\\=b\\u0041\nx=y\n";
        let read = MetaProperties::parse(text).unwrap();
        assert_eq!((read.node_id, &read.cluster_id[..]), (NodeId(71), "a=bA"));
        assert_eq!(read.directory_id, None);
        assert_eq!(MetaProperties::parse(&read.render()), Ok(read.clone()));
        assert!(read.render().contains("x=y\n"), "a key that we don't know is kept");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (from, to, expected) in [
            ("version=1", "version=0", "line 5: version=0, 1 expected (a Kafka with ZooKeeper"),
            ("version=1", "version=2", "line 5: version=2, 1 expected"),
            ("version=1\n", "", "line 5: the file ends without version"),
            ("node.id=1\n", "", "line 5: the file ends without node.id"),
            ("node.id=1", "node.id=-1", "line 3: node.id=-1 is no node"),
            ("node.id=1", "node.id=one", "line 3: node.id=one is no node"),
            ("6OXLvydkRc6lRYjZ6lskFQ", "", "line 6: cluster.id is empty"),
            ("dNSyhqcwRnafEM9FIKcE8A", "short", "line 4: directory.id=short is no id"),
            (
                "dNSyhqcwRnafEM9FIKcE8A",
                "AAAAAAAAAAAAAAAAAAAAYw",
                "line 4: directory.id=AAAAAAAAAAAAAAAAAAAAYw is one of the ids Kafka keeps",
            ),
            ("node.id=1", "node.id=\\u12", "line 3: a \\u without four hex digits"),
        ] {
            let error = MetaProperties::parse(&GOLDEN.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(cluster_id in "\\PC{1,20}", node_id in 0..i32::MAX) {
            // Characters outside the first plane are written as two halves.
            let plain = cluster_id.chars().all(|c| u32::from(c) < 0x10000);
            let id = Uuid([7; 16]);
            let written = MetaProperties::new(&cluster_id, NodeId(node_id), id);
            if plain {
                prop_assert_eq!(MetaProperties::parse(&written.render()), Ok(written));
            }
        }

        #[test]
        fn any_text_is_taken_or_refused(text in any::<String>()) {
            let _ = MetaProperties::parse(&text);
        }
    }
}
