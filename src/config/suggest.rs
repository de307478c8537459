//! Did you mean: the known key that is nearest to a mistyped one.

use super::broker::BROKER_OPTIONS;
use super::topic::TOPIC_OPTIONS;

/// Longer names are nobody's typing error.
const NAME_CHARS_MAX: usize = 100;

/// The broker's key that `name` most likely meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    if name.chars().count() > NAME_CHARS_MAX {
        return None;
    }
    let plain = name.trim().to_ascii_lowercase().replace(['_', '-'], ".");
    // The name of a topic's option, given to the broker.
    if let Some(option) = TOPIC_OPTIONS.iter().find(|option| option.name == plain) {
        return option.broker_name;
    }
    let near = |known: &&'static str| distance(&plain, known);
    let best = BROKER_OPTIONS.iter().map(|option| option.name).min_by_key(near)?;
    let tolerated = (best.len() / 4).clamp(2, 6);
    (distance(&plain, best) <= tolerated).then_some(best)
}

/// Letters to insert, remove, replace, or swap with a neighbour, to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut cost =
                (above[j] + usize::from(from != to)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("num.partitoins", "num.partitions"), 1, "a swap is one edit");
    }

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("num.partition"), Some("num.partitions"));
        assert_eq!(nearest("listener"), Some("listeners"));
        assert_eq!(nearest("Log_Retention_Hours"), Some("log.retention.hours"));
        assert_eq!(nearest("log.retention.hour"), Some("log.retention.hours"));
        assert_eq!(nearest("retention.ms"), Some("log.retention.ms"), "the topic's name for it");
        assert_eq!(nearest("something.else.altogether"), None);
        assert_eq!(nearest(&"x".repeat(10_000)), None);
    }
}
