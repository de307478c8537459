"""kafka-python: the ordinary producer, consumer and administrator of its documentation."""

import json
import threading
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import KafkaError, MessageSizeTooLargeError, OffsetOutOfRangeError, TopicAlreadyExistsError


@pytest.fixture
def producer(broker):
    made = []

    def make(**config):
        made.append(KafkaProducer(bootstrap_servers=broker.address, **config))
        return made[-1]

    yield make
    for producer in made:
        producer.close()


@pytest.fixture
def consumer(broker):
    made = []

    def make(*topics, **config):
        defaults = {"group_id": None, "auto_offset_reset": "earliest", "consumer_timeout_ms": 8000}
        made.append(KafkaConsumer(*topics, bootstrap_servers=broker.address, **{**defaults, **config}))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


@pytest.fixture
def admin(broker):
    client = KafkaAdminClient(bootstrap_servers=broker.address)
    yield client
    client.close()


def take(consumer, count):
    """The next `count` messages, or fewer after the consumer's timeout."""
    messages = []
    for message in consumer:
        messages.append(message)
        if len(messages) == count:
            break
    return messages


def test_a_future_tells_where_the_record_is(producer, topic):
    before = int(time.time() * 1000)
    sender = producer()
    first = sender.send(topic, b"zero").get(timeout=10)
    second = sender.send(topic, b"one").get(timeout=10)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert second.offset == 1
    assert before <= first.timestamp <= time.time() * 1000


def test_send_flush_and_read_in_order(producer, consumer, topic):
    sender = producer()
    futures = [sender.send(topic, b"%d" % i) for i in range(5000)]
    sender.flush(timeout=30)
    assert [f.get(timeout=0).offset for f in futures] == list(range(5000))
    got = take(consumer(topic), 5000)
    assert [(m.offset, m.value) for m in got] == [(i, b"%d" % i) for i in range(5000)]


def test_the_first_record_makes_the_topic(producer, consumer, topic):
    name = f"{topic}-made"
    assert producer().send(name, b"hello").get(timeout=20).offset == 0
    assert [m.value for m in take(consumer(name), 1)] == [b"hello"]


def test_json_values_keys_and_headers(producer, consumer, topic):
    sender = producer(value_serializer=lambda v: json.dumps(v).encode(), key_serializer=str.encode)
    headers = [("trace", b"1"), ("trace", b"2"), ("empty", b""), ("snow ☃", "☃".encode())]
    sender.send(topic, {"price": 3, "name": "ünïcode"}, key="k", headers=headers).get(timeout=10)
    [message] = take(consumer(topic, value_deserializer=json.loads, key_deserializer=bytes.decode), 1)
    assert message.value == {"price": 3, "name": "ünïcode"}
    assert message.key == "k"
    assert list(message.headers) == headers


def test_null_and_empty_are_not_the_same(producer, consumer, topic):
    sender = producer()
    pairs = [(b"", b""), (b"k", None), (None, b""), (None, b"v")]
    for key, value in pairs:
        sender.send(topic, key=key, value=value)
    sender.flush()
    assert [(m.key, m.value) for m in take(consumer(topic), 4)] == pairs


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks(producer, consumer, topic, acks):
    sender = producer(acks=acks, enable_idempotence=False)
    futures = [sender.send(topic, b"%d" % i) for i in range(100)]
    sender.flush()
    if acks != 0:
        assert [f.get(timeout=10).offset for f in futures] == list(range(100))
    assert [m.value for m in take(consumer(topic), 100)] == [b"%d" % i for i in range(100)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(producer, consumer, topic, codec):
    sender = producer(compression_type=codec, linger_ms=50)
    values = [b"%d %s" % (i, b"again and " * 50) for i in range(300)]
    for value in values:
        sender.send(topic, value)
    sender.flush()
    assert [m.value for m in take(consumer(topic), 300)] == values


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_topic_that_recompresses(producer, consumer, new_topic, codec):
    topic = new_topic(compression_type=codec)
    sender = producer(linger_ms=50)
    values = [b"%d %s" % (i, b"again and " * 50) for i in range(300)]
    for value in values:
        sender.send(topic, value)
    sender.flush()
    assert [m.value for m in take(consumer(topic), 300)] == values


def test_keys_spread_over_partitions_and_stay_there(producer, consumer, new_topic):
    topic = new_topic(partitions=4)
    sender = producer()
    for i in range(400):
        sender.send(topic, key=b"key-%d" % (i % 20), value=b"%d" % i)
    sender.flush()
    places = {}
    for message in take(consumer(topic), 400):
        places.setdefault(message.key, []).append((message.partition, int(message.value)))
    assert len(places) == 20
    assert len({partition for seen in places.values() for partition, _ in seen}) > 1
    for seen in places.values():
        assert len({partition for partition, _ in seen}) == 1
        assert seen == sorted(seen)


def test_auto_offset_reset(producer, consumer, topic):
    sender = producer()
    sender.send(topic, b"before").get(timeout=10)
    late = consumer(topic, auto_offset_reset="latest")
    late.poll(timeout_ms=500)
    assert late.position(TopicPartition(topic, 0)) == 1
    sender.send(topic, b"after").get(timeout=10)
    assert [m.value for m in take(late, 1)] == [b"after"]
    assert [m.value for m in take(consumer(topic), 2)] == [b"before", b"after"]


def test_an_offset_out_of_range_without_a_reset_policy(producer, consumer, topic):
    producer().send(topic, b"only").get(timeout=10)
    partition = TopicPartition(topic, 0)
    reader = consumer(auto_offset_reset="none")
    reader.assign([partition])
    reader.seek(partition, 100)
    with pytest.raises(OffsetOutOfRangeError):
        for _ in range(20):
            reader.poll(timeout_ms=500)


def test_seek(producer, consumer, topic):
    sender = producer()
    for i in range(100):
        sender.send(topic, b"%d" % i)
    sender.flush()
    partition = TopicPartition(topic, 0)
    reader = consumer()
    reader.assign([partition])
    reader.seek(partition, 42)
    assert take(reader, 1)[0].value == b"42"
    reader.seek_to_end(partition)
    assert reader.position(partition) == 100
    reader.seek_to_beginning(partition)
    assert take(reader, 1)[0].offset == 0


def test_timestamps(producer, consumer, topic):
    sender = producer()
    base = 1_700_000_000_000
    for i in range(50):
        assert sender.send(topic, b"%d" % i, timestamp_ms=base + 1000 * i).get(timeout=10).timestamp == base + 1000 * i
    partition = TopicPartition(topic, 0)
    reader = consumer()
    reader.assign([partition])
    found = reader.offsets_for_times({partition: base + 19_500})[partition]
    assert (found.offset, found.timestamp) == (20, base + 20_000)
    assert reader.offsets_for_times({partition: base + 10**9})[partition] is None
    reader.seek(partition, found.offset)
    [message] = take(reader, 1)
    assert (message.timestamp, message.timestamp_type, message.value) == (base + 20_000, 0, b"20")


def test_a_topic_with_log_append_time(producer, consumer, new_topic):
    topic = new_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    told = producer().send(topic, b"now", timestamp_ms=1_700_000_000_000).get(timeout=10).timestamp
    [message] = take(consumer(topic), 1)
    assert message.timestamp_type == 1
    assert before <= message.timestamp == told <= time.time() * 1000


def test_begin_and_end_offsets(producer, consumer, new_topic):
    topic = new_topic(partitions=2)
    sender = producer()
    for i in range(7):
        sender.send(topic, b"x", partition=0)
    sender.flush()
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    reader = consumer()
    assert reader.beginning_offsets(partitions) == {partitions[0]: 0, partitions[1]: 0}
    assert reader.end_offsets(partitions) == {partitions[0]: 7, partitions[1]: 0}
    assert reader.partitions_for_topic(topic) == {0, 1}


def test_a_waiting_consumer_gets_a_record_at_once(producer, consumer, topic):
    sender = producer()
    reader = consumer(topic, auto_offset_reset="latest", fetch_max_wait_ms=10_000)
    reader.poll(timeout_ms=500)
    reader.position(TopicPartition(topic, 0))
    sent = []

    def send_soon():
        time.sleep(1)
        sent.append(time.monotonic())
        sender.send(topic, b"wake up")

    thread = threading.Thread(target=send_soon)
    thread.start()
    assert [m.value for m in take(reader, 1)] == [b"wake up"]
    assert time.monotonic() - sent[0] < 1
    thread.join()


def test_large_records_and_the_limit(producer, consumer, topic):
    sender = producer(max_request_size=4_000_000, retries=0)
    large = bytes(range(256)) * 3900
    assert sender.send(topic, large).get(timeout=20).offset == 0
    with pytest.raises(MessageSizeTooLargeError):
        sender.send(topic, bytes(2_000_000)).get(timeout=20)
    reader = consumer(topic, max_partition_fetch_bytes=1000, fetch_max_bytes=1000)
    assert [m.value for m in take(reader, 1)] == [large]


def test_an_idempotent_producer(producer, consumer, topic):
    sender = producer(enable_idempotence=True, acks="all", linger_ms=5)
    for i in range(2000):
        sender.send(topic, b"%d" % i)
    sender.flush()
    assert [m.value for m in take(consumer(topic), 2000)] == [b"%d" % i for i in range(2000)]


def test_administer_topics(admin, broker, topic):
    name = f"{topic}-administered"
    admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "60000"})])
    assert name in admin.list_topics()
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics([NewTopic(name, 1, 1)])
    admin.create_partitions({name: NewPartitions(5)})
    [described] = admin.describe_topics([name])
    assert len(described["partitions"]) == 5
    admin.delete_topics([name])
    deadline = time.monotonic() + 10
    while name in admin.list_topics():
        assert time.monotonic() < deadline


def test_administer_configuration(admin, topic):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "123456"})
    admin.alter_configs([resource])
    described = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
    assert "retention.ms" in described and "123456" in described


def test_delete_records(admin, producer, consumer, topic):
    sender = producer()
    for i in range(10):
        sender.send(topic, b"%d" % i)
    sender.flush()
    admin.delete_records({TopicPartition(topic, 0): 6})
    assert [m.value for m in take(consumer(topic), 4)] == [b"6", b"7", b"8", b"9"]


def test_an_invalid_name_is_an_error_of_that_topic_only(admin, topic):
    with pytest.raises(KafkaError):
        admin.create_topics([NewTopic("no spaces please", 1, 1)])
    assert topic in admin.list_topics()
