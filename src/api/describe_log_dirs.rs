//! DescribeLogDirs (key 35), versions 1 to 5: how much each partition takes, and what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::Context;
use crate::broker::Hosted;
use crate::broker::data_directory::DataDirectory;
use crate::env::Env;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use crate::protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::protocol::wire::Text;

pub async fn handle<E: Env>(
    ctx: Context<E>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let hosted = ctx.broker.hosted();
    let mut results = Vec::new();
    for directory in ctx.broker.directories() {
        results.push(describe(directory, &hosted, &request).await);
    }
    DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() }
}

async fn describe<E: Env>(
    directory: &Arc<DataDirectory<E>>,
    hosted: &[Hosted<E>],
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResult {
    let log_dir = Text::from(directory.directory.path().display().to_string());
    if directory.committer.offline().is_some() {
        let error_code = ErrorCode::KafkaStorageError.code();
        return DescribeLogDirsResult { error_code, log_dir, ..Default::default() };
    }
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let here = hosted.iter().filter(|hosted| Arc::ptr_eq(&hosted.directory, directory));
    for Hosted { partition, .. } in here.filter(|hosted| is_asked(request, hosted)) {
        let described = DescribeLogDirsPartition {
            partition_index: partition.index,
            partition_size: partition.size_bytes().await.map_or(-1, |bytes| bytes as i64),
            ..DescribeLogDirsPartition::default()
        };
        topics.entry(&partition.topic).or_default().push(described);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| DescribeLogDirsTopic { name: Text::new(name), partitions });
    let space = directory.directory.space();
    let (total_bytes, usable_bytes) = match space {
        Ok(space) => (space.total_bytes as i64, space.usable_bytes as i64),
        Err(_) => (-1, -1),
    };
    DescribeLogDirsResult {
        log_dir,
        topics: topics.collect(),
        total_bytes,
        usable_bytes,
        ..DescribeLogDirsResult::default()
    }
}

/// A null list asks for all. Unknown topics are left out of the answer.
fn is_asked<E: Env>(request: &DescribeLogDirsRequest, hosted: &Hosted<E>) -> bool {
    let Some(topics) = &request.topics else { return true };
    let partition = &hosted.partition;
    topics.iter().any(|topic| {
        *topic.topic == *partition.topic && topic.partitions.contains(&partition.index)
    })
}
