"""Fetch, its sessions, ListOffsets and OffsetForLeaderEpoch."""

import threading
import time
import uuid

import batches
import wire
from batches import batch

UNKNOWN_ID = uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF)


def _fill(peer, topic, count=5, partition=0, size=10):
    """`count` batches of two records, 1000 ms apart."""
    for i in range(count):
        records = batch([b"x" * size, b"y" * size], timestamp=1_700_000_000_000 + 10_000 * i, step=1000)
        answer = peer.quietly(
            "Produce",
            9,
            acks=-1,
            timeout_ms=5000,
            topic_data=[{"name": topic, "partition_data": [{"index": partition, "records": records}]}],
        )
        assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0


def fetch_in_every_version(peer):
    topic = peer.create(partitions=2)
    _fill(peer, topic)
    for version in range(4, 19):
        peer.fetch(version, topic)
        peer.fetch(version, topic, offset=3, note="inside a batch")
        peer.fetch(version, topic, offset=10, note="at the end")
        peer.fetch(version, topic, partition=1, note="empty partition")
        peer.fetch(version, topic, isolation_level=1, note="committed")


def fetch_out_of_range(peer):
    topic = peer.create()
    _fill(peer, topic)
    peer.quietly(
        "DeleteRecords",
        2,
        timeout_ms=5000,
        topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": 4}]}],
    )
    for version in (4, 11, 12, 13, 18):
        for offset in (-1, -2, 0, 3, 4, 10, 11, 2**62):
            peer.fetch(
                version,
                topic,
                offset=offset,
                note=f"offset {offset}",
                max_wait_ms=5000,
                min_bytes=0 if offset in (4, 10) else 1,
            )


def fetch_where_nothing_is(peer):
    topic = peer.create()
    for version in (4, 12, 13, 16, 18):
        peer.fetch(version, topic, partition=1, note="partition")
        peer.fetch(version, topic, partition=-1, note="negative partition")
        peer.fetch(version, "missing", note="topic")
    peer.ask("Fetch", 11, "no topics", max_wait_ms=0, min_bytes=0, max_bytes=100, topics=[])
    peer.ask(
        "Fetch",
        13,
        "zero id",
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=100,
        topics=[
            {
                "topic_id": uuid.UUID(int=0),
                "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 100}],
            }
        ],
    )


def fetch_limits(peer):
    topic = peer.create(partitions=2)
    _fill(peer, topic, size=500)
    _fill(peer, topic, partition=1, size=500)
    for version in (4, 11, 17):
        for max_bytes in (0, 1, 1000, 1200, 3000, 2**31 - 1):
            peer.fetch(version, topic, max_bytes=max_bytes, note=f"max {max_bytes}")
            peer.fetch(
                version, topic, of_partition={"partition_max_bytes": max_bytes}, note=f"partition max {max_bytes}"
            )
        for max_bytes in (1, 1500, 5000, 7000):
            peer.ask(
                "Fetch",
                version,
                f"two partitions, max {max_bytes}",
                max_wait_ms=0,
                min_bytes=0,
                max_bytes=max_bytes,
                topics=[
                    {
                        "topic": topic,
                        "topic_id": peer.topic_id(topic),
                        "partitions": [
                            {"partition": p, "fetch_offset": 0, "partition_max_bytes": 100_000} for p in (1, 0)
                        ],
                    }
                ],
            )


def fetch_one_partition_twice(peer):
    topic = peer.create()
    _fill(peer, topic, 1)
    wanted = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 10_000}
    for version in (4, 12, 13):
        peer.ask(
            "Fetch",
            version,
            max_wait_ms=0,
            min_bytes=0,
            max_bytes=10_000,
            topics=[
                {
                    "topic": topic,
                    "topic_id": peer.topic_id(topic),
                    "partitions": [wanted, {**wanted, "fetch_offset": 1}],
                }
            ],
        )


def fetch_waits_for_records(peer):
    topic = peer.create()
    began = time.monotonic()
    peer.fetch(11, topic, max_wait_ms=300, min_bytes=1, note="nothing comes")
    peer.record("waited", {"as long as asked": 0.28 < time.monotonic() - began < 3})
    late = threading.Timer(0.2, _fill, (peer, topic, 1))
    late.start()
    began = time.monotonic()
    peer.fetch(11, topic, max_wait_ms=10_000, min_bytes=1, note="something comes")
    peer.record("woke", {"at once": 0.1 < time.monotonic() - began < 3})
    late.join()
    began = time.monotonic()
    peer.fetch(11, topic, max_wait_ms=300, min_bytes=100_000, note="not enough")
    peer.record("gave up", {"in time": 0.28 < time.monotonic() - began < 3})


def fetch_leader_epochs(peer):
    topic = peer.create()
    _fill(peer, topic, 2)
    for version in (9, 11, 12, 16, 18):
        for epoch in (-1, 0, 1, 99):
            peer.fetch(version, topic, of_partition={"current_leader_epoch": epoch}, note=f"epoch {epoch}")
    for last in (-1, 0, 1, 5):
        for offset in (0, 4, 9):
            peer.fetch(
                12,
                topic,
                offset=offset,
                of_partition={"last_fetched_epoch": last},
                note=f"last fetched {last} at {offset}",
            )


def fetch_as_a_follower_that_is_none(peer):
    topic = peer.create()
    _fill(peer, topic, 1)
    for replica in (1, 2, 99):
        peer.fetch(11, topic, replica_id=replica, note=f"replica {replica}")
    peer.fetch(17, topic, replica_state={"replica_id": 2, "replica_epoch": 5}, note="replica 2")


def fetch_for_a_rack(peer):
    topic = peer.create()
    _fill(peer, topic, 1)
    for version in (11, 13, 18):
        peer.fetch(version, topic, rack_id="somewhere")


def _session(peer, version, session_id, epoch, topics=(), note="", forgotten=()):
    """`topics` are (name, partition, offset)."""
    wanted = [
        {
            "topic": name,
            "topic_id": peer.topic_id(name),
            "partitions": [{"partition": partition, "fetch_offset": offset, "partition_max_bytes": 10_000}],
        }
        for name, partition, offset in topics
    ]
    gone = [
        {"topic": name, "topic_id": peer.topic_id(name), "partitions": [partition]} for name, partition in forgotten
    ]
    answer = peer.ask(
        "Fetch",
        version,
        note,
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=100_000,
        session_id=session_id,
        session_epoch=epoch,
        topics=wanted,
        forgotten_topics_data=gone,
    )
    return answer.get("session_id", 0)


def fetch_sessions(peer):
    topic = peer.create(partitions=3)
    _fill(peer, topic, 2)
    _fill(peer, topic, 1, partition=1)
    for version in (7, 11, 12, 13, 18):
        every = [(topic, 0, 0), (topic, 1, 0), (topic, 2, 0)]
        session = _session(peer, version, 0, 0, every, "create")
        _session(peer, version, session, 1, [], "all again")
        _session(peer, version, session, 2, [(topic, 0, 4), (topic, 1, 2)], "moved on")
        _session(peer, version, session, 3, [], "nothing new")
        _fill(peer, topic, 1, partition=2)
        _session(peer, version, session, 4, [], "something new")
        _session(peer, version, session, 5, [], "again, not moved on", forgotten=[(topic, 0)])
        _session(peer, version, session, 6, [(topic, 0, 0)], "added again")
        _session(peer, version, session, 6, [], "repeated epoch")
        _session(peer, version, session, 9, [], "epoch ahead")
        _session(peer, version, session, 7, [], "lives on")
        _session(peer, version, session, -1, [], "closed")
        _session(peer, version, session, 8, [], "is gone")


def fetch_sessions_oddly(peer):
    topic = peer.create()
    _fill(peer, topic, 1)
    for version in (7, 12, 13):
        _session(peer, version, 12345, 1, [(topic, 0, 0)], "unknown")
        _session(peer, version, 12345, -1, [(topic, 0, 0)], "closing an unknown one")
        _session(peer, version, 12345, 0, [(topic, 0, 0)], "renewing an unknown one")
        _session(peer, version, 0, 5, [(topic, 0, 0)], "no id, some epoch")
        _session(peer, version, 0, -1, [(topic, 0, 0)], "sessionless")
        _session(peer, version, 0, 0, [], "without partitions")
        _session(peer, version, 0, 0, [("missing", 0, 0)], "a missing topic")
        _session(peer, version, 0, 0, [(topic, 9, 0)], "a missing partition")
        _session(peer, version, 0, 0, [(topic, 0, 99)], "out of range")
    by_name = _session(peer, 12, 0, 0, [(topic, 0, 0)], "by name")
    _session(peer, 13, by_name, 1, [], "by name, then by id")
    by_id = _session(peer, 13, 0, 0, [(topic, 0, 0)], "by id")
    _session(peer, 12, by_id, 1, [], "by id, then by name")


def fetch_sessions_repeat_errors(peer):
    topic = peer.create()
    for version in (11, 13):
        session = _session(peer, version, 0, 0, [(topic, 0, 50), (topic, 4, 0)], "create")
        for epoch in (1, 2):
            _session(peer, version, session, epoch, [], f"epoch {epoch}")


def _list_offsets(peer, version, topic, timestamp, note="", partition=0, **more):
    return peer.ask(
        "ListOffsets",
        version,
        note,
        **{
            "replica_id": -1,
            "timeout_ms": 1000,
            "topics": [{"name": topic, "partitions": [{"partition_index": partition, "timestamp": timestamp}]}],
            **more,
        },
    )


def list_offsets_in_every_version(peer):
    topic, empty = peer.create(), peer.create(peer.name("empty"))
    _fill(peer, topic)
    for version in range(1, 12):
        for timestamp in (
            -1,
            -2,
            -3,
            -4,
            -5,
            -6,
            -7,
            0,
            1_700_000_000_000,
            1_700_000_001_000,
            1_700_000_000_500,
            1_700_000_041_000,
            1_700_000_041_001,
            2**62,
        ):
            _list_offsets(peer, version, topic, timestamp, f"at {timestamp}")
            _list_offsets(peer, version, empty, timestamp, f"empty at {timestamp}")
        _list_offsets(peer, version, topic, -1, "committed", isolation_level=1)
        _list_offsets(peer, version, topic, 1_700_000_001_000, "committed", isolation_level=1)
        _list_offsets(peer, version, topic, -3, "committed max", isolation_level=1)


def list_offsets_inside_compressed_batches(peer):
    topic = peer.create()
    peer.produce(9, topic, batch([b"v"] * 10, step=1000, attributes=batches.GZIP))
    for timestamp in (1_700_000_000_000, 1_700_000_004_500, 1_700_000_009_000, 1_700_000_009_001, -3):
        _list_offsets(peer, 7, topic, timestamp, f"at {timestamp}")


def list_offsets_when_time_goes_back(peer):
    topic = peer.create()
    for timestamp in (5000, 9000, 1000, 7000, 9000):
        peer.produce(9, topic, batch(timestamp=timestamp))
    for timestamp in (0, 1000, 1001, 5001, 7001, 9000, 9001, -3):
        _list_offsets(peer, 7, topic, timestamp, f"at {timestamp}")


def list_offsets_after_deletion(peer):
    topic = peer.create()
    _fill(peer, topic)
    peer.quietly(
        "DeleteRecords",
        2,
        timeout_ms=5000,
        topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": 5}]}],
    )
    for timestamp in (-1, -2, -3, -4, 0, 1_700_000_021_000, 1_700_000_020_000):
        _list_offsets(peer, 9, topic, timestamp, f"at {timestamp}")


def list_offsets_where_nothing_is(peer):
    topic = peer.create()
    for version in (1, 4, 7, 11):
        _list_offsets(peer, version, topic, -1, "partition", partition=3)
        _list_offsets(peer, version, "missing", -1, "topic")
        _list_offsets(peer, version, topic, 0, "partition by time", partition=3)
        _list_offsets(peer, version, topic, -1, "as a replica", replica_id=5)
        _list_offsets(peer, version, topic, -1, "as the debugger", replica_id=-2)
        twice = [{"partition_index": 0, "timestamp": -1}, {"partition_index": 0, "timestamp": -2}]
        peer.ask("ListOffsets", version, "twice", replica_id=-1, topics=[{"name": topic, "partitions": twice}])
        peer.ask("ListOffsets", version, "nothing", replica_id=-1, topics=[])


def list_offsets_checks_the_leader_epoch(peer):
    topic = peer.create()
    for version in (4, 7, 11):
        for epoch in (-1, 0, 1, -5):
            peer.ask(
                "ListOffsets",
                version,
                f"epoch {epoch}",
                replica_id=-1,
                topics=[
                    {
                        "name": topic,
                        "partitions": [{"partition_index": 0, "timestamp": -1, "current_leader_epoch": epoch}],
                    }
                ],
            )


def offset_for_leader_epoch(peer):
    topic = peer.create()
    _fill(peer, topic)
    empty = peer.create(peer.name("empty"))
    for version in (2, 3, 4):
        for name, partition in ((topic, 0), (empty, 0), (topic, 9), ("missing", 0)):
            for current, asked in [(-1, 0), (-1, 1), (-1, -1), (0, 0), (1, 0), (-1, 2**31 - 1), (-1, -5)]:
                peer.ask(
                    "OffsetForLeaderEpoch",
                    version,
                    f"{name} {partition} {current} {asked}",
                    replica_id=-1,
                    topics=[
                        {
                            "topic": name,
                            "partitions": [
                                {"partition": partition, "current_leader_epoch": current, "leader_epoch": asked}
                            ],
                        }
                    ],
                )


def a_client_that_goes_while_it_waits_harms_nobody(peer):
    topic = peer.create()
    for _ in range(3):
        connection = wire.Connection(peer.broker.address)
        connection.send(
            "Fetch",
            11,
            {
                "max_wait_ms": 60_000,
                "min_bytes": 1,
                "max_bytes": 1000,
                "topics": [
                    {"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]}
                ],
            },
        )
        connection.close()
    _fill(peer, topic, 1)
    peer.fetch(11, topic)
