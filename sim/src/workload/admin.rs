//! Administrators: the topics that a run begins with.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla::client::CallError;
use ottla::env::Env;
use ottla::protocol::error::ErrorCode;

use super::Stage;

/// Creates the topics of the plan, one after the other.
pub async fn prepare<E: Env>(env: E, stage: Arc<Stage>) {
    let name = "reader";
    let mut client = stage.client(&env, name);
    for planned in &stage.plan.topics {
        let configs: Vec<(&str, &str)> =
            planned.configs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        loop {
            let created =
                client.create_topic(&planned.name, planned.partitions as i32, &configs).await;
            match created {
                // Its first attempt was the one without an answer.
                Ok(_) | Err(CallError::Refused { code: ErrorCode::TopicAlreadyExists }) => break,
                Err(error) => stage.rest(&env, name, &error).await,
            }
        }
        stage.created.fetch_add(1, Ordering::Relaxed);
    }
}
