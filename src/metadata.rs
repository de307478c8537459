//! The cluster as an image: what the metadata log adds up to.
//!
//! Records go in (`delta`), an immutable [`image::Image`] comes out, shared by everyone as an `Arc`.
//! Nothing here does I/O or knows of consensus: the same code replays a log, loads a snapshot, and
//! runs ahead of the commit inside the controller.

pub mod apply;
pub mod delta;
pub mod handle;
pub mod image;
pub mod kept;
pub mod map;
pub mod record;
pub mod replay;
pub mod snapshot;
pub mod topic;
