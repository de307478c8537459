//! Values as people write them: "7d", "10s", "1GiB".
//!
//! The name of a Kafka option ends in the unit of its numbers, so a value may name another unit of
//! the same kind. What could mean two things is refused, with both: a retention that is a thousand
//! times too short is found out too late.

use std::time::Duration;

use super::option::{Kind, Opt};

/// What the numbers of an option count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Ms,
    Minutes,
    Hours,
    Bytes,
}

/// In milliseconds.
const TIMES: [(&str, i64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

const SIZES: [(&str, i64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl Unit {
    pub fn of(option: &Opt) -> Option<Unit> {
        if !matches!(option.kind, Kind::Short | Kind::Int | Kind::Long) {
            return None;
        }
        let mut words = option.name.split('.');
        match words.next_back() {
            Some("ms") => Some(Unit::Ms),
            Some("minutes") => Some(Unit::Minutes),
            Some("hours") => Some(Unit::Hours),
            Some("bytes") => Some(Unit::Bytes),
            _ => words.any(|word| word == "bytes").then_some(Unit::Bytes),
        }
    }

    /// The number that `text` stands for. `None`: it names no unit, and is to be read as it is.
    pub fn number(self, text: &str) -> Result<Option<i64>, String> {
        let Some((count, unit)) = split(text)? else { return Ok(None) };
        let (scale, each) = match (self, find(&TIMES, unit), find(&SIZES, unit)) {
            (Unit::Bytes, _, Some(bytes)) => (bytes, 1),
            (Unit::Ms, Some(ms), _) => (ms, 1),
            (Unit::Minutes, Some(ms), _) => (ms, 60_000),
            (Unit::Hours, Some(ms), _) => (ms, 3_600_000),
            (Unit::Bytes, Some(_), _) => return Err("a time, where bytes are counted".to_owned()),
            (_, _, Some(_)) => return Err("a size, where time is counted".to_owned()),
            _ => return Err(self.unknown(count, unit)),
        };
        let whole = count.checked_mul(scale).ok_or_else(|| "too large a number".to_owned())?;
        match whole % each {
            0 => Ok(Some(whole / each)),
            _ => Err(format!("not a whole number of {}", self.word())),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Unit::Ms => "milliseconds",
            Unit::Minutes => "minutes",
            Unit::Hours => "hours",
            Unit::Bytes => "bytes",
        }
    }

    fn unknown(self, count: i64, unit: &str) -> String {
        let letter = unit.chars().next().map(|letter| letter.to_ascii_uppercase());
        match (self, letter) {
            (Unit::Bytes, Some(letter @ ('K' | 'M' | 'G' | 'T'))) => format!(
                "{unit} may count in thousands or in 1024s: write {count}{letter}iB, or the number \
                 of bytes"
            ),
            (Unit::Bytes, _) => format!("{unit} is no unit of bytes: {}", names(&SIZES)),
            (_, Some('M')) => format!("{unit} may be minutes or months: write {count}min"),
            _ => format!("{unit} is no unit of time: {}", names(&TIMES)),
        }
    }
}

/// A time that always names its unit: a bare number could be seconds or milliseconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    match Unit::Ms.number(text)? {
        Some(ms) => Ok(Duration::from_millis(ms.unsigned_abs())),
        None if text.trim() == "0" => Ok(Duration::ZERO),
        None => Err(format!("write a number and its unit ({}), for example 30s", names(&TIMES))),
    }
}

/// The whole number and the unit after it, when there are both.
fn split(text: &str) -> Result<Option<(i64, &str)>, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if count.is_empty() || unit.is_empty() {
        return Ok(None);
    }
    if let Some(fraction) = unit.strip_prefix('.') {
        let names_unit = fraction.ends_with(|last: char| last.is_ascii_alphabetic());
        return match names_unit {
            true => Err("not a whole number: write it in a smaller unit".to_owned()),
            false => Ok(None),
        };
    }
    if !unit.bytes().all(|letter| letter.is_ascii_alphabetic()) {
        return Ok(None);
    }
    let count = count.parse().map_err(|_| "too large a number".to_owned())?;
    Ok(Some((count, unit)))
}

fn find(units: &[(&str, i64)], unit: &str) -> Option<i64> {
    units.iter().find(|(name, _)| *name == unit).map(|&(_, scale)| scale)
}

fn names(units: &[(&str, i64)]) -> String {
    units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker::BROKER_OPTIONS;
    use crate::config::option::find;

    #[test]
    fn numbers_are_scaled_to_the_unit_of_the_option() {
        for (unit, text, number) in [
            (Unit::Ms, "7d", 604_800_000),
            (Unit::Ms, "500ms", 500),
            (Unit::Ms, " 10 s ", 10_000),
            (Unit::Ms, "0s", 0),
            (Unit::Minutes, "2h", 120),
            (Unit::Hours, "1w", 168),
            (Unit::Bytes, "1GiB", 1 << 30),
            (Unit::Bytes, "64KiB", 65_536),
            (Unit::Bytes, "12B", 12),
        ] {
            assert_eq!(unit.number(text), Ok(Some(number)), "{text}");
        }
    }

    #[test]
    fn what_names_no_unit_is_left_as_it_is() {
        for text in ["5", "-1", "", "none", "1.5", "1e3", "0x10", "1_000"] {
            assert_eq!(Unit::Ms.number(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_may_mean_two_things_is_refused_with_both() {
        let said = |unit: Unit, text| unit.number(text).unwrap_err();
        for text in ["5m", "5M"] {
            assert!(said(Unit::Ms, text).ends_with("minutes or months: write 5min"), "{text}");
        }
        for text in ["2G", "2GB", "2g", "2gib"] {
            assert!(said(Unit::Bytes, text).contains("write 2GiB"), "{text}");
        }
        assert_eq!(said(Unit::Bytes, "10s"), "a time, where bytes are counted");
        assert_eq!(said(Unit::Ms, "10MiB"), "a size, where time is counted");
        assert_eq!(said(Unit::Hours, "90min"), "not a whole number of hours");
        assert!(said(Unit::Ms, "1.5h").starts_with("not a whole number"));
        assert!(said(Unit::Ms, "3 weeks").ends_with("ms, s, min, h, d, w"));
        assert_eq!(said(Unit::Bytes, "99999999TiB"), "too large a number");
        assert_eq!(said(Unit::Bytes, "99999999999999999999B"), "too large a number");
    }

    #[test]
    fn names_tell_the_unit_and_no_other_option_has_one() {
        let unit = |name: &str| Unit::of(find(BROKER_OPTIONS, name).unwrap());
        assert_eq!(unit("log.retention.ms"), Some(Unit::Ms));
        assert_eq!(unit("log.retention.hours"), Some(Unit::Hours));
        assert_eq!(unit("log.segment.bytes"), Some(Unit::Bytes));
        let between = "metadata.log.max.record.bytes.between.snapshots";
        assert_eq!(unit(between), Some(Unit::Bytes));
        assert_eq!(unit("num.partitions"), None);
        assert_eq!(unit("log.dirs"), None);
    }

    #[test]
    fn a_time_by_itself_always_names_its_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for text in ["30", "", "-5s", "5m", "1GiB"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
