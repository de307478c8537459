//! The text of an `ottla.toml`: Kafka's names as TOML keys.
//!
//! `log.retention.ms = 5`, `"log.retention.ms" = 5` and `[log.retention]` with `ms = 5` are the
//! same. Quoted keys are there for names that are also the beginning of others.

use std::collections::BTreeMap;

use toml::{Table, Value};

#[derive(Debug, thiserror::Error)]
pub enum TomlError {
    #[error("{0}")]
    Syntax(#[from] Box<toml::de::Error>),
    #[error("{0} is given twice, once as a table and once as a quoted key: keep one")]
    Twice(String),
    #[error("{name} is {found}: write a string, a number, true, false or a list of these")]
    Type { name: String, found: &'static str },
}

/// Kafka's names and the text of their values.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, TomlError> {
    let table: Table = text.parse().map_err(Box::new)?;
    let mut flat = BTreeMap::new();
    flatten("", table, &mut flat)?;
    Ok(flat)
}

fn flatten(
    prefix: &str,
    table: Table,
    flat: &mut BTreeMap<String, String>,
) -> Result<(), TomlError> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&name, inner, flat)?,
            value => {
                let text = text_of(&name, value)?;
                if flat.insert(name.clone(), text).is_some() {
                    return Err(TomlError::Twice(name));
                }
            }
        }
    }
    Ok(())
}

fn text_of(name: &str, value: Value) -> Result<String, TomlError> {
    let found = match value {
        Value::String(text) => return Ok(text),
        Value::Integer(number) => return Ok(number.to_string()),
        Value::Float(number) => return Ok(number.to_string()),
        Value::Boolean(flag) => return Ok(flag.to_string()),
        Value::Array(items) if items.iter().all(|item| !item.is_array()) => {
            let items: Result<Vec<_>, _> =
                items.into_iter().map(|item| text_of(name, item)).collect();
            return Ok(items?.join(","));
        }
        Value::Array(_) => "a list of lists",
        Value::Datetime(_) => "a date",
        Value::Table(_) => "a list of tables",
    };
    Err(TomlError::Type { name: name.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    #[test]
    fn dotted_quoted_and_nested_keys_are_the_same() {
        let expected = [("log.retention.ms".to_owned(), "5".to_owned())];
        assert_eq!(flat("log.retention.ms = 5"), expected);
        assert_eq!(flat("\"log.retention.ms\" = \"5\""), expected);
        assert_eq!(flat("[log.retention]\nms = 5"), expected);
        assert_eq!(flat("[log]\nretention = { ms = 5 }"), expected);
    }

    #[test]
    fn values_become_the_text_that_kafka_would_read() {
        let text = "a = true\nb = [\"x\", \"y\"]\nc = 0.5\nd = -1\ne = []";
        let values: Vec<_> = flat(text).into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["true", "x,y", "0.5", "-1", ""]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let said = |text| parse(text).unwrap_err().to_string();
        assert!(said("a = 1\na = 2").contains("duplicate key"), "{}", said("a = 1\na = 2"));
        assert!(said("\"a.b\" = 1\n[a]\nb = 2").contains("a.b is given twice"));
        assert!(said("a = 2020-01-01").contains("a is a date"));
        assert!(said("[[a]]\nb = 1").contains("a is a list of tables"));
    }
}
