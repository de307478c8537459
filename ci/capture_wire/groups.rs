//! Classic, consumer, share and streams groups.

use bytes::Bytes;
use ottla::protocol::api::ApiKey;
use ottla::protocol::messages::{
    consumer_group_describe_request, consumer_group_heartbeat_request, delete_groups_request,
    describe_groups_request, describe_share_group_offsets_request, find_coordinator_request,
    heartbeat_request, join_group_request, leave_group_request, list_groups_request,
    offset_commit_request, offset_delete_request, offset_fetch_request,
    share_group_describe_request, share_group_heartbeat_request, streams_group_describe_request,
    streams_group_heartbeat_request, sync_group_request,
};
use ottla::protocol::wire::{Request, Text};
use ottla::types::Uuid;

use super::{Capture, text};

pub fn groups(capture: &mut Capture, topic_id: Uuid) {
    use find_coordinator_request::FindCoordinatorRequest;
    capture.each(|v| FindCoordinatorRequest {
        key: if v < 4 { "golden".into() } else { "".into() },
        coordinator_keys: if v < 4 { vec![] } else { vec!["golden".into(), "other".into()] },
        ..FindCoordinatorRequest::default()
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    for version in ApiKey::JoinGroup.stable_versions() {
        classic_group(capture, version, topic_id);
    }
    capture.each(|_| describe_groups_request::DescribeGroupsRequest {
        groups: vec!["golden-9".into(), "nowhere".into()],
        ..Default::default()
    });
    capture.each(|_| list_groups_request::ListGroupsRequest::default());
    {
        use offset_delete_request::{
            OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
        };
        capture.each(|_| OffsetDeleteRequest {
            group_id: "golden-0".into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: "golden-7".into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            }],
        });
    }
    capture.each(|v| delete_groups_request::DeleteGroupsRequest {
        groups_names: vec![text(format!("golden-{v}")), "nowhere".into()],
    });
    consumer_and_share_groups(capture);
}

/// A member's whole life, each request in the version of the join or the nearest that there is.
fn classic_group(capture: &mut Capture, version: i16, topic_id: Uuid) {
    fn nearest<R: Request>(version: i16) -> i16 {
        version.clamp(*R::VERSIONS.start(), *R::API.stable_versions().end())
    }
    let group_id = text(format!("golden-{version}"));
    let mut member_id = Text::default();
    let mut generation_id = 0;
    for _ in 0..2 {
        use join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
        let join = JoinGroupRequest {
            group_id: group_id.clone(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: if version >= 1 { 1000 } else { -1 },
            member_id: member_id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"subscription"),
            }],
            ..JoinGroupRequest::default()
        };
        let Some(joined) = capture.one(version, &join) else { return };
        member_id = joined.member_id;
        generation_id = joined.generation_id;
        if joined.error_code == 0 {
            break;
        }
    }
    use sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
    let sync = SyncGroupRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: Bytes::from_static(b"assignment"),
        }],
        protocol_type: (version >= 5).then(|| "consumer".into()),
        protocol_name: (version >= 5).then(|| "range".into()),
        ..SyncGroupRequest::default()
    };
    capture.one(nearest::<SyncGroupRequest>(version), &sync);
    use heartbeat_request::HeartbeatRequest;
    let heartbeat = HeartbeatRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        group_instance_id: None,
    };
    capture.one(nearest::<HeartbeatRequest>(version), &heartbeat);
    {
        use offset_commit_request::{
            OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        };
        let v = version + 1;
        let v = v.clamp(2, 10);
        let commit = OffsetCommitRequest {
            group_id: group_id.clone(),
            generation_id_or_member_epoch: generation_id,
            member_id: member_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: if v < 10 { "golden-7".into() } else { "".into() },
                topic_id: if v < 10 { Uuid::ZERO } else { topic_id },
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: 1,
                    committed_metadata: Some("mark".into()),
                    ..Default::default()
                }],
            }],
            ..OffsetCommitRequest::default()
        };
        capture.one(v, &commit);
    }
    {
        use offset_fetch_request::{
            OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
        };
        let v = (version + 1).clamp(1, 10);
        let mut fetch = OffsetFetchRequest::default();
        if v < 8 {
            fetch.group_id = group_id.clone();
            let partition_indexes = vec![0, 1];
            fetch.topics =
                Some(vec![OffsetFetchRequestTopic { name: "golden-7".into(), partition_indexes }]);
        } else {
            fetch.groups = vec![OffsetFetchRequestGroup {
                group_id: group_id.clone(),
                topics: None,
                ..OffsetFetchRequestGroup::default()
            }];
        }
        capture.one(v, &fetch);
    }
    use leave_group_request::{LeaveGroupRequest, MemberIdentity};
    let v = nearest::<LeaveGroupRequest>(version);
    let mut leave = LeaveGroupRequest { group_id, ..LeaveGroupRequest::default() };
    if v < 3 {
        leave.member_id = member_id;
    } else {
        leave.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    }
    capture.one(v, &leave);
}

fn consumer_and_share_groups(capture: &mut Capture) {
    {
        use consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
        capture.each(|v| ConsumerGroupHeartbeatRequest {
            group_id: "golden-consumers".into(),
            member_id: if v == 0 { "".into() } else { "AAAAAAAAAAAAAAAAAAAAAA".into() },
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["golden-7".into()]),
            topic_partitions: Some(vec![]),
            ..ConsumerGroupHeartbeatRequest::default()
        });
        capture.each(|_| consumer_group_describe_request::ConsumerGroupDescribeRequest {
            group_ids: vec!["golden-consumers".into(), "nowhere".into()],
            include_authorized_operations: true,
        });
    }
    {
        use share_group_heartbeat_request::ShareGroupHeartbeatRequest;
        capture.each(|_| ShareGroupHeartbeatRequest {
            group_id: "golden-shares".into(),
            member_id: "AAAAAAAAAAAAAAAAAAAAAA".into(),
            subscribed_topic_names: Some(vec!["golden-7".into()]),
            ..ShareGroupHeartbeatRequest::default()
        });
        capture.each(|_| share_group_describe_request::ShareGroupDescribeRequest {
            group_ids: vec!["golden-shares".into()],
            include_authorized_operations: false,
        });
        use describe_share_group_offsets_request::{
            DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
        };
        capture.each(|_| DescribeShareGroupOffsetsRequest {
            groups: vec![DescribeShareGroupOffsetsRequestGroup {
                group_id: "golden-shares".into(),
                topics: None,
            }],
        });
    }
    use streams_group_heartbeat_request::{StreamsGroupHeartbeatRequest, Subtopology, Topology};
    capture.each(|_| StreamsGroupHeartbeatRequest {
        group_id: "golden-streams".into(),
        member_id: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        rebalance_timeout_ms: 10_000,
        topology: Some(Topology {
            epoch: 0,
            subtopologies: vec![Subtopology {
                subtopology_id: "0".into(),
                source_topics: vec!["golden-7".into()],
                ..Subtopology::default()
            }],
        }),
        active_tasks: Some(vec![]),
        standby_tasks: Some(vec![]),
        warmup_tasks: Some(vec![]),
        process_id: Some("p".into()),
        ..StreamsGroupHeartbeatRequest::default()
    });
    capture.each(|_| streams_group_describe_request::StreamsGroupDescribeRequest {
        group_ids: vec!["golden-streams".into()],
        ..Default::default()
    });
}
