"""Produce and InitProducerId: what is taken, what is refused, and what is stored of it."""

import time

import batches
from batches import batch


def produce_in_every_version(peer):
    topic = peer.create()
    for version in range(3, 14):
        peer.produce(version, topic, batch([b"one", b"two"], key=b"k"), acks=-1 if version % 2 else 1)
    peer.fetch(12, topic)


def produce_with_bad_acks(peer):
    topic = peer.create()
    for acks in (2, -2, 100):
        for version in (3, 9, 13):
            peer.produce(version, topic, batch(), acks=acks, note=f"acks {acks}")
            peer.produce(version, "missing", batch(), acks=acks, note=f"acks {acks} missing topic")


def produce_without_acks(peer):
    """No answer; an error shows as a closed connection."""
    topic = peer.create()
    for note, wanted, records in [
        ("good", topic, batch()),
        ("missing topic", "missing", batch()),
        ("bad crc", topic, batch(crc=1)),
    ]:
        connection = peer.connect()
        connection.send(
            "Produce",
            9,
            {
                "acks": 0,
                "timeout_ms": 1000,
                "topic_data": [{"name": wanted, "partition_data": [{"index": 0, "records": records}]}],
            },
        )
        peer.ask("Metadata", 1, f"after {note}", topics=[])
    peer.wait_until_end(topic, 1)
    peer.fetch(11, topic)


def produce_where_nothing_is(peer):
    topic = peer.create()
    for version in (3, 7, 9, 12, 13):
        peer.produce(version, topic, batch(), partition=1, note="partition")
        peer.produce(version, topic, batch(), partition=-1, note="negative partition")
        peer.produce(version, "missing", batch(), note="topic")
        peer.produce(version, "b a d", batch(), note="bad name")
    peer.ask("Produce", 9, "no topics", acks=-1, timeout_ms=1000, topic_data=[])


def produce_two_partitions_at_once(peer):
    topic = peer.create(partitions=2)
    for version in (3, 9, 13):
        peer.ask(
            "Produce",
            version,
            acks=-1,
            timeout_ms=1000,
            topic_data=[
                {
                    "name": topic,
                    "topic_id": peer.topic_id(topic),
                    "partition_data": [
                        {"index": 0, "records": batch()},
                        {"index": 1, "records": batch(crc=7)},
                        {"index": 5, "records": batch()},
                    ],
                }
            ],
        )


def produce_one_partition_twice(peer):
    topic = peer.create()
    peer.ask(
        "Produce",
        9,
        acks=-1,
        timeout_ms=1000,
        topic_data=[
            {
                "name": topic,
                "partition_data": [
                    {"index": 0, "records": batch([b"first"])},
                    {"index": 0, "records": batch([b"second"])},
                ],
            }
        ],
    )
    peer.fetch(11, topic)


def produce_broken_batches(peer):
    topic = peer.create()
    good = batch([b"a", b"b"])
    for version in (3, 8, 9, 13):
        for note, records in [
            ("empty", b""),
            ("bad crc", batch(crc=123)),
            ("two batches", good + good),
            ("one and a half", good + good[:40]),
            ("cut", good[:-1]),
            ("a header's beginning", good[:30]),
            ("12 bytes", good[:12]),
            ("magic 0", batch(magic=0)),
            ("magic 1", batch(magic=1)),
            ("magic 3", batch(magic=3)),
            ("count too low", batch([b"a", b"b"], count=1)),
            ("count too high", batch([b"a"], count=2)),
            ("count 0", batch([], count=0, last_delta=0)),
            ("negative count", batch(count=-1)),
            ("huge count", batch(count=2**31 - 1, last_delta=2**31 - 2)),
            ("last delta too high", batch(last_delta=5)),
            ("last delta and count too high", batch(last_delta=5, count=6)),
            ("negative last delta", batch(last_delta=-1)),
            ("base offset", batch(base_offset=7)),
            ("control", batch(attributes=0x20)),
            ("control and transactional", batch(attributes=0x30)),
            ("producer id without sequence", batch(producer_id=5, epoch=0)),
            ("records cut", batch(body=b"\x20\0\0")),
            ("bytes after the records", batch(body=batches.record(0, b"v") + b"xx")),
            ("negative length", batch(body=b"\x01")),
            ("length never ends", batch(body=b"\xff" * 20)),
        ]:
            peer.produce(version, topic, records, note=note)
    peer.fetch(11, topic)


def produce_bad_compression(peer):
    topic = peer.create()
    for attributes in (1, 2, 3, 4, 5, 6, 7):
        for version in (3, 7, 9):
            peer.produce(
                version, topic, batch(body=b"this is not compressed", attributes=attributes), note=f"codec {attributes}"
            )
    peer.produce(9, topic, batch([b"x" * 1000] * 50, attributes=batches.GZIP), note="good gzip")
    peer.produce(
        9, topic, batch([b"x"] * 3, attributes=batches.GZIP, count=2, last_delta=1), note="gzip with more records"
    )
    peer.produce(
        9, topic, batch([b"x"] * 3, attributes=batches.GZIP, count=4, last_delta=3), note="gzip with fewer records"
    )
    peer.fetch(11, topic)


def produce_records_with_wrong_fields(peer):
    topic = peer.create()
    record = batches.record
    for note, body, count in [
        ("offsets from 5", record(5, b"a") + record(6, b"b"), 2),
        ("same offsets", record(0, b"a") + record(0, b"b"), 2),
        ("offsets swapped", record(1, b"a") + record(0, b"b"), 2),
        ("negative offset", record(-1, b"a"), 1),
        ("record attributes", b"\x0e" + b"\x07" + record(0, b"a")[2:], 1),
        ("header without a key", batches.varint(9) + b"\0\0\0\x01\x02a\x02\x01\0", 1),
        ("negative header count", batches.varint(7) + b"\0\0\0\x01\x02a\x01", 1),
    ]:
        peer.produce(9, topic, batch([b""] * count, body=body), note=note)
    peer.fetch(11, topic)


def produce_keyless_to_a_compacted_topic(peer):
    for policy in ("compact", "compact,delete"):
        topic = peer.create(peer.name(policy.replace(",", "-")), cleanup_policy=policy)
        for version in (3, 7, 8, 9, 12, 13):
            peer.produce(version, topic, batch([b"a", b"b"]), note="no keys")
            peer.produce(version, topic, batch([b"a", b"b"], key=b"k"), note="keys")
            peer.produce(version, topic, batch([b"a"], attributes=batches.GZIP), note="gzip without keys")


def produce_large_batches(peer):
    topic = peer.create(max_message_bytes=1000)
    stored = len(batch([b"x" * 900]))
    for size in (1000, 1001):
        records = batch([b"x" * (900 + size - stored)])
        peer.produce(9, topic, records, note=f"{len(records)} bytes")
    small = peer.create(peer.name("small-segments"), segment_bytes=1048576, max_message_bytes=3_000_000)
    peer.produce(9, small, batch([b"x" * 1_048_600]), note="larger than a segment")
    peer.produce(13, small, batch([b"x" * 1_048_600]), note="larger than a segment")


def produce_strange_times(peer):
    topic = peer.create()
    now = int(time.time() * 1000)
    for note, timestamp in [
        ("none", -1),
        ("zero", 0),
        ("negative", -5),
        ("past", 1),
        ("two hours ahead", now + 7_200_000),
        ("half an hour ahead", now + 1_800_000),
    ]:
        for version in (3, 9):
            peer.produce(version, topic, batch([b"a", b"b"], timestamp=timestamp), note=note)
    peer.produce(9, topic, batch([b"a", b"b"], max_timestamp=5), note="wrong max timestamp")
    peer.produce(9, topic, batch([b"a", b"b"], step=1000, max_timestamp=2**60), note="max timestamp too high")
    peer.produce(9, topic, batch([b"a"], attributes=8), note="append time bit")
    peer.produce(9, topic, batch([b"a"], attributes=8, timestamp=-1), note="append time bit without a time")
    peer.fetch(11, topic)
    bounded = peer.create(peer.name("bounded"), message_timestamp_before_max_ms=1000)
    peer.produce(9, bounded, batch([b"a", b"b"]), note="too old")


def produce_to_a_topic_with_append_time(peer):
    topic = peer.create(message_timestamp_type="LogAppendTime")
    for version in (3, 9, 13):
        peer.produce(version, topic, batch([b"a", b"b"], step=1000))
        peer.produce(version, topic, batch([b"a"], attributes=batches.GZIP), note="gzip")
        peer.produce(version, topic, batch([b"a"], attributes=8), note="with the bit")
    for batch_seen in peer.fetch(11, topic)["responses"][0]["partitions"]:
        assert batch_seen["records"]


def produce_is_recompressed(peer):
    """Only the shape is compared: two gzip encoders need not write the same bytes."""
    for codec in ("gzip", "lz4", "snappy", "zstd", "uncompressed"):
        topic = peer.create(peer.name(codec), compression_type=codec)
        peer.produce(9, topic, batch([b"the same words " * 20] * 10), note=f"to {codec}")
        peer.produce(9, topic, batch([b"the same words " * 20] * 10, attributes=batches.GZIP), note=f"gzip to {codec}")
        answer = peer.quietly(
            "Fetch",
            11,
            max_wait_ms=0,
            min_bytes=0,
            max_bytes=10**6,
            topics=[
                {"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 10**6}]}
            ],
        )
        seen = batches.view(answer["responses"][0]["partitions"][0]["records"])
        same = {"length", "payload"} if codec != "uncompressed" else set()
        peer.record(f"{codec} stored", {"batches": [{k: v for k, v in b.items() if k not in same} for b in seen]})


def produce_to_internal_topics(peer):
    for name in ("__consumer_offsets", "__transaction_state", "__cluster_metadata"):
        for client_id in ("differential", "__admin_client"):
            peer.ask(
                "Produce",
                9,
                f"{name} as {client_id}",
                client_id=client_id,
                acks=-1,
                timeout_ms=1000,
                topic_data=[{"name": name, "partition_data": [{"index": 0, "records": batch(key=b"k")}]}],
            )


def produce_with_a_transactional_id_or_bit(peer):
    topic = peer.create()
    peer.produce(9, topic, batch(attributes=0x10, producer_id=9, epoch=0, sequence=0), note="bit without an id")


def init_producer_id(peer):
    _producer(peer)
    for version in range(6):
        for note, body in [
            ("fresh", {}),
            ("long timeout", {"transaction_timeout_ms": 2**31 - 1}),
            ("no timeout", {"transaction_timeout_ms": 0}),
            ("negative timeout", {"transaction_timeout_ms": -1}),
        ]:
            peer.ask(
                "InitProducerId", version, note, **{"transactional_id": None, "transaction_timeout_ms": 1000, **body}
            )
    for version in (3, 5):
        peer.ask(
            "InitProducerId",
            version,
            "own id",
            transactional_id=None,
            transaction_timeout_ms=1000,
            producer_id=3,
            producer_epoch=1,
        )
        peer.ask(
            "InitProducerId",
            version,
            "id without epoch",
            transactional_id=None,
            transaction_timeout_ms=1000,
            producer_id=3,
        )


def _producer(peer):
    """A Kafka that has just started has no ids to give yet."""
    for _ in range(100):
        answer = peer.quietly("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=1000)
        if answer["error_code"] == 0:
            return answer["producer_id"]
        time.sleep(0.1)
    raise TimeoutError("no producer id")


def idempotent_retries_and_gaps(peer):
    topic, pid = peer.create(), _producer(peer)

    def send(sequence, count=2, epoch=0, note="", version=9):
        records = batch([b"v%d" % i for i in range(count)], producer_id=pid, epoch=epoch, sequence=sequence)
        peer.produce(version, topic, records, note=note or f"sequence {sequence} +{count} epoch {epoch}")

    for sequence in (0, 2, 4):
        send(sequence)
    send(4, note="retry of the last")
    send(0, note="retry of the first")
    send(4, count=1, note="part of the last")
    send(8, note="a gap")
    send(6, note="the right one")
    for sequence in (8, 10, 12, 14, 16):
        send(sequence)
    send(0, note="older than five batches")
    send(8, note="oldest of five")
    send(0, epoch=1, note="new epoch")
    send(2, epoch=0, note="old epoch")
    send(5, epoch=2, note="new epoch not from zero")
    send(2, epoch=1, version=3, note="old version")
    send(0, epoch=0, version=13, note="old epoch in the newest version")
    peer.fetch(11, topic)


def idempotent_sequences_wrap(peer):
    topic, pid = peer.create(), _producer(peer)
    for sequence, count in [(2**31 - 3, 2), (2**31 - 1, 3), (2, 1), (2**31 - 1, 3)]:
        records = batch([b"v"] * count, producer_id=pid, epoch=0, sequence=sequence)
        peer.produce(9, topic, records, note=f"{sequence} +{count}")


def idempotent_producers_start_anywhere(peer):
    topic = peer.create()
    peer.produce(9, topic, batch(producer_id=123_456_789, epoch=3, sequence=77), note="unknown to the broker")
    peer.produce(9, topic, batch(producer_id=123_456_789, epoch=3, sequence=78), note="goes on")
    peer.produce(9, topic, batch(producer_id=123_456_789, epoch=3, sequence=80), note="a gap")


def idempotent_retries_on_a_topic_with_append_time(peer):
    topic, pid = peer.create(message_timestamp_type="LogAppendTime"), _producer(peer)
    for note in ("first", "retry"):
        peer.produce(9, topic, batch(producer_id=pid, epoch=0, sequence=0), note=note)
