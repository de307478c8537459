//! `partition.metadata`: whose log a directory holds. Pure: text in, id out.
//!
//! Kafka's two lines, `version: 0` and `topic_id: <id>`, and a third that Kafka does not look at:
//! `crc32c: <8 hexadecimal digits>` over the two. An id that rotted would look like another topic's,
//! and the log be put aside.

use crate::protocol::records;
use crate::types::Uuid;

pub const IDENTITY_NAME: &str = "partition.metadata";

pub fn render(topic_id: Uuid) -> String {
    let lines = format!("version: 0\ntopic_id: {topic_id}\n");
    let crc = records::crc(0, lines.as_bytes());
    format!("{lines}crc32c: {crc:08x}\n")
}

/// The topic id; `None` when the file is torn or rotten, and says nothing. Without a checksum, as
/// Kafka writes it, it is believed.
pub fn parse(text: &str) -> Option<Uuid> {
    let mut lines = text.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    let id = Uuid::parse(lines.next()?.strip_prefix("topic_id: ")?.trim_end())?;
    let is_whole = lines.next().is_none() || text == render(id);
    (is_whole && id != Uuid::ZERO).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKAS: &str = "version: 0\ntopic_id: trHwlLgvTSCnT8KPGIEJ9Q";

    #[test]
    fn kafkas_file_is_believed_and_ours_begins_like_it() {
        let id = parse(KAFKAS).unwrap();
        let ours = render(id);
        assert!(ours.starts_with(KAFKAS), "{ours}");
        assert_eq!(parse(&ours), Some(id));
        assert_eq!(ours.lines().count(), 3);
    }

    #[test]
    fn what_is_torn_or_rotten_says_nothing() {
        let ours = render(parse(KAFKAS).unwrap());
        for at in 0..ours.len() - 1 {
            let mut bytes = ours.clone().into_bytes();
            bytes[at] ^= 1;
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(parse(&text), None, "{text}");
        }
        for torn in ["", "version: 1\n", "version: 0\n", "version: 0\ntopic_id: x"] {
            assert_eq!(parse(torn), None, "{torn}");
        }
        assert_eq!(parse("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA"), None);
    }
}
