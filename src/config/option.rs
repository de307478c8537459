//! What an option is, and the macro that declares a table of them.
//!
//! One line of a table makes the field of the typed struct, the parser with its range check, the
//! entry that DescribeConfigs answers and the line in the docs. Names, types, ranges and defaults
//! are Kafka's; where our default differs on purpose, the table says so (`instead of`).

use std::fmt;

/// Kafka's types, with the numbers that DescribeConfigs sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// Who may change an option while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Nobody: it needs a restart.
    ReadOnly,
    /// For one broker, or as the default of all.
    ClusterWide,
    /// For one topic, over the broker's value.
    Topic,
}

/// The numbers that an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    Any,
    Int {
        min: i64,
        max: i64,
    },
    /// One number outside the range has a meaning of its own.
    IntOr {
        min: i64,
        max: i64,
        or: i64,
    },
    Double {
        min: f64,
        max: f64,
    },
}

pub const fn any() -> Range {
    Range::Any
}

pub const fn at_least(min: i64) -> Range {
    Range::Int { min, max: i64::MAX }
}

pub const fn between(min: i64, max: i64) -> Range {
    Range::Int { min, max }
}

#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Kafka's name.
    pub name: &'static str,
    pub kind: Kind,
    pub range: Range,
    /// The words that a string, or each item of a list, may be. Empty: any.
    pub words: &'static [&'static str],
    default: &'static str,
    kafka_default: &'static str,
    verify: fn(&str) -> Result<(), String>,
    pub dynamic: Dynamic,
    /// The broker's option that this topic option falls back on.
    pub broker_name: Option<&'static str>,
    doc: &'static str,
}

/// Text that an option does not take, in Kafka's words, which clients show to people.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {problem}")]
pub struct InvalidValue {
    pub name: String,
    pub value: String,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("Not a number of type {0}")]
    NotANumber(Kind),
    #[error("Value must be at least {0}")]
    Below(String),
    #[error("Value must be no more than {0}")]
    Above(String),
    #[error("Expected value to be either true or false")]
    NotABoolean,
    #[error("String must be one of: {0}")]
    NotOneOf(String),
    #[error("Values must not be duplicated")]
    Duplicated,
    #[error("{0}")]
    Other(String),
}

/// A Rust type that an option can have.
pub trait OptionValue: Sized {
    const KIND: Kind;
    const WORDS: &'static [&'static str] = &[];

    /// What the kind, the range and the words do not say already.
    fn check_text(_: &str) -> Result<(), String> {
        Ok(())
    }

    /// `None` text is Kafka's null. Only called with text that the option's `check` let through.
    fn from_text(text: Option<&str>) -> Option<Self>;
}

impl Opt {
    pub const fn new(name: &'static str, kind: Kind, default: &'static str) -> Opt {
        Opt {
            name,
            kind,
            range: Range::Any,
            words: &[],
            default,
            kafka_default: default,
            verify: |_| Ok(()),
            dynamic: Dynamic::ReadOnly,
            broker_name: None,
            doc: "",
        }
    }

    pub const fn range(self, range: Range) -> Opt {
        Opt { range, ..self }
    }

    pub const fn words(self, words: &'static [&'static str]) -> Opt {
        Opt { words, ..self }
    }

    pub const fn kafka_default(self, kafka_default: &'static str) -> Opt {
        Opt { kafka_default, ..self }
    }

    pub const fn verify(self, verify: fn(&str) -> Result<(), String>) -> Opt {
        Opt { verify, ..self }
    }

    pub const fn dynamic(self, dynamic: Dynamic) -> Opt {
        Opt { dynamic, ..self }
    }

    pub const fn broker_name(self, name: &'static str) -> Opt {
        Opt { broker_name: Some(name), ..self }
    }

    pub const fn doc(self, doc: &'static str) -> Opt {
        Opt { doc, ..self }
    }

    /// `None` is Kafka's null: nothing set, something else decides.
    pub fn default_text(&self) -> Option<&'static str> {
        (self.default != "null").then_some(self.default)
    }

    /// What Kafka's default is, where ours differs on purpose.
    pub fn kafka_default_text(&self) -> Option<&'static str> {
        (self.kafka_default != self.default).then_some(self.kafka_default)
    }

    pub fn doc_text(&self) -> &'static str {
        self.doc.trim_start()
    }

    pub fn is_read_only(&self) -> bool {
        self.dynamic == Dynamic::ReadOnly
    }

    /// A value that must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Checks `text` and returns it as Kafka would print it.
    pub fn check(&self, text: &str) -> Result<String, InvalidValue> {
        self.canonical(text).map_err(|problem| InvalidValue {
            name: self.name.to_owned(),
            value: if self.is_sensitive() { "[hidden]".to_owned() } else { text.to_owned() },
            problem,
        })
    }

    fn canonical(&self, text: &str) -> Result<String, Problem> {
        let trimmed = text.trim();
        (self.verify)(trimmed).map_err(Problem::Other)?;
        match self.kind {
            Kind::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                word @ ("true" | "false") => Ok(word.to_owned()),
                _ => Err(Problem::NotABoolean),
            },
            Kind::Int => self.integer(trimmed, i32::MIN.into(), i32::MAX.into()),
            Kind::Short => self.integer(trimmed, i16::MIN.into(), i16::MAX.into()),
            Kind::Long => self.integer(trimmed, i64::MIN, i64::MAX),
            Kind::Double => self.double(trimmed),
            Kind::List => self.list(trimmed),
            Kind::String | Kind::Class => self.word(trimmed).map(|()| trimmed.to_owned()),
            Kind::Password => Ok(text.to_owned()),
        }
    }

    fn integer(&self, text: &str, type_min: i64, type_max: i64) -> Result<String, Problem> {
        let not_a_number = Problem::NotANumber(self.kind);
        let Ok(number) = text.parse::<i64>() else { return Err(not_a_number) };
        if !(type_min..=type_max).contains(&number) {
            return Err(not_a_number);
        }
        let (min, max) = match self.range {
            Range::IntOr { or, .. } if or == number => (number, number),
            Range::Int { min, max } | Range::IntOr { min, max, .. } => (min, max),
            Range::Any | Range::Double { .. } => (type_min, type_max),
        };
        if number < min {
            Err(Problem::Below(min.to_string()))
        } else if number > max {
            Err(Problem::Above(max.to_string()))
        } else {
            Ok(number.to_string())
        }
    }

    fn double(&self, text: &str) -> Result<String, Problem> {
        let Ok(number) = text.parse::<f64>() else { return Err(Problem::NotANumber(self.kind)) };
        match self.range {
            Range::Double { min, .. } if number < min => Err(Problem::Below(min.to_string())),
            Range::Double { max, .. } if number > max => Err(Problem::Above(max.to_string())),
            Range::Double { .. } if number.is_nan() => Err(Problem::NotANumber(self.kind)),
            _ => Ok(format!("{number:?}")),
        }
    }

    fn list(&self, text: &str) -> Result<String, Problem> {
        let items = split_list(text);
        for (i, item) in items.iter().enumerate() {
            self.word(item)?;
            if items[..i].contains(item) {
                return Err(Problem::Duplicated);
            }
        }
        Ok(items.join(","))
    }

    fn word(&self, word: &str) -> Result<(), Problem> {
        if self.words.is_empty() || self.words.contains(&word) {
            return Ok(());
        }
        Err(Problem::NotOneOf(self.words.join(", ")))
    }

    /// The allowed values, for people.
    pub fn allowed(&self) -> String {
        let number = |n: i64| match n {
            i64::MAX => "9223372036854775807".to_owned(),
            n => n.to_string(),
        };
        match self.range {
            Range::Int { min, max: i64::MAX } => format!("{min} or more"),
            Range::Int { min, max } => format!("{} to {}", number(min), number(max)),
            Range::IntOr { min, max, or } => format!("{min} to {max}, or {or}"),
            Range::Double { min, max } => format!("{min} to {max}"),
            Range::Any if !self.words.is_empty() => self.words.join(", "),
            Range::Any if self.kind == Kind::Boolean => "true, false".to_owned(),
            Range::Any => format!("any {}", self.kind.to_string().to_lowercase()),
        }
    }
}

/// The items of Kafka's list syntax: commas, with space around them ignored.
pub fn split_list(text: &str) -> Vec<&str> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
}

/// An option of a table, by Kafka's name.
pub fn find<'a>(table: &'a [Opt], name: &str) -> Option<&'a Opt> {
    table.iter().find(|option| option.name == name)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        })
    }
}

/// Declares a struct of options and the table beside it.
///
/// A line reads `field: type = "default" [instead of "Kafka's"] in range,` then
/// `"kafka.name" [from "broker.name"], Dynamic;`, under its doc comment.
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $config:ident in $table:ident;
        $(
            $(#[doc = $doc:literal])+
            $field:ident: $type:ty = $default:literal $(instead of $kafka:literal)? in $range:expr,
                $name:literal $(from $broker:literal)?, $dynamic:ident;
        )+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $config {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        pub const $table: &[crate::config::option::Opt] = &[
            $(
                crate::config::option::Opt::new(
                    $name,
                    <$type as crate::config::option::OptionValue>::KIND,
                    $default,
                )
                .words(<$type as crate::config::option::OptionValue>::WORDS)
                .range($range)
                .verify(<$type as crate::config::option::OptionValue>::check_text)
                .dynamic(crate::config::option::Dynamic::$dynamic)
                $( .kafka_default($kafka) )?
                $( .broker_name($broker) )?
                .doc(concat!($($doc),+)),
            )+
        ];

        impl $config {
            /// Reads every option from `text_of`, which gives its effective text.
            fn read<E: From<crate::config::option::InvalidValue>>(
                text_of: impl Fn(&'static crate::config::option::Opt) -> Result<Option<String>, E>,
            ) -> Result<$config, E> {
                Ok($config {
                    $(
                        $field: crate::config::option::read_one($table, $name, &text_of)?,
                    )+
                })
            }
        }
    };
}

pub(super) use options;

/// Reads one field of a struct that `options!` made.
pub(super) fn read_one<T: OptionValue, E: From<InvalidValue>>(
    table: &'static [Opt],
    name: &str,
    text_of: &impl Fn(&'static Opt) -> Result<Option<String>, E>,
) -> Result<T, E> {
    let option = find(table, name).expect("the macro that names the field also made the table");
    let text = text_of(option)?;
    T::from_text(text.as_deref()).ok_or_else(|| {
        E::from(InvalidValue {
            name: name.to_owned(),
            value: text.unwrap_or_else(|| "null".to_owned()),
            problem: Problem::NotANumber(option.kind),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Opt = Opt::new("num.partitions", Kind::Int, "1").range(at_least(1));
    const LEVEL: Opt = Opt::new("compression.gzip.level", Kind::Int, "-1").range(Range::IntOr {
        min: 1,
        max: 9,
        or: -1,
    });
    const POLICY: Opt =
        Opt::new("cleanup.policy", Kind::List, "delete").words(&["compact", "delete"]);
    const RATIO: Opt = Opt::new("min.cleanable.dirty.ratio", Kind::Double, "0.5")
        .range(Range::Double { min: 0.0, max: 1.0 });
    const FLAG: Opt = Opt::new("preallocate", Kind::Boolean, "false");

    fn refusal(option: &Opt, text: &str) -> String {
        option.check(text).unwrap_err().to_string()
    }

    #[test]
    fn refuses_in_the_words_of_kafka() {
        let said = |what: &str| format!("Invalid value {what}");
        assert_eq!(
            refusal(&COUNT, "0"),
            said("0 for configuration num.partitions: Value must be at least 1")
        );
        assert_eq!(
            refusal(&COUNT, "1.5"),
            said("1.5 for configuration num.partitions: Not a number of type INT")
        );
        assert_eq!(
            refusal(&COUNT, "2147483648"),
            said("2147483648 for configuration num.partitions: Not a number of type INT")
        );
        assert_eq!(
            refusal(&POLICY, "foo"),
            said("foo for configuration cleanup.policy: String must be one of: compact, delete")
        );
        assert_eq!(
            refusal(&RATIO, "2.0"),
            said("2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1")
        );
        assert_eq!(
            refusal(&FLAG, "maybe"),
            said("maybe for configuration preallocate: Expected value to be either true or false")
        );
        assert_eq!(POLICY.check("delete,delete").unwrap_err().problem, Problem::Duplicated);
    }

    #[test]
    fn prints_what_it_takes_as_kafka_would() {
        assert_eq!(COUNT.check(" 7 ").unwrap(), "7");
        assert_eq!(FLAG.check("TRUE").unwrap(), "true");
        assert_eq!(POLICY.check("compact , delete").unwrap(), "compact,delete");
        assert_eq!(POLICY.check("").unwrap(), "");
        assert_eq!(RATIO.check("1").unwrap(), "1.0");
    }

    #[test]
    fn one_number_outside_a_range_may_have_a_meaning() {
        assert_eq!(LEVEL.check("-1").unwrap(), "-1");
        assert_eq!(LEVEL.check("0").unwrap_err().problem, Problem::Below("1".to_owned()));
        assert_eq!(LEVEL.check("10").unwrap_err().problem, Problem::Above("9".to_owned()));
        assert!(LEVEL.check("-2").is_err());
    }
}
