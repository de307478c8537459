//! One log on disk, in Kafka's format. It does not know what a topic is.

pub mod commit;
