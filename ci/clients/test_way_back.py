"""A real Kafka starts on the directory that the broker wrote and stopped cleanly, reads the same, and hands it back."""

import base64
import json
import shutil
import tarfile
import tempfile
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer
from confluent_kafka import TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, OffsetSpec
from confluent_kafka.admin import ConfigSource, ResourceType

import brokers

KEEP = {"retention.ms": "-1"}
NOT_YET = {KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
BASE = 1_700_000_000_000


def send(broker, topic, count, partition=0, **config):
    config = {key.replace("_", "."): value for key, value in config.items()}
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 20, **config})
    for i in range(count):
        headers = [("a", b"1"), ("a", None)] if i % 10 == 0 else None
        value = None if i % 50 == 49 else b"%d %s" % (i, b"value " * 30)
        producer.produce(topic, value, b"%d" % (i % 7), partition, timestamp=BASE + 100 * i, headers=headers)
    assert producer.flush(30) == 0


def fill(broker):
    admin = AdminClient({"bootstrap.servers": broker.address})
    topics = [
        NewTopic("codecs", 2, 1, config={**KEEP, "segment.bytes": "1048576"}),
        NewTopic("append-time", 1, 1, config={**KEEP, "message.timestamp.type": "LogAppendTime"}),
        NewTopic("trimmed", 1, 1, config=KEEP),
        NewTopic("recreated", 1, 1, config=KEEP),
        NewTopic("empty", 3, 1, config={**KEEP, "max.message.bytes": "2000000"}),
    ]
    for future in admin.create_topics(topics).values():
        future.result()
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        for partition in range(2):
            send(broker, "codecs", 3000, partition, compression_codec=codec, enable_idempotence=codec == "lz4")
    send(broker, "append-time", 100)
    send(broker, "trimmed", 100)
    for future in admin.delete_records([TopicPartition("trimmed", 0, 42)]).values():
        future.result()
    send(broker, "recreated", 9)
    admin.delete_topics(["recreated"])["recreated"].result()
    admin.create_topics([NewTopic("recreated", 2, 1, config=KEEP)])["recreated"].result()
    send(broker, "recreated", 4, 1)
    change = ConfigEntry("flush.messages", "7", incremental_operation=AlterConfigOpType.SET)
    altered = ConfigResource(ResourceType.TOPIC, "empty", incremental_configs=[change])
    admin.incremental_alter_configs([altered])[altered].result()


def read(broker, topic, partition, offset, isolation):
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
        }
    )
    consumer.assign([TopicPartition(topic, partition, offset)])
    records = []
    while True:
        message = consumer.poll(30)
        assert message is not None, f"{topic}-{partition} stalls after {len(records)} records"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF
            consumer.close()
            return records
        records.append((message.offset(), message.timestamp(), message.key(), message.value(), message.headers()))


def list_offset(admin, at, spec, **options):
    """A Kafka that has just started may name a leader before that leader serves."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return admin.list_offsets({at: spec}, **options)[at].result().offset
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def seen(broker):
    """Everything that a client can see of the topics: ids, configuration, offsets and records."""
    admin = AdminClient({"bootstrap.servers": broker.address})
    names = sorted(name for name in admin.list_topics(timeout=10).topics if not name.startswith("__"))
    view = {"cluster id": admin.describe_cluster().result().cluster_id}
    for name, described in admin.describe_topics(TopicCollection(names)).items():
        topic_id = described.result().topic_id
        bits = topic_id.get_most_significant_bits() % 2**64 << 64 | topic_id.get_least_significant_bits() % 2**64
        view[name, "id"] = base64.urlsafe_b64encode(bits.to_bytes(16, "big"))
        for partition in range(len(described.result().partitions)):
            at = TopicPartition(name, partition)
            start = list_offset(admin, at, OffsetSpec.earliest())
            end = list_offset(admin, at, OffsetSpec.latest())
            stable = list_offset(admin, at, OffsetSpec.latest(), isolation_level=IsolationLevel.READ_COMMITTED)
            view[name, partition, "offsets"] = [start, end, stable]
            for isolation in ("read_uncommitted", "read_committed"):
                view[name, partition, isolation] = read(broker, name, partition, start, isolation)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    for resource, future in admin.describe_configs(resources).items():
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        view[resource.name, "config"] = {k: v.value for k, v in future.result().items() if v.source == own}
    return view


# What is old must not go, nor what is compacted shrink, while two brokers are compared.
UNTOUCHED = {"log.retention.ms": "-1", "log.retention.check.interval.ms": "86400000"}


def started_on(kind, directory, made):
    """A broker of `kind` on the `data` in `directory`."""
    properties = (Path(directory) / "data/meta.properties").read_text().split()
    node_id = dict(line.split("=") for line in properties if "=" in line)["node.id"]
    settings = {"node.id": node_id, **UNTOUCHED}
    if kind == "kafka":
        settings |= {"log.cleaner.enable": "false", "log.initial.task.delay.ms": "86400000"}
    made.append(brokers.make(kind, directory, settings))
    return made[-1].start()


def opened_by(kind, old, made):
    """A broker of `kind` on a copy of the directory of `old`."""
    directory = tempfile.mkdtemp(prefix=f"{kind}-way-back-")
    shutil.copytree(old.data, f"{directory}/data", symlinks=True)
    return started_on(kind, directory, made)


@pytest.fixture
def made():
    made = []
    yield made
    for broker in made:
        broker.discard()


def differing(before, after):
    return {
        key: (str(before.get(key))[:300], str(after.get(key))[:300])
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }


def test_to_kafka_and_back(new_broker, java, made):
    first = new_broker().start()
    fill(first)
    before = seen(first)
    assert len(before["codecs", 0, "read_uncommitted"]) == 15_000
    assert before["trimmed", 0, "offsets"] == [42, 100, 100]
    first.stop()

    kafka = opened_by("kafka", first, made)
    assert differing(before, seen(kafka)) == {}
    send(kafka, "codecs", 10)
    after_kafka = seen(kafka)
    assert after_kafka["codecs", 0, "offsets"] == [0, 15_010, 15_010]
    kafka.stop()

    back = opened_by(first.kind, kafka, made)
    assert differing(after_kafka, seen(back)) == {}
    send(back, "codecs", 10)
    assert seen(back)["codecs", 0, "offsets"] == [0, 15_020, 15_020]
    back.stop()


@pytest.mark.parametrize("name", ["clean", "killed"])
def test_what_kafka_left_goes_on_here_and_back_to_kafka(request, java, made, name):
    """Transactions, compacted and deleted records, credentials: all that the golden directories hold, and ours after it."""
    directory = tempfile.mkdtemp(prefix=f"golden-{name}-")
    with tarfile.open(brokers.ROOT / f"tests/golden/{name}.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    here = started_on(request.config.getoption("--broker"), directory, made)
    topics = [key[0] for key in seen(here) if key[1:] == (0, "offsets")]
    assert len(topics) > 5
    for topic in topics:
        send(here, topic, 20, enable_idempotence=True)
    admin = AdminClient({"bootstrap.servers": here.address})
    admin.create_topics([NewTopic("of-ours", 2, 1, config=KEEP)])["of-ours"].result()
    send(here, "of-ours", 7, 1)
    before = seen(here)
    here.stop()

    kafka = opened_by("kafka", here, made)
    # Kafka ends the transaction that was open when it was killed: a marker more, and fewer records that count.
    ended = {("open-txn", 0, what) for what in ("offsets", "read_committed")}
    assert differing(before, seen(kafka)).keys() <= (ended if name == "killed" else set())
    expected = json.loads((brokers.ROOT / "tests/golden/expected.json").read_text())[name]["scram_users"]
    admin = AdminClient({"bootstrap.servers": kafka.address})
    users = admin.describe_user_scram_credentials().result()
    found = {
        user: {info.mechanism.name: info.iterations for info in described.scram_credential_infos}
        for user, described in users.items()
    }
    assert found == expected
    send(kafka, "of-ours", 3, 1)
    after_kafka = seen(kafka)
    kafka.stop()

    assert differing(after_kafka, seen(opened_by(here.kind, kafka, made))) == {}
