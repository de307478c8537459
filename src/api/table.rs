//! Every API that is served: its versions, and the file that answers it.
//!
//! The one list: dispatch and ApiVersions both read it. A version is here when it is right.

use std::ops::RangeInclusive;

use super::{Call, Handling, Refusal, refuse};
use crate::env::Env;
use crate::protocol::api::ApiKey;

/// `serve` decodes, awaits, encodes; `raw` is for the few that answer otherwise. Where the
/// advertised minimum is below what is served, requests in between close the connection, as they
/// do with Kafka: old clients only look at the number (KAFKA-18659).
macro_rules! apis {
    ($($key:ident $advertised:expr, $served:expr, $kind:ident $handle:path;)*) => {
        /// Key and versions, as ApiVersions answers them.
        pub const ADVERTISED: &[(ApiKey, RangeInclusive<i16>)] =
            &[$((ApiKey::$key, $advertised)),*];

        pub(super) fn dispatch<E: Env>(call: Call<E>) -> Handling<E> {
            let (api, version) = (call.frame.api, call.frame.version);
            match api {
                $(ApiKey::$key if $served.contains(&version) => apis!(@$kind call $handle),)*
                _ => refuse(Refusal::NotServed { api, version }),
            }
        }
    };
    (@serve $call:ident $handle:path) => { Box::pin($call.serve($handle)) };
    (@raw $call:ident $handle:path) => { Box::pin($handle($call)) };
}

apis! {
    Produce                 0..=13, 3..=13, raw   super::produce::answer;
    Fetch                   4..=18, 4..=18, raw   super::fetch::answer;
    ListOffsets             1..=11, 1..=11, serve super::list_offsets::handle;
    Metadata                0..=13, 0..=13, serve super::metadata::handle;
    ApiVersions             0..=5,  (i16::MIN..=i16::MAX), raw super::api_versions::answer;
    CreateTopics            2..=7,  2..=7,  serve super::create_topics::handle;
    DeleteTopics            1..=6,  1..=6,  serve super::delete_topics::handle;
    DeleteRecords           0..=2,  0..=2,  serve super::delete_records::handle;
    InitProducerId          0..=5,  0..=5,  serve super::init_producer_id::handle;
    OffsetForLeaderEpoch    2..=4,  2..=4,  serve super::offset_for_leader_epoch::handle;
    DescribeConfigs         1..=4,  1..=4,  serve super::describe_configs::handle;
    AlterConfigs            0..=2,  0..=2,  serve super::alter_configs::handle;
    DescribeLogDirs         1..=5,  1..=5,  serve super::describe_log_dirs::handle;
    CreatePartitions        0..=3,  0..=3,  serve super::create_partitions::handle;
    IncrementalAlterConfigs 0..=1,  0..=1,  serve super::incremental_alter_configs::handle;
    DescribeQuorum          0..=2,  0..=2,  serve super::describe_quorum::handle;
    DescribeCluster         0..=2,  0..=2,  serve super::describe_cluster::handle;
    ListConfigResources     0..=1,  0..=1,  serve super::list_config_resources::handle;
    DescribeTopicPartitions 0..=0,  0..=0,  serve super::describe_topic_partitions::handle;
}
