//! Configuration, quotas, credentials.

use bytes::Bytes;
use ottla::protocol::messages::{
    alter_client_quotas_request, alter_configs_request, alter_partition_reassignments_request,
    alter_user_scram_credentials_request, describe_acls_request, describe_client_quotas_request,
    describe_configs_request, describe_delegation_token_request,
    describe_user_scram_credentials_request, elect_leaders_request,
    incremental_alter_configs_request, list_config_resources_request,
    list_partition_reassignments_request, sasl_handshake_request, update_features_request,
};
use ottla::protocol::wire::Text;

use super::Capture;

pub fn configuration(capture: &mut Capture) {
    {
        use incremental_alter_configs_request::{
            AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
        };
        capture.each(|_| IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "golden-7".into(),
                configs: vec![AlterableConfig {
                    name: "segment.bytes".into(),
                    config_operation: 0,
                    value: Some("10485760".into()),
                }],
            }],
            validate_only: false,
        });
    }
    {
        use alter_configs_request::{AlterConfigsRequest, AlterConfigsResource, AlterableConfig};
        capture.each(|_| AlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "golden-6".into(),
                configs: vec![AlterableConfig { name: "no.such".into(), value: Some("1".into()) }],
            }],
            validate_only: true,
        });
    }
    {
        use describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
        let resource =
            |kind, name: &'static str, keys: Option<Vec<Text>>| DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configuration_keys: keys,
            };
        capture.each(|_| DescribeConfigsRequest {
            resources: vec![
                resource(2, "golden-7", None),
                resource(4, "1", Some(vec!["log.retention.ms".into(), "listeners".into()])),
                resource(2, "nowhere", None),
            ],
            include_synonyms: true,
            // Kafka's sentences stay with Kafka.
            include_documentation: false,
        });
    }
    use list_config_resources_request::ListConfigResourcesRequest;
    capture.each(|_| ListConfigResourcesRequest::default());
    use describe_client_quotas_request::DescribeClientQuotasRequest;
    capture.each(|_| DescribeClientQuotasRequest::default());
    use alter_client_quotas_request::{AlterClientQuotasRequest, EntityData, EntryData, OpData};
    capture.each(|_| AlterClientQuotasRequest {
        entries: vec![EntryData {
            entity: vec![EntityData {
                entity_type: "user".into(),
                entity_name: Some("golden".into()),
            }],
            ops: vec![OpData { key: "producer_byte_rate".into(), value: 1e9, remove: false }],
        }],
        validate_only: false,
    });
    capture.each(|_| DescribeClientQuotasRequest::default());
    use alter_partition_reassignments_request::{
        AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
    };
    capture.each(|_| AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: "golden-6".into(),
            partitions: vec![ReassignablePartition::default()],
        }],
        ..AlterPartitionReassignmentsRequest::default()
    });
    capture.each(|_| {
        list_partition_reassignments_request::ListPartitionReassignmentsRequest::default()
    });
    use elect_leaders_request::{ElectLeadersRequest, TopicPartitions};
    capture.each(|_| ElectLeadersRequest {
        topic_partitions: Some(vec![TopicPartitions {
            topic: "golden-6".into(),
            partitions: vec![0],
        }]),
        ..ElectLeadersRequest::default()
    });
    use update_features_request::{FeatureUpdateKey, UpdateFeaturesRequest};
    capture.each(|v| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "no.such".into(),
            max_version_level: 3,
            ..Default::default()
        }],
        validate_only: v >= 1,
        ..UpdateFeaturesRequest::default()
    });
}

pub fn security(capture: &mut Capture) {
    capture.each(|_| describe_acls_request::DescribeAclsRequest {
        resource_type_filter: 1,
        operation: 1,
        permission_type: 1,
        resource_name_filter: None,
        principal_filter: None,
        host_filter: None,
        ..Default::default()
    });
    use alter_user_scram_credentials_request::{
        AlterUserScramCredentialsRequest, ScramCredentialUpsertion,
    };
    capture.each(|_| AlterUserScramCredentialsRequest {
        upsertions: vec![ScramCredentialUpsertion {
            name: "golden".into(),
            mechanism: 1,
            iterations: 4096,
            salt: Bytes::from_static(b"salt"),
            salted_password: Bytes::from_static(b"salted password"),
        }],
        ..AlterUserScramCredentialsRequest::default()
    });
    capture.each(|_| {
        describe_user_scram_credentials_request::DescribeUserScramCredentialsRequest { users: None }
    });
    capture.each(|_| describe_delegation_token_request::DescribeDelegationTokenRequest::default());
    capture.each(|_| sasl_handshake_request::SaslHandshakeRequest { mechanism: "PLAIN".into() });
}
