//! The wire: messages, records, errors.
