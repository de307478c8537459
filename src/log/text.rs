//! The frame of Kafka's checkpoint files: a version line, a count, then one line for each entry.

const VERSION: &str = "0";

pub fn checkpoint(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut contents = format!("{VERSION}\n{}\n", lines.len());
    lines.for_each(|line| contents.push_str(&line));
    contents
}

/// The entry lines; `None` when the version or the count is wrong. Counted, not trusted.
pub fn checkpoint_lines(contents: &str) -> Option<Vec<&str>> {
    let mut lines = contents.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let entries: Vec<&str> = lines.collect();
    (entries.len() == count).then_some(entries)
}
