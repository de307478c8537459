//! What IncrementalAlterConfigs does to one key: set, delete, append to a list, subtract from it.
//!
//! Pure: the stored value and the operation come in, the value to store goes out. Deleting is
//! always allowed, so that a key from elsewhere can be got rid of.

use super::broker::BROKER_OPTIONS;
use super::option::{InvalidValue, Kind, Opt, find, split_list};
use super::topic::{OverrideError, check_override, override_option};
use super::unhonoured;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

/// Why a change is refused. To a client: `Topic` and `NotAList` are INVALID_CONFIG (40), the
/// others INVALID_REQUEST (42).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AlterError {
    #[error(transparent)]
    Topic(#[from] OverrideError),
    #[error("Can't {verb} to key {name} because its type is not LIST.")]
    NotAList { name: String, verb: &'static str },
    #[error("Cannot update these configs dynamically: [{0}]")]
    ReadOnly(String),
    #[error("{name} is not honoured by this broker: {why}")]
    NotHonoured { name: String, why: String },
    #[error(transparent)]
    Broker(InvalidValue),
}

impl Operation {
    pub fn from_wire(operation: i8) -> Option<Operation> {
        Some(match operation {
            0 => Operation::Set,
            1 => Operation::Delete,
            2 => Operation::Append,
            3 => Operation::Subtract,
            _ => return None,
        })
    }
}

/// The override to store for `name` (`None`: none), given what is stored now.
pub fn alter_topic(
    name: &str,
    stored: Option<&str>,
    operation: Operation,
    value: &str,
) -> Result<Option<String>, AlterError> {
    if operation == Operation::Delete {
        return Ok(None);
    }
    let option = override_option(name).ok_or_else(|| OverrideError::Unknown(name.to_owned()))?;
    let text = changed(option, stored, operation, value)?;
    check_override(name, &text)?;
    Ok(Some(text))
}

/// The dynamic value to store for `name`, for one broker or for all.
pub fn alter_broker(
    name: &str,
    stored: Option<&str>,
    operation: Operation,
    value: &str,
) -> Result<Option<String>, AlterError> {
    if operation == Operation::Delete {
        return Ok(None);
    }
    let Some(option) = find(BROKER_OPTIONS, name) else {
        let why = unhonoured::find(name).map_or("no option has this name", |key| key.why);
        return Err(AlterError::NotHonoured { name: name.to_owned(), why: why.to_owned() });
    };
    if option.is_read_only() {
        return Err(AlterError::ReadOnly(name.to_owned()));
    }
    let text = changed(option, stored, operation, value)?;
    option.check(&text).map_err(AlterError::Broker)?;
    Ok(Some(text))
}

fn changed(
    option: &Opt,
    stored: Option<&str>,
    operation: Operation,
    value: &str,
) -> Result<String, AlterError> {
    let verb = match operation {
        Operation::Set | Operation::Delete => return Ok(value.to_owned()),
        Operation::Append => "append",
        Operation::Subtract => "subtract",
    };
    if option.kind != Kind::List {
        return Err(AlterError::NotAList { name: option.name.to_owned(), verb });
    }
    let mut items = split_list(stored.or(option.default_text()).unwrap_or(""));
    for item in split_list(value) {
        let present = items.contains(&item);
        match operation {
            Operation::Append if !present => items.push(item),
            Operation::Subtract => items.retain(|kept| *kept != item),
            _ => {}
        }
    }
    Ok(items.join(","))
}

#[cfg(test)]
mod tests {
    use super::Operation::*;
    use super::*;

    #[test]
    fn lists_grow_and_shrink_from_what_is_stored_or_the_default() {
        let policy =
            |stored, operation, value| alter_topic("cleanup.policy", stored, operation, value);
        assert_eq!(policy(None, Append, "compact").unwrap().unwrap(), "delete,compact");
        assert_eq!(policy(Some("compact"), Append, "compact").unwrap().unwrap(), "compact");
        assert_eq!(policy(Some("compact,delete"), Subtract, "delete").unwrap().unwrap(), "compact");
        assert_eq!(policy(Some("compact"), Subtract, "delete").unwrap().unwrap(), "compact");
        assert_eq!(policy(Some("compact"), Delete, "").unwrap(), None);
        assert!(policy(None, Append, "shred").is_err());
    }

    #[test]
    fn only_lists_are_appended_to() {
        let error = alter_topic("retention.ms", None, Append, "5").unwrap_err();
        assert!(matches!(error, AlterError::NotAList { .. }));
    }

    #[test]
    fn a_broker_takes_dynamic_options_that_it_honours() {
        assert_eq!(
            alter_broker("message.max.bytes", None, Set, "5").unwrap(),
            Some("5".to_owned())
        );
        let refused = |name, value| alter_broker(name, None, Set, value).unwrap_err().to_string();
        assert_eq!(
            refused("num.partitions", "3"),
            "Cannot update these configs dynamically: [num.partitions]"
        );
        assert_eq!(
            refused("message.max.bytes", "-1"),
            "Invalid value -1 for configuration message.max.bytes: Value must be at least 0"
        );
        assert!(refused("log.cleaner.threads", "2").contains("not honoured"));
        assert_eq!(alter_broker("log.cleaner.threads", Some("2"), Delete, ""), Ok(None));
    }

    #[test]
    fn operations_have_their_numbers() {
        assert_eq!(
            [0, 1, 2, 3].map(Operation::from_wire),
            [Set, Delete, Append, Subtract].map(Some)
        );
        assert_eq!(Operation::from_wire(4), None);
    }
}
