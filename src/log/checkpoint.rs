//! The offset checkpoints of a log directory. Pure: text in, values out.
//!
//! An offset checkpoint is a line "0", the number of entries, then one line for each: topic,
//! partition, offset. Kafka creates the files empty, so an empty one is valid and says nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::name::LogName;
use crate::types::Offset;

pub type Offsets = BTreeMap<LogName, Offset>;

/// The offset checkpoints of a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checkpoint {
    /// Everything below is on disk with its indexes: recovery begins there.
    RecoveryPoint,
    /// Where logs begin that begin within a segment.
    LogStart,
    /// High watermarks; a hint.
    Replication,
    /// The first offset that was not compacted yet.
    Cleaner,
}

/// A file that Kafka would not have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct FormatError {
    /// Counts from 1.
    pub line: usize,
    pub problem: String,
}

impl FormatError {
    pub fn at(line: usize, problem: impl Into<String>) -> FormatError {
        FormatError { line, problem: problem.into() }
    }
}

impl Checkpoint {
    pub const ALL: [Checkpoint; 4] = [
        Checkpoint::RecoveryPoint,
        Checkpoint::LogStart,
        Checkpoint::Replication,
        Checkpoint::Cleaner,
    ];

    pub fn file_name(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoint => "recovery-point-offset-checkpoint",
            Checkpoint::LogStart => "log-start-offset-checkpoint",
            Checkpoint::Replication => "replication-offset-checkpoint",
            Checkpoint::Cleaner => "cleaner-offset-checkpoint",
        }
    }
}

pub fn render_offsets(offsets: &Offsets) -> String {
    let mut text = format!("{VERSION}\n{}\n", offsets.len());
    for (LogName { topic, partition }, offset) in offsets {
        writeln!(text, "{topic} {partition} {offset}").expect("a string takes all");
    }
    text
}

pub fn parse_offsets(text: &str) -> Result<Offsets, FormatError> {
    let mut offsets = Offsets::new();
    if text.is_empty() {
        return Ok(offsets);
    }
    let (count, entries) = frame(text)?;
    for (line, entry) in entries {
        let fields: Vec<&str> = entry.split_ascii_whitespace().collect();
        let &[topic, partition, offset] = &fields[..] else {
            let problem = format!("{} fields, 3 expected: topic partition offset", fields.len());
            return Err(FormatError::at(line, problem));
        };
        let partition: i32 = number(line, "partition", partition)?;
        let offset: i64 = number(line, "offset", offset)?;
        let name = LogName::new(topic, partition);
        if offsets.insert(name, Offset(offset)).is_some() {
            return Err(FormatError::at(line, format!("{topic} {partition} is there twice")));
        }
    }
    if offsets.len() != count {
        let problem = format!("{count} entries announced, {} found", offsets.len());
        return Err(FormatError::at(2, problem));
    }
    Ok(offsets)
}

const VERSION: &str = "0";

/// The announced count and the numbered entry lines.
fn frame(text: &str) -> Result<(usize, impl Iterator<Item = (usize, &str)>), FormatError> {
    let mut lines = (1..).zip(text.lines());
    match lines.next() {
        Some((_, VERSION)) => {}
        Some((line, found)) => {
            let problem = format!("version {found:?}, {VERSION} expected");
            return Err(FormatError::at(line, problem));
        }
        None => return Err(FormatError::at(1, "no version")),
    }
    let (line, count) = lines.next().unwrap_or((2, ""));
    Ok((number::<u32>(line, "number of entries", count)? as usize, lines))
}

/// A whole number from 0.
fn number<N: std::str::FromStr>(line: usize, what: &str, text: &str) -> Result<N, FormatError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed.ok_or_else(|| FormatError::at(line, format!("{text:?} is no {what}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse_offsets(""), Ok(Offsets::new()));
        assert_eq!(parse_offsets("0\n0\n"), Ok(Offsets::new()));
    }

    #[test]
    fn entries_come_in_any_order() {
        let read = parse_offsets("0\n2\nplain 2 604\nempty 0 0\n").unwrap();
        let expected =
            [(LogName::new("plain", 2), Offset(604)), (LogName::new("empty", 0), Offset(0))];
        assert_eq!(read, Offsets::from(expected));
        assert_eq!(render_offsets(&read), "0\n2\nempty 0 0\nplain 2 604\n");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("1\n0\n", "line 1: version \"1\", 0 expected"),
            ("\0\0\0\0", "line 1: version \"\\0\\0\\0\\0\", 0 expected"),
            ("0\n", "line 2: \"\" is no number of entries"),
            ("0\n-1\n", "line 2: \"-1\" is no number of entries"),
            ("0\n2\na 0 1\n", "line 2: 2 entries announced, 1 found"),
            ("0\n0\na 0 1\n", "line 2: 0 entries announced, 1 found"),
            ("0\n1\na 0\n", "line 3: 2 fields, 3 expected: topic partition offset"),
            ("0\n2\na 0 1\na x 1\n", "line 4: \"x\" is no partition"),
            ("0\n1\na 0 -5\n", "line 3: \"-5\" is no offset"),
            ("0\n2\na 0 1\na 0 2\n", "line 4: a 0 is there twice"),
        ] {
            assert_eq!(parse_offsets(text).unwrap_err().to_string(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn offsets_read_back_as_written(
            offsets in proptest::collection::btree_map(
                ("[a-zA-Z0-9._-]{1,20}", 0..i32::MAX).prop_map(|(t, p)| LogName::new(t, p)),
                (0..i64::MAX).prop_map(Offset),
                0..30,
            )
        ) {
            prop_assert_eq!(parse_offsets(&render_offsets(&offsets)), Ok(offsets));
        }

        #[test]
        fn any_text_is_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = parse_offsets(&text);
        }
    }
}
