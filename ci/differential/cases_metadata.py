"""Metadata, topics and partitions: what exists, what can be made, what is refused."""

import time
import uuid

NO_ID = uuid.UUID(int=0)
UNKNOWN_ID = uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF)


def _topic(name, partitions=1, replicas=1, **more):
    return {"name": name, "num_partitions": partitions, "replication_factor": replicas, **more}


def _config(name, value):
    return {"name": name, "value": value}


def metadata_of_a_topic(peer):
    topic = peer.create(partitions=3)
    peer.every("Metadata", topics=[{"name": topic}], allow_auto_topic_creation=False)
    peer.every("Metadata", "named twice", topics=[{"name": topic}, {"name": topic}], allow_auto_topic_creation=False)


def metadata_of_no_topic(peer):
    for version in range(1, 14):
        peer.ask("Metadata", version, topics=[])


def metadata_of_all_topics_is_asked_with_null(peer):
    peer.create()
    for version in range(14):
        connection = peer.connect()
        try:
            answer = connection.ask("Metadata", version, {"topics": None if version else []})
            peer.record(f"v{version}", {"has it": any(t["name"] == peer.name() for t in answer["topics"])})
        except Exception as error:
            peer.record(f"v{version}", {"error": type(error).__name__})
            peer.disconnect()
    peer.ask("Metadata", 0, "null", topics=None)


def metadata_of_a_missing_topic(peer):
    for version in range(4, 14):
        peer.ask("Metadata", version, topics=[{"name": peer.name("missing")}], allow_auto_topic_creation=False)


def metadata_makes_topics(peer):
    for version in (1, 3, 4, 9, 12, 13):
        name = peer.name(f"made-by-{version}")
        peer.ask("Metadata", version, "first", topics=[{"name": name}])
        for _ in range(200):
            [topic] = peer.quietly("Metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False)["topics"]
            if topic["error_code"] == 0 and all(p["leader_id"] >= 0 for p in topic["partitions"]):
                break
            time.sleep(0.02)
        peer.ask("Metadata", version, "then", topics=[{"name": name}])


def metadata_of_bad_names(peer):
    for allowed in (True, False):
        for name in ("", ".", "..", "a b", "a/b", "ü", "a" * 249, "a" * 250, "a:b", "a,b"):
            peer.ask(
                "Metadata",
                9,
                f"{name[:8]!r}{len(name)} {allowed}",
                topics=[{"name": name}],
                allow_auto_topic_creation=allowed and len(name) != 249,
            )


def metadata_by_id(peer):
    topic = peer.create()
    for version in (10, 11, 12, 13):
        for note, wanted in [
            ("id", {"topic_id": peer.topic_id(topic), "name": None}),
            ("unknown id", {"topic_id": UNKNOWN_ID, "name": None}),
            ("id and another name", {"topic_id": peer.topic_id(topic), "name": "another"}),
            ("neither", {"topic_id": NO_ID, "name": None}),
        ]:
            peer.ask("Metadata", version, note, topics=[wanted], allow_auto_topic_creation=False)
    peer.ask(
        "Metadata",
        12,
        "id beside name",
        topics=[{"topic_id": peer.topic_id(topic), "name": None}, {"name": topic}],
        allow_auto_topic_creation=False,
    )


def metadata_with_authorized_operations(peer):
    topic = peer.create()
    for version in range(8, 14):
        peer.ask(
            "Metadata",
            version,
            topics=[{"name": topic}],
            include_cluster_authorized_operations=True,
            include_topic_authorized_operations=True,
        )


def create_topics(peer):
    for version in range(2, 8):
        peer.ask(
            "CreateTopics",
            version,
            topics=[
                _topic(peer.name(f"plain-{version}"), 3),
                _topic(peer.name(f"default-{version}"), -1, -1),
                _topic(
                    peer.name(f"config-{version}"),
                    configs=[_config("retention.ms", "1234"), _config("cleanup.policy", "compact")],
                ),
                _topic(
                    peer.name(f"assigned-{version}"),
                    -1,
                    -1,
                    assignments=[{"partition_index": 0, "broker_ids": [1]}, {"partition_index": 1, "broker_ids": [1]}],
                ),
            ],
            timeout_ms=10_000,
        )
        names = [peer.name(f"{kind}-{version}") for kind in ("plain", "default", "config", "assigned")]
        peer.wait_until_known(names)
        peer.ask("Metadata", 12, f"after {version}", topics=[{"name": name} for name in names])


def create_topics_with_bad_counts(peer):
    for version in (2, 4, 5, 7):
        for partitions, replicas in [(0, 1), (-2, 1), (1, 0), (1, -2), (1, 2), (1, 32767), (0, 0)]:
            peer.ask(
                "CreateTopics",
                version,
                f"{partitions} {replicas}",
                timeout_ms=10_000,
                topics=[_topic(peer.name("bad"), partitions, replicas)],
            )


def create_topics_with_bad_assignments(peer):
    def assignments(*pairs):
        return [{"partition_index": index, "broker_ids": ids} for index, ids in pairs]

    for note, partitions, replicas, given in [
        ("with a count", 1, -1, assignments((0, [1]))),
        ("with replicas", -1, 1, assignments((0, [1]))),
        ("gap", -1, -1, assignments((0, [1]), (2, [1]))),
        ("unknown broker", -1, -1, assignments((0, [99]))),
        ("repeated broker", -1, -1, assignments((0, [1, 1]))),
        ("no broker", -1, -1, assignments((0, []))),
        ("repeated index", -1, -1, assignments((0, [1]), (0, [1]))),
        ("not from zero", -1, -1, assignments((1, [1]))),
    ]:
        peer.ask(
            "CreateTopics",
            7,
            note,
            topics=[_topic(peer.name("bad"), partitions, replicas, assignments=given)],
            timeout_ms=10_000,
        )


def create_topics_with_bad_names(peer):
    for name in ("", ".", "..", "a b", "a/b", "ü", "a" * 250, "__consumer_offsets", "a\0b"):
        peer.ask(
            "CreateTopics", 7, f"{name[:8]!r} {len(name)}", topics=[_topic(name)], timeout_ms=10_000, validate_only=True
        )
    peer.ask(
        "CreateTopics",
        7,
        "longest",
        topics=[_topic(peer.name("x") + "x" * (249 - len(peer.name("x"))))],
        timeout_ms=10_000,
    )


def create_topics_with_names_that_collide(peer):
    peer.create(peer.name("a.b_c"))
    for name in ("a.b_c", "a_b.c", "a.b.c"):
        peer.ask("CreateTopics", 7, name, topics=[_topic(peer.name().removesuffix("topic") + name)], timeout_ms=10_000)
    first, second = peer.name("x").replace("-", "."), peer.name("x").replace("-", "_")
    peer.ask("CreateTopics", 7, "both at once", topics=[_topic(first), _topic(second)], timeout_ms=10_000)


def create_topics_twice_and_again(peer):
    topic = peer.create()
    peer.every("CreateTopics", topics=[_topic(topic)], timeout_ms=10_000)
    for version in (2, 5, 7):
        peer.ask(
            "CreateTopics",
            version,
            "named twice",
            timeout_ms=10_000,
            topics=[
                _topic(peer.name(f"twice-{version}")),
                _topic(peer.name(f"twice-{version}")),
                _topic(peer.name(f"once-{version}")),
            ],
        )
        peer.ask(
            "CreateTopics",
            version,
            "good and bad",
            timeout_ms=10_000,
            topics=[_topic(peer.name(f"good-{version}")), _topic("b a d"), _topic(topic)],
        )


def create_topics_with_bad_configs(peer):
    for key, value in [
        ("retention.ms", "soon"),
        ("retention.ms", None),
        ("no.such.key", "1"),
        ("cleanup.policy", "burn"),
        ("cleanup.policy", ""),
        ("segment.bytes", "-1"),
        ("min.insync.replicas", "0"),
        ("retention.ms", "-2"),
        ("compression.type", "rar"),
        ("max.message.bytes", "-1"),
        ("message.timestamp.type", "Never"),
        ("preallocate", "perhaps"),
        ("min.cleanable.dirty.ratio", "2"),
        ("segment.ms", "0"),
        ("flush.messages", "0"),
        ("segment.bytes", "1048575"),
        ("retention.ms", " 5 "),
    ]:
        peer.ask(
            "CreateTopics",
            7,
            f"{key}={value}",
            topics=[_topic(peer.name("bad"), configs=[_config(key, value)])],
            timeout_ms=10_000,
            validate_only=True,
        )


def create_topics_only_validated(peer):
    for version in range(2, 8):
        peer.ask(
            "CreateTopics",
            version,
            topics=[_topic(peer.name("only"), 4, configs=[_config("retention.ms", "5")]), _topic("b a d")],
            timeout_ms=10_000,
            validate_only=True,
        )
    peer.ask("Metadata", 9, topics=[{"name": peer.name("only")}], allow_auto_topic_creation=False)


def create_topics_without_time(peer):
    peer.ask("CreateTopics", 7, topics=[_topic(peer.name("late"))], timeout_ms=0)


def create_no_topics(peer):
    peer.every("CreateTopics", topics=[], timeout_ms=1000)


def delete_topics(peer):
    for version in range(1, 7):
        topic = peer.create(peer.name(f"v{version}"))
        names = (
            {"topics": [{"name": topic}, {"name": "missing"}]} if version == 6 else {"topic_names": [topic, "missing"]}
        )
        peer.ask("DeleteTopics", version, timeout_ms=10_000, **names)
        peer.wait_until_gone(topic)
        peer.ask("Metadata", 9, topics=[{"name": topic}], allow_auto_topic_creation=False)


def delete_topics_by_id(peer):
    first, second, third = (peer.create(peer.name(n), 1) for n in ("first", "second", "third"))
    for note, wanted in [
        ("neither", [{"name": None}]),
        ("both", [{"name": first, "topic_id": peer.topic_id(first)}]),
        ("unknown id", [{"name": None, "topic_id": UNKNOWN_ID}]),
        ("twice by name", [{"name": second}, {"name": second}]),
        ("by name and by id", [{"name": third}, {"name": None, "topic_id": peer.topic_id(third)}]),
        ("by id", [{"name": None, "topic_id": peer.topic_id(first)}]),
        ("once more", [{"name": None, "topic_id": peer.topic_id(first)}]),
    ]:
        peer.ask("DeleteTopics", 6, note, topics=wanted, timeout_ms=10_000)


def delete_topics_without_time(peer):
    topic = peer.create()
    peer.ask("DeleteTopics", 6, topics=[{"name": topic}], timeout_ms=0)


def a_topic_made_again_has_another_id(peer):
    topic = peer.create()
    old = peer.topic_id(topic)
    peer.ask("DeleteTopics", 6, topics=[{"name": topic}], timeout_ms=10_000)
    peer.create(topic)
    peer.ask("Metadata", 12, topics=[{"name": topic}], allow_auto_topic_creation=False)
    peer.ask("Metadata", 12, "old id", topics=[{"topic_id": old, "name": None}])
    peer.record("another id", {"another": old != peer.topic_id(topic)})


def create_partitions(peer):
    for version in range(4):
        topic = peer.create(peer.name(f"v{version}"))
        for note, count, assignments in [
            ("same", 1, None),
            ("fewer", 0, None),
            ("negative", -1, None),
            ("more", 3, None),
            ("assigned", 5, [{"broker_ids": [1]}, {"broker_ids": [1]}]),
            ("too few assigned", 7, [{"broker_ids": [1]}]),
            ("unknown broker", 6, [{"broker_ids": [42]}]),
            ("repeated broker", 6, [{"broker_ids": [1, 1]}]),
            ("empty assignment", 6, [{"broker_ids": []}]),
        ]:
            peer.ask(
                "CreatePartitions",
                version,
                note,
                timeout_ms=10_000,
                topics=[{"name": topic, "count": count, "assignments": assignments}],
            )
        peer.wait_until_known([topic], partitions=5)
        peer.ask("Metadata", 9, topics=[{"name": topic}], allow_auto_topic_creation=False)


def create_partitions_oddly(peer):
    topic = peer.create()
    more = {"name": topic, "count": 4, "assignments": None}
    peer.ask("CreatePartitions", 3, "validated", topics=[more], timeout_ms=10_000, validate_only=True)
    peer.ask("CreatePartitions", 3, "missing", topics=[{**more, "name": "missing"}], timeout_ms=10_000)
    peer.ask("CreatePartitions", 3, "twice", topics=[more, more], timeout_ms=10_000)
    peer.ask("CreatePartitions", 3, "none", topics=[], timeout_ms=10_000)
    peer.ask("Metadata", 9, topics=[{"name": topic}], allow_auto_topic_creation=False)


def describe_topic_partitions(peer):
    first, second = peer.create(peer.name("a"), 3), peer.create(peer.name("b"), 2)
    both = [{"name": second}, {"name": first}]
    for note, body in [
        ("both", {"topics": both}),
        ("missing", {"topics": [{"name": "missing"}, {"name": first}]}),
        ("limited", {"topics": both, "response_partition_limit": 2}),
        ("limit 0", {"topics": both, "response_partition_limit": 0}),
        ("from a cursor", {"topics": both, "cursor": {"topic_name": first, "partition_index": 2}}),
        (
            "limit and cursor",
            {"topics": both, "cursor": {"topic_name": first, "partition_index": 1}, "response_partition_limit": 3},
        ),
        ("negative cursor", {"topics": both, "cursor": {"topic_name": first, "partition_index": -1}}),
        ("cursor elsewhere", {"topics": both, "cursor": {"topic_name": "zzz", "partition_index": 0}}),
        ("bad name", {"topics": [{"name": "b a d"}]}),
        ("named twice", {"topics": [{"name": first}, {"name": first}]}),
    ]:
        peer.ask("DescribeTopicPartitions", 0, note, **body)


def describe_cluster(peer):
    peer.every("DescribeCluster")
    peer.every("DescribeCluster", "with operations", include_cluster_authorized_operations=True)
    for kind in (0, 2, 3):
        peer.ask("DescribeCluster", 1, f"endpoint type {kind}", endpoint_type=kind)
    peer.ask("DescribeCluster", 2, "fenced too", include_fenced_brokers=True)


def describe_quorum(peer):
    def asked(*pairs):
        return [
            {"topic_name": name, "partitions": [{"partition_index": i} for i in indexes]} for name, indexes in pairs
        ]

    for version in range(3):
        for note, topics in [
            ("metadata", asked(("__cluster_metadata", [0]))),
            ("other partition", asked(("__cluster_metadata", [1]))),
            ("other topic", asked(("other", [0]))),
            ("none", []),
        ]:
            answer = peer.connect().ask("DescribeQuorum", version, {"topics": topics})
            peer.record(f"v{version} {note}", _without_progress(answer))


def _without_progress(answer):
    """How far the quorum is differs from moment to moment; that it is somewhere is compared."""
    for topic in answer["topics"]:
        for partition in topic["partitions"]:
            for key in ("leader_epoch", "high_watermark"):
                partition[key] = partition[key] > 0
            for replica in partition["current_voters"] + partition["observers"]:
                replica["log_end_offset"] = replica["log_end_offset"] > 0
    for node in answer.get("nodes", []):
        for listener in node["listeners"]:
            listener["port"] = listener["port"] > 0
    return answer
