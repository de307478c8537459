//! Decides about the cluster: topics, configurations, brokers, leaders, producer ids.
//!
//! An operation looks at the image and answers with records; the records are the decision. They
//! are applied to the controller's own image at once, so the next operation sees them, and
//! everybody else sees them when the quorum has committed them. The controller never calls a
//! broker: brokers follow the image.
//!
//! `operation` what an operation is, `handle` how to ask for one, `driver` runs them one by one.
//! The others decide, and are pure.

pub mod bootstrap;
pub mod brokers;
pub mod configs;
pub mod driver;
pub mod features;
pub mod handle;
pub mod leaders;
pub mod operation;
pub mod partitions;
pub mod placement;
pub mod producer_ids;
pub mod refusal;
#[cfg(test)]
mod testing;
pub mod topics;
