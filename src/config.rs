//! The options: one table makes the parser, the typed structs, DescribeConfigs and the docs.
//!
//! Keys are Kafka's. Text comes in, typed values and errors go out: nothing here reads a file, an
//! environment or a clock. A key that is not honoured is refused or warned of, never swallowed.

pub mod alter;
pub mod broker;
pub mod describe;
pub mod docs;
pub mod environment;
pub mod layers;
pub mod listener;
pub mod option;
pub mod properties;
pub mod reference;
pub mod settings;
pub mod suggest;
pub mod toml_text;
pub mod topic;
pub mod unhonoured;
pub mod unit;
pub mod value;
