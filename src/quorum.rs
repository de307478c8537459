//! The metadata log's consensus: KRaft, with any number of voters.
//!
//! `raft` decides and is pure; `driver` carries out what it decides. What the records of the log
//! mean is none of its business. One voter is an ordinary case of the rules for many: it elects
//! itself with a majority of one and commits what its own disk has synced.

pub mod control;
pub mod driver;
pub mod progress;
pub mod raft;
pub mod snapshot;
pub mod state;
pub mod voters;
