//! How the rest of the broker asks the controller for something.
//!
//! An answer means: committed, and published by this node's broker, so a topic that was created
//! can be written to. Requests are taken as the protocol has them; authorization and throttling
//! are the caller's.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::controller::operation::{
    Answer, Context, ControllerError, Decided, Operation, operation,
};
use crate::controller::producer_ids::{AllocateError, ProducerIdBlock};
use crate::controller::{configs, partitions, producer_ids, topics};
use crate::env::Env;
use crate::env::clock::Clock;
use crate::metadata::handle::MetadataHandle;
use crate::protocol::messages::alter_configs_request::AlterConfigsRequest;
use crate::protocol::messages::alter_configs_response::AlterConfigsResponse;
use crate::protocol::messages::create_partitions_request::CreatePartitionsRequest;
use crate::protocol::messages::create_partitions_response::CreatePartitionsResponse;
use crate::protocol::messages::create_topics_request::CreateTopicsRequest;
use crate::protocol::messages::create_topics_response::CreateTopicsResponse;
use crate::protocol::messages::delete_topics_request::DeleteTopicsRequest;
use crate::protocol::messages::delete_topics_response::DeleteTopicsResponse;
use crate::protocol::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use crate::protocol::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;
use crate::types::{BrokerEpoch, NodeId};

/// For requests that carry no time of their own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

pub struct ControllerHandle<E: Env> {
    env: E,
    operations: mpsc::Sender<Box<dyn Operation>>,
    metadata: MetadataHandle,
}

impl<E: Env> Clone for ControllerHandle<E> {
    fn clone(&self) -> ControllerHandle<E> {
        let ControllerHandle { env, operations, metadata } = self;
        let (env, operations) = (env.clone(), operations.clone());
        ControllerHandle { env, operations, metadata: metadata.clone() }
    }
}

impl<E: Env> ControllerHandle<E> {
    pub fn new(
        env: E,
        operations: mpsc::Sender<Box<dyn Operation>>,
        metadata: MetadataHandle,
    ) -> ControllerHandle<E> {
        ControllerHandle { env, operations, metadata }
    }

    pub async fn create_topics(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let name = "CreateTopics";
        let Some(timeout) = positive(request.timeout_ms) else {
            return topics::refused_creation(&request, &ControllerError::TimedOut { name });
        };
        let asked = request.clone();
        let decide = move |context: &mut Context<'_>| topics::create(context, &asked);
        let done = self.write(name, timeout, decide).await;
        done.unwrap_or_else(|error| topics::refused_creation(&request, &error))
    }

    pub async fn delete_topics(&self, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let name = "DeleteTopics";
        let Some(timeout) = positive(request.timeout_ms) else {
            return topics::refused_deletion(&request, &ControllerError::TimedOut { name });
        };
        let asked = request.clone();
        let decide = move |context: &mut Context<'_>| topics::delete(context, &asked);
        let done = self.write(name, timeout, decide).await;
        done.unwrap_or_else(|error| topics::refused_deletion(&request, &error))
    }

    pub async fn create_partitions(
        &self,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        let name = "CreatePartitions";
        let Some(timeout) = positive(request.timeout_ms) else {
            return partitions::refused(&request, &ControllerError::TimedOut { name });
        };
        let asked = request.clone();
        let decide = move |context: &mut Context<'_>| partitions::create(context, &asked);
        let done = self.write(name, timeout, decide).await;
        done.unwrap_or_else(|error| partitions::refused(&request, &error))
    }

    pub async fn incremental_alter_configs(
        &self,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let asked = request.clone();
        let decide = move |context: &mut Context<'_>| configs::alter_incrementally(context, &asked);
        let done = self.write("IncrementalAlterConfigs", REQUEST_TIMEOUT, decide).await;
        done.unwrap_or_else(|error| configs::refused_incremental(&request, &error))
    }

    pub async fn alter_configs(&self, request: AlterConfigsRequest) -> AlterConfigsResponse {
        let asked = request.clone();
        let decide = move |context: &mut Context<'_>| configs::replace(context, &asked);
        let done = self.write("AlterConfigs", REQUEST_TIMEOUT, decide).await;
        done.unwrap_or_else(|error| configs::refused_replacement(&request, &error))
    }

    /// A block of producer ids for `broker`, which is registered under `epoch`.
    pub async fn allocate_producer_ids(
        &self,
        broker: NodeId,
        epoch: BrokerEpoch,
    ) -> Result<ProducerIdBlock, AllocateError> {
        let decide =
            move |context: &mut Context<'_>| producer_ids::allocate(context, broker, epoch);
        self.write("AllocateProducerIds", REQUEST_TIMEOUT, decide).await?
    }

    /// Any other operation: `decide` runs on the controller's own image, at its turn.
    pub async fn write<R: Send + 'static>(
        &self,
        name: &'static str,
        timeout: Duration,
        decide: impl FnOnce(&mut Context<'_>) -> Decided<R> + Send + 'static,
    ) -> Result<R, ControllerError> {
        let clock = self.env.clock();
        let done = async {
            let (response, end) = self.commit(name, timeout, decide).await?;
            if !self.metadata.published_to(end).await {
                return Err(ControllerError::Stopped { why: "the broker stopped".into() });
            }
            Ok(response)
        };
        let done = clock.timeout(timeout, done).await;
        done.unwrap_or(Err(ControllerError::TimedOut { name }))
    }

    /// Like [`ControllerHandle::write`], and answers before the broker has published it.
    pub async fn commit<R: Send + 'static>(
        &self,
        name: &'static str,
        timeout: Duration,
        decide: impl FnOnce(&mut Context<'_>) -> Decided<R> + Send + 'static,
    ) -> Answer<R> {
        let stopped = || ControllerError::Stopped { why: "its task ended".into() };
        let deadline = self.env.clock().now().after(timeout);
        let (operation, answer) = operation(name, deadline, decide);
        self.operations.send(operation).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// No time at all is an error in Kafka, not a request to wait for ever.
fn positive(timeout_ms: i32) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().filter(|&ms| ms > 0).map(Duration::from_millis)
}
