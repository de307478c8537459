"""kcat: the pipes that people type."""

import json
import time


def test_lists_brokers_and_topics(kcat, broker, new_topic):
    topic = new_topic(partitions=3)
    seen = json.loads(kcat("-L", "-J"))
    assert [b["name"] for b in seen["brokers"]] == [broker.address.replace("127.0.0.1", "localhost")] or [
        b["name"] for b in seen["brokers"]
    ] == [broker.address]
    [listed] = [t for t in seen["topics"] if t["topic"] == topic]
    assert [p["partition"] for p in listed["partitions"]] == [0, 1, 2]
    assert all(p["leader"] == seen["brokers"][0]["id"] for p in listed["partitions"])


def test_lines_go_in_and_come_out(kcat, topic):
    lines = b"".join(b"line %d\n" % i for i in range(1000))
    kcat("-P", "-t", topic, stdin=lines)
    assert kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q") == lines


def test_creates_the_topic_it_produces_to(kcat, topic):
    name = f"{topic}-made-by-producing"
    kcat("-P", "-t", name, stdin=b"first\n")
    assert kcat("-C", "-t", name, "-o", "beginning", "-e", "-q") == b"first\n"


def test_keys_headers_and_tombstones(kcat, topic):
    kcat("-P", "-t", topic, "-K", ":", "-Z", "-H", "trace=abc", "-H", "trace=def", stdin=b"k1:v1\nk2:\n")
    got = [json.loads(line) for line in kcat("-C", "-t", topic, "-o", "beginning", "-e", "-J", "-q").splitlines()]
    assert [(m["key"], m["payload"], m["offset"]) for m in got] == [("k1", "v1", 0), ("k2", None, 1)]
    assert got[0]["headers"] == ["trace", "abc", "trace", "def"]


def test_every_compression(kcat, topic):
    sent = b""
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        lines = b"".join(b"%s says %d\n" % (codec.encode(), i) for i in range(200))
        kcat("-P", "-t", topic, "-z", codec, stdin=lines)
        sent += lines
    assert kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q") == sent


def test_reads_from_an_offset_from_the_tail_and_from_a_time(kcat, topic):
    kcat("-P", "-t", topic, stdin=b"".join(b"%d\n" % i for i in range(10)))
    time.sleep(0.05)
    between = int(time.time() * 1000)
    time.sleep(0.05)
    kcat("-P", "-t", topic, stdin=b"late\n")
    read = ["-C", "-t", topic, "-p", "0", "-e", "-q"]
    assert kcat(*read, "-o", "8") == b"8\n9\nlate\n"
    assert kcat(*read, "-o", "-2") == b"9\nlate\n"
    assert kcat(*read, "-o", f"s@{between}") == b"late\n"


def test_asks_for_an_offset_by_time(kcat, topic):
    kcat("-P", "-t", topic, stdin=b"a\nb\n")
    assert b"offset 0" in kcat("-Q", "-t", f"{topic}:0:1")
    assert b"offset 2" in kcat("-Q", "-t", f"{topic}:0:-1")


def test_an_idempotent_producer(kcat, topic):
    lines = b"".join(b"%d\n" % i for i in range(500))
    kcat("-P", "-t", topic, "-X", "enable.idempotence=true", stdin=lines)
    assert kcat("-C", "-t", topic, "-o", "beginning", "-e", "-q") == lines
