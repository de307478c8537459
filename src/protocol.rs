//! The wire: messages, records, errors.

pub mod records;
