//! Creates the topics that a run begins with, once there is a broker to ask.

use std::sync::atomic::Ordering;

use ottla::client::CallError;
use ottla::env::Env;
use ottla::env::clock::Clock;
use ottla::protocol::error::ErrorCode;

use super::{RETRY, Stage, admin};
use crate::history::Operation;

pub async fn run<E: Env>(env: &E, stage: &Stage, name: &str) {
    let mut client = stage.client(env, name);
    while let Err(error) = client.topics().await {
        stage.note(name, format!("waits for a broker: {error}"));
        env.clock().sleep(RETRY).await;
    }
    let mut asker = admin::Asker::new(stage, name, client);
    for planned in &stage.plan.topics {
        let (name, configs) = (planned.name.clone(), planned.configs.clone());
        let create = Operation::CreateTopic { name, partitions: planned.partitions, configs };
        loop {
            match asker.ask(create.clone()).await {
                // Its first attempt was the one without an answer.
                Ok(()) | Err(CallError::Refused { code: ErrorCode::TopicAlreadyExists }) => break,
                Err(error) => stage.rest(env, asker.name, &error).await,
            }
        }
    }
    stage.prepared.store(true, Ordering::Relaxed);
}
