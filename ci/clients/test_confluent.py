"""confluent-kafka (librdkafka): producer, assigned consumer, administrator."""

import threading
import time

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, TopicCollection
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin import NewPartitions, NewTopic, OffsetSpec, ResourceType


@pytest.fixture
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.address})


def produce(broker, topic, values, partition=0, **config):
    """Sends and waits; returns the offsets told to the delivery callback, in order of delivery."""
    config = {key.replace("_", "."): value for key, value in config.items()}
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5, **config})
    offsets = []

    def delivered(error, message):
        assert error is None, error
        offsets.append(message.offset())

    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=delivered)
    assert producer.flush(60) == 0
    return offsets


def read(broker, topic, count, offset=OFFSET_BEGINNING, partition=0, **config):
    config = {key.replace("_", "."): value for key, value in config.items()}
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            **config,
        }
    )
    consumer.assign([TopicPartition(topic, partition, offset)])
    messages = []
    deadline = time.monotonic() + 30
    while len(messages) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(messages), 1.0):
            assert message.error() is None, message.error()
            messages.append(message)
    consumer.close()
    return messages


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_round_trip(broker, topic, codec):
    values = [b"%d %s" % (i, b"value " * 20) for i in range(3000)]
    assert produce(broker, topic, values, compression_codec=codec) == list(range(3000))
    got = read(broker, topic, 3000)
    assert [m.value() for m in got] == values
    assert [m.offset() for m in got] == list(range(3000))


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(broker, topic, acks):
    produce(broker, topic, [b"%d" % i for i in range(500)], acks=acks)
    assert [m.value() for m in read(broker, topic, 500)] == [b"%d" % i for i in range(500)]


def test_an_idempotent_producer_with_five_requests_in_flight(broker, topic):
    values = [b"%d" % i for i in range(20_000)]
    assert produce(broker, topic, values, enable_idempotence=True, batch_num_messages=100) == list(range(20_000))
    assert [m.value() for m in read(broker, topic, 20_000)] == values


def test_many_producers_at_once(broker, new_topic):
    topic = new_topic(partitions=4)
    threads = [
        threading.Thread(target=produce, args=(broker, topic, [b"%d-%d" % (n, i) for i in range(500)], n % 4))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for partition in range(4):
        values = [m.value().split(b"-") for m in read(broker, topic, 1500, partition=partition)]
        assert len(values) == 1500
        for n in (partition, partition + 4, partition + 8):
            assert [int(i) for who, i in values if int(who) == n] == list(range(500))


def test_headers_keys_and_timestamps(broker, topic):
    producer = Producer({"bootstrap.servers": broker.address})
    headers = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b"")]
    producer.produce(topic, b"v", b"k", timestamp=1_700_000_000_123, headers=headers)
    producer.flush()
    [message] = read(broker, topic, 1)
    assert (message.key(), message.value()) == (b"k", b"v")
    assert message.timestamp() == (TIMESTAMP_CREATE_TIME, 1_700_000_000_123)
    assert message.headers() == headers


def test_reading_starts_inside_a_batch(broker, topic):
    produce(broker, topic, [b"%d" % i for i in range(1000)], linger_ms=200)
    assert [m.offset() for m in read(broker, topic, 3, offset=500)] == [500, 501, 502]


def test_the_end_of_a_partition_is_told(broker, topic):
    produce(broker, topic, [b"only"])
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "unused", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 1)])
    end = consumer.poll(10)
    assert end.error().code() == KafkaError._PARTITION_EOF
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 1)
    consumer.close()


def test_offsets_for_times(broker, topic):
    producer = Producer({"bootstrap.servers": broker.address})
    for i in range(10):
        producer.produce(topic, b"%d" % i, timestamp=1_700_000_000_000 + 1000 * i)
    producer.flush()
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "unused"})
    [found] = consumer.offsets_for_times([TopicPartition(topic, 0, 1_700_000_004_500)], timeout=10)
    assert found.offset == 5
    consumer.close()


def test_list_offsets(broker, admin, topic):
    producer = Producer({"bootstrap.servers": broker.address})
    for i in range(10):
        producer.produce(topic, b"%d" % i, timestamp=1_700_000_000_000 + (1000 if i == 6 else i))
    producer.flush()
    partition = TopicPartition(topic, 0)

    def offset(spec, **options):
        return admin.list_offsets({partition: spec}, **options)[partition].result().offset

    assert offset(OffsetSpec.earliest()) == 0
    assert offset(OffsetSpec.latest()) == 10
    assert offset(OffsetSpec.latest(), isolation_level=IsolationLevel.READ_COMMITTED) == 10
    assert offset(OffsetSpec.max_timestamp()) == 6


def test_read_committed(broker, topic):
    produce(broker, topic, [b"a", b"b"])
    assert [m.value() for m in read(broker, topic, 2, isolation_level="read_committed")] == [b"a", b"b"]


def test_topics_are_created_described_grown_and_deleted(broker, admin, topic):
    name = f"{topic}-administered"
    admin.create_topics([NewTopic(name, 1, 1)])[name].result()
    with pytest.raises(KafkaException) as again:
        admin.create_topics([NewTopic(name, 1, 1)])[name].result()
    assert again.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    described = admin.describe_topics(TopicCollection([name]))[name].result()
    first_id = str(described.topic_id)
    admin.create_partitions([NewPartitions(name, 3)])[name].result()
    produce(broker, name, [b"in the new partition"], partition=2)
    assert len(admin.describe_topics(TopicCollection([name]))[name].result().partitions) == 3
    admin.delete_topics([name])[name].result()
    admin.create_topics([NewTopic(name, 1, 1)])[name].result()
    assert str(admin.describe_topics(TopicCollection([name]))[name].result().topic_id) != first_id


def test_configuration_is_described_and_altered(admin, topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)
    before = admin.describe_configs([resource])[resource].result()
    assert before["cleanup.policy"].value == "delete" and before["cleanup.policy"].is_default
    change = ConfigEntry("retention.ms", "777", incremental_operation=AlterConfigOpType.SET)
    altered = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    admin.incremental_alter_configs([altered])[altered].result()
    after = admin.describe_configs([resource])[resource].result()
    assert after["retention.ms"].value == "777" and not after["retention.ms"].is_default
    assert {name: entry.value for name, entry in before.items() if name != "retention.ms"} == {
        name: entry.value for name, entry in after.items() if name != "retention.ms"
    }


def test_an_unknown_configuration_key_is_refused(admin, topic):
    change = ConfigEntry("retention.mss", "1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    with pytest.raises(KafkaException) as refused:
        admin.incremental_alter_configs([resource])[resource].result()
    assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG


def test_the_cluster_is_described(broker, admin):
    cluster = admin.describe_cluster().result()
    assert [node.port for node in cluster.nodes] == [broker.port]
    assert cluster.controller.id == cluster.nodes[0].id
    assert len(cluster.cluster_id) == 22


def test_delete_records(broker, admin, topic):
    produce(broker, topic, [b"%d" % i for i in range(10)])
    partition = TopicPartition(topic, 0, 4)
    assert admin.delete_records([partition])[partition].result().low_watermark == 4
    assert [m.value() for m in read(broker, topic, 6)] == [b"%d" % i for i in range(4, 10)]
