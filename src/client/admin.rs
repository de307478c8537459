//! Topics, their settings and their records, at an administrator's word. Each call is one request,
//! sent once.

use std::collections::BTreeMap;

use super::fetch::leader;
use super::{CallError, Client, Topic, refusal};
use crate::env::Env;
use crate::protocol::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use crate::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::messages::describe_configs_request::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use crate::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::protocol::wire::Text;
use crate::types::{Offset, Uuid};

/// Of resources, in requests about settings.
const TOPIC: i8 = 2;

const SET: i8 = 0;
const DELETE: i8 = 1;

/// Where a setting comes from: the topic itself.
const OF_TOPIC: i8 = 1;

impl<E: Env> Client<E> {
    /// Creates a topic and gives its id.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<Uuid, CallError> {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: Text::new(name),
            value: Some(Text::new(value)),
        };
        let topic = CreatableTopic {
            name: Text::new(name),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            ..CreateTopicsRequest::default()
        };
        let response = self.call(None, &request).await?;
        let created = response.topics.first().ok_or(CallError::Missing)?;
        refusal(created.error_code)?;
        Ok(created.topic_id)
    }

    pub async fn delete_topic(&mut self, name: &str) -> Result<(), CallError> {
        let name = Some(Text::new(name));
        self.delete(DeleteTopicState { name, ..DeleteTopicState::default() }).await
    }

    pub async fn delete_topic_by_id(&mut self, topic_id: Uuid) -> Result<(), CallError> {
        self.delete(DeleteTopicState { topic_id, ..DeleteTopicState::default() }).await
    }

    async fn delete(&mut self, topic: DeleteTopicState) -> Result<(), CallError> {
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            ..DeleteTopicsRequest::default()
        };
        let response = self.call(None, &request).await?;
        refusal(response.responses.first().ok_or(CallError::Missing)?.error_code)
    }

    /// Adds partitions, to `count` of them.
    pub async fn create_partitions(&mut self, name: &str, count: i32) -> Result<(), CallError> {
        let topic = CreatePartitionsTopic { name: Text::new(name), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            ..CreatePartitionsRequest::default()
        };
        let response = self.call(None, &request).await?;
        refusal(response.results.first().ok_or(CallError::Missing)?.error_code)
    }

    /// Changes settings of a topic; those without a value are taken back.
    pub async fn alter_topic(
        &mut self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), CallError> {
        let change = |(name, value): (&String, &Option<String>)| AlterableConfig {
            name: Text::new(name),
            config_operation: if value.is_some() { SET } else { DELETE },
            value: value.as_deref().map(Text::new),
        };
        let resource = AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: Text::new(name),
            configs: changes.iter().map(change).collect(),
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![resource],
            ..IncrementalAlterConfigsRequest::default()
        };
        let response = self.call(None, &request).await?;
        refusal(response.responses.first().ok_or(CallError::Missing)?.error_code)
    }

    /// What the topic itself has set.
    pub async fn topic_configs(
        &mut self,
        name: &str,
    ) -> Result<BTreeMap<String, String>, CallError> {
        let resource = DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: Text::new(name),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            ..DescribeConfigsRequest::default()
        };
        let response = self.call(None, &request).await?;
        let described = response.results.into_iter().next().ok_or(CallError::Missing)?;
        refusal(described.error_code)?;
        let own = described.configs.into_iter().filter(|config| config.config_source == OF_TOPIC);
        let pair = own.map(|config| {
            let value = config.value.as_ref().map_or("", |value| value.as_str());
            (config.name.as_str().to_string(), value.to_string())
        });
        Ok(pair.collect())
    }

    /// Deletes the records below `before`, none for all that are committed. Gives the first offset
    /// that is left.
    pub async fn delete_records(
        &mut self,
        topic: &Topic,
        partition: u32,
        before: Option<Offset>,
    ) -> Result<Offset, CallError> {
        let asked = DeleteRecordsPartition {
            partition_index: partition as i32,
            offset: before.map_or(-1, |before| before.0),
        };
        let asked = DeleteRecordsTopic { name: Text::new(&topic.name), partitions: vec![asked] };
        let request = DeleteRecordsRequest { topics: vec![asked], timeout_ms: self.timeout_ms() };
        let response = self.call(leader(topic, partition)?, &request).await?;
        let topic = response.topics.into_iter().next().ok_or(CallError::Missing)?;
        let answer = topic.partitions.into_iter().next().ok_or(CallError::Missing)?;
        refusal(answer.error_code)?;
        Ok(Offset(answer.low_watermark))
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.options.call_ms_max).unwrap_or(i32::MAX)
    }
}
