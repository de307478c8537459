"""Configuration, DeleteRecords, log directories."""

import time

from batches import batch

TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)


def _describe(peer, version, kind, name, keys=None, note="", **more):
    return peer.ask(
        "DescribeConfigs",
        version,
        note,
        **{
            "resources": [{"resource_type": kind, "resource_name": name, "configuration_keys": keys}],
            "include_synonyms": True,
            **more,
        },
    )


def describe_topic_configs(peer):
    topic = peer.create(retention_ms=1234, cleanup_policy="compact,delete")
    for version in range(1, 5):
        _describe(peer, version, TOPIC, topic, note="all")
        _describe(peer, version, TOPIC, topic, note="all without synonyms", include_synonyms=False)
        _describe(peer, version, TOPIC, topic, ["retention.ms", "segment.bytes", "no.such"], note="some")
        _describe(peer, version, TOPIC, topic, [], note="empty list")
    _describe(peer, 4, TOPIC, topic, include_documentation=True, note="documented")


def describe_configs_of_what_is_not_there(peer):
    for version in (1, 4):
        for kind, name in [
            (TOPIC, "missing"),
            (TOPIC, "b a d"),
            (TOPIC, ""),
            (BROKER, "99"),
            (BROKER, "one"),
            (0, "x"),
            (3, "x"),
            (99, "x"),
            (LOGGER, "99"),
        ]:
            _describe(peer, version, kind, name, ["retention.ms"], note=f"{kind} {name!r}")
    peer.ask("DescribeConfigs", 4, "none", resources=[])


def describe_broker_configs(peer):
    for version in (1, 3, 4):
        _describe(
            peer,
            version,
            BROKER,
            "1",
            [
                "log.retention.ms",
                "message.max.bytes",
                "num.partitions",
                "auto.create.topics.enable",
                "log.segment.bytes",
                "min.insync.replicas",
                "log.retention.hours",
                "node.id",
            ],
            note="own",
        )
        _describe(peer, version, BROKER, "", note="defaults of the cluster")


def _alter(peer, version, kind, name, *changes, note="", **more):
    configs = [{"name": key, "config_operation": operation, "value": value} for key, operation, value in changes]
    return peer.ask(
        "IncrementalAlterConfigs",
        version,
        note,
        **{"resources": [{"resource_type": kind, "resource_name": name, "configs": configs}], **more},
    )


def _settle(peer, name, key, value, kind=TOPIC):
    """Kafka applies a change a moment after it answers."""
    for _ in range(200):
        [result] = peer.quietly(
            "DescribeConfigs",
            4,
            resources=[{"resource_type": kind, "resource_name": name, "configuration_keys": [key]}],
        )["results"]
        if [config["value"] for config in result["configs"]] == [value]:
            return
        time.sleep(0.02)


def incremental_alter_configs(peer):
    topic = peer.create()
    own = ["retention.ms", "cleanup.policy", "max.message.bytes"]
    for version in (0, 1):
        for note, *changes in [
            ("set", ("retention.ms", SET, "5000")),
            ("delete", ("retention.ms", DELETE, None)),
            ("append", ("cleanup.policy", APPEND, "compact")),
            ("append again", ("cleanup.policy", APPEND, "compact")),
            ("subtract", ("cleanup.policy", SUBTRACT, "compact")),
            ("subtract again", ("cleanup.policy", SUBTRACT, "compact")),
            ("append to a number", ("retention.ms", APPEND, "1")),
            ("subtract from a number", ("retention.ms", SUBTRACT, "1")),
            ("unknown key", ("no.such.key", SET, "1")),
            ("bad value", ("retention.ms", SET, "soon")),
            ("null value", ("retention.ms", SET, None)),
            ("null append", ("cleanup.policy", APPEND, None)),
            ("twice", ("retention.ms", SET, "1"), ("retention.ms", SET, "2")),
            ("unknown operation", ("retention.ms", 9, "1")),
            ("delete what is not set", ("max.message.bytes", DELETE, None)),
            ("delete with a value", ("max.message.bytes", DELETE, "7")),
            ("out of range", ("max.message.bytes", SET, "-5")),
            ("bad list item", ("cleanup.policy", APPEND, "burn")),
            ("good and bad", ("retention.ms", SET, "77"), ("no.such.key", SET, "1")),
            ("nothing",),
        ]:
            _alter(peer, version, TOPIC, topic, *changes, note=note)
        _settle(peer, topic, "cleanup.policy", "delete")
        _describe(peer, 4, TOPIC, topic, own, note=f"after v{version}")


def incremental_alter_configs_of_odd_resources(peer):
    topic = peer.create()
    change = ("retention.ms", SET, "1")
    for note, kind, name in [
        ("missing topic", TOPIC, "missing"),
        ("bad name", TOPIC, "b a d"),
        ("no name", TOPIC, ""),
        ("broker 99", BROKER, "99"),
        ("broker one", BROKER, "one"),
        ("kind 0", 0, "x"),
        ("kind 3", 3, "x"),
    ]:
        _alter(peer, 1, kind, name, change, note=note)
    _alter(peer, 1, TOPIC, topic, change, note="validated", validate_only=True)
    _alter(peer, 1, TOPIC, topic, ("retention.ms", SET, "soon"), note="validated and bad", validate_only=True)
    _describe(peer, 4, TOPIC, topic, ["retention.ms"], note="unchanged")
    configs = [{"name": "retention.ms", "config_operation": SET, "value": "1"}]
    twice = [{"resource_type": TOPIC, "resource_name": topic, "configs": configs}] * 2
    peer.ask("IncrementalAlterConfigs", 1, "twice", resources=twice)
    peer.ask("IncrementalAlterConfigs", 1, "none", resources=[])


def alter_configs_replaces_everything(peer):
    topic = peer.create(retention_ms=5, segment_bytes=2_000_000)
    for version in range(3):
        for note, configs in [
            ("one", [("max.message.bytes", "1000")]),
            ("bad", [("max.message.bytes", "many")]),
            ("unknown", [("no.such", "1")]),
            ("null", [("max.message.bytes", None)]),
        ]:
            peer.ask(
                "AlterConfigs",
                version,
                note,
                resources=[
                    {
                        "resource_type": TOPIC,
                        "resource_name": topic,
                        "configs": [{"name": key, "value": value} for key, value in configs],
                    }
                ],
            )
        _settle(peer, topic, "max.message.bytes", "1000")
        _describe(
            peer, 4, TOPIC, topic, ["retention.ms", "segment.bytes", "max.message.bytes"], note=f"after v{version}"
        )
    peer.ask(
        "AlterConfigs",
        2,
        "validated",
        validate_only=True,
        resources=[{"resource_type": TOPIC, "resource_name": topic, "configs": []}],
    )
    peer.ask(
        "AlterConfigs", 2, "missing", resources=[{"resource_type": TOPIC, "resource_name": "missing", "configs": []}]
    )
    peer.ask("AlterConfigs", 2, "none", resources=[{"resource_type": TOPIC, "resource_name": topic, "configs": []}])


def alter_broker_configs(peer):
    for name in ("1", ""):
        _alter(peer, 1, BROKER, name, ("message.max.bytes", SET, "2000000"), note=f"set {name!r}")
        _settle(peer, name, "message.max.bytes", "2000000", kind=BROKER)
        _describe(peer, 4, BROKER, name, ["message.max.bytes"], note=f"after set {name!r}")
        _alter(peer, 1, BROKER, name, ("message.max.bytes", DELETE, None), note=f"delete {name!r}")
        _alter(peer, 1, BROKER, name, ("node.id", SET, "7"), note=f"read-only {name!r}")
        _alter(peer, 1, BROKER, name, ("log.retention.ms", SET, "never"), note=f"bad {name!r}")


def a_changed_limit_holds_at_once(peer):
    topic = peer.create()
    _alter(peer, 1, TOPIC, topic, ("max.message.bytes", SET, "100"))
    _settle(peer, topic, "max.message.bytes", "100")
    time.sleep(0.3)
    peer.produce(9, topic, batch([b"x" * 200]))


def list_config_resources(peer):
    topic = peer.create()
    for version, kinds in [
        (0, []),
        (1, []),
        (1, [TOPIC]),
        (1, [BROKER]),
        (1, [LOGGER]),
        (1, [METRICS]),
        (1, [GROUP]),
        (1, [TOPIC, BROKER]),
        (1, [99]),
    ]:
        answer = peer.connect().ask("ListConfigResources", version, {"resource_types": kinds})
        listed = [
            r for r in answer["config_resources"] if r.get("resource_type") != TOPIC or r["resource_name"] == topic
        ]
        listed.sort(key=lambda r: (r.get("resource_type", 0), r["resource_name"]))
        peer.record(f"v{version} {kinds}", {**answer, "config_resources": listed})


def delete_records(peer):
    for version in range(3):
        topic = peer.create(peer.name(f"v{version}"), partitions=2)
        for _ in range(10):
            peer.quietly(
                "Produce",
                9,
                acks=-1,
                timeout_ms=1000,
                topic_data=[{"name": topic, "partition_data": [{"index": 0, "records": batch()}]}],
            )
        for offset in (3, 3, 1, 0, 11, -2, 7, -1):
            peer.ask(
                "DeleteRecords",
                version,
                f"to {offset}",
                timeout_ms=5000,
                topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": offset}]}],
            )
        for name, partition in ((topic, 5), ("missing", 0), (topic, 1)):
            peer.ask(
                "DeleteRecords",
                version,
                f"{name} {partition}",
                timeout_ms=5000,
                topics=[{"name": name, "partitions": [{"partition_index": partition, "offset": 0}]}],
            )
        peer.fetch(11, topic, offset=10, note="at the end")
        peer.fetch(11, topic, offset=9, note="deleted")


def delete_records_by_policy(peer):
    for policy in ("compact", "compact,delete", "delete"):
        topic = peer.create(peer.name(policy.replace(",", "-")), cleanup_policy=policy)
        peer.produce(9, topic, batch(key=b"k"))
        peer.ask(
            "DeleteRecords",
            2,
            policy,
            timeout_ms=5000,
            topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": 1}]}],
        )
    for name in ("__consumer_offsets", "__cluster_metadata"):
        peer.ask(
            "DeleteRecords",
            2,
            name,
            timeout_ms=5000,
            topics=[{"name": name, "partitions": [{"partition_index": 0, "offset": 0}]}],
        )


def describe_log_dirs(peer):
    topic = peer.create(partitions=2)
    peer.produce(9, topic, batch())
    for version in range(1, 6):
        for note, topics in [
            ("one", [{"topic": topic, "partitions": [0]}]),
            ("both", [{"topic": topic, "partitions": [0, 1]}]),
            ("missing partition", [{"topic": topic, "partitions": [7]}]),
            ("missing topic", [{"topic": "missing", "partitions": [0]}]),
            ("none", []),
        ]:
            answer = peer.connect().ask("DescribeLogDirs", version, {"topics": topics})
            for result in answer["results"]:
                for key in result.keys() & {"total_bytes", "usable_bytes"}:
                    result[key] = result[key] > 0
            peer.record(f"v{version} {note}", answer)
        answer = peer.connect().ask("DescribeLogDirs", version, {"topics": None})
        peer.record(
            f"v{version} all", {"has it": any(t["name"] == topic for r in answer["results"] for t in r["topics"])}
        )
