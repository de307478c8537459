"""What is measured. Each scenario drives one started broker and returns its figures by name, which end in their unit."""

import json
import random
import time
from dataclasses import dataclass
from typing import Callable

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

import lz4.frame
import zstandard

import batches
import generator
import wire

MB, GB = 1e6, 1e9


@dataclass
class Scenario:
    number: str
    title: str
    run: Callable
    # The upper bound knows neither administration nor records that are not one after the other in one partition.
    with_limit: bool = True
    repetitions: int = 5


class Measured:
    """Broker CPU and wall time of a `with` block."""

    def __init__(self, broker):
        self.broker = broker

    def __enter__(self):
        self.cpu, self.at = self.broker.cpu_seconds(), time.monotonic()
        return self

    def __exit__(self, *_):
        self.cpu, self.seconds = self.broker.cpu_seconds() - self.cpu, time.monotonic() - self.at


def create(broker, topic, partitions):
    if broker.kind != "kb":
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=60, request_timeout=90)[topic].result()


def warm_up(broker, scale):
    """A JVM compiles what it runs often; the others get the same."""
    create(broker, "warm-up", 1)
    generator.produce(broker, "warm-up", int(400_000 * scale), 100, "-p", 0, "-a", -1)
    generator.consume(broker, "warm-up", int(400_000 * scale), "-p", 0)


def produce(size, count, acks):
    def run(broker, scale):
        warm_up(broker, scale)
        create(broker, "load", 1)
        with Measured(broker) as used:
            messages, ms = generator.produce(
                broker, "load", int(count * scale), size, "-p", 0, "-a", acks, "-X", "linger.ms=5"
            )
        volume = messages * size
        return {
            "MB/s": volume / ms / 1e3,
            "M msg/s": messages / ms / 1e3,
            "CPU-s/GB": used.cpu / volume * GB,
            "CPU-s/M msg": used.cpu / messages * MB,
            "peak MiB": broker.memory_mib("VmHWM"),
        }

    return run


def tiny_requests(broker, scale):
    """One record a request from 16 producers into 4 partitions."""
    warm_up(broker, scale)
    create(broker, "tiny", 4)
    each = int(20_000 * scale)
    with Measured(broker) as used:
        running = [
            generator.start(
                broker,
                "-P",
                "tiny",
                "-p",
                i % 4,
                "-s",
                100,
                "-c",
                each,
                "-a",
                -1,
                "-X",
                "linger.ms=0",
                "-X",
                "batch.num.messages=1",
            )
            for i in range(16)
        ]
        done = [generator.finish(process) for process in running]
    slowest = max(ms for _, ms in done)
    return {"requests/s": 16 * each / slowest * 1e3, "CPU us/request": used.cpu / (16 * each) * 1e6}


def catch_up(broker, scale):
    warm_up(broker, scale)
    create(broker, "log", 1)
    count = int(2_000_000 * scale)
    generator.produce(broker, "log", count, 1024, "-p", 0, "-a", -1)
    with Measured(broker) as used:
        messages, ms = generator.consume(broker, "log", count, "-p", 0)
    return {"MB/s": messages * 1024 / ms / 1e3, "CPU-s/GB": used.cpu / (messages * 1024) * GB}


def end_to_end(broker, scale):
    """2000 records of 100 bytes a second, each its own request, until a tailing consumer has it."""
    warm_up(broker, scale)
    create(broker, "tail", 1)
    seconds = max(3, int(15 * scale))
    latencies = broker.directory / "latencies"
    reader = generator.start(broker, "-C", "tail", "-p", 0, "-o", "end", "-l", "-A", latencies, "-c", 2000 * seconds)
    time.sleep(1)
    with Measured(broker) as used:
        generator.produce(
            broker, "tail", 2000 * (seconds + 1), 100, "-p", 0, "-l", "-r", 2000, "-a", -1, "-X", "linger.ms=0"
        )
    time.sleep(1)
    reader.terminate()
    reader.wait()
    seen = sorted(int(line) / 1000 for line in latencies.read_text().split()[2000:])
    return {
        "p50 ms": seen[len(seen) // 2],
        "p99 ms": seen[len(seen) * 99 // 100],
        "p99.9 ms": seen[len(seen) * 999 // 1000],
        "CPU us/message": used.cpu / (2000 * (seconds + 1)) * 1e6,
    }


def many_partitions(broker, scale):
    warm_up(broker, scale)
    partitions = 1000 if scale >= 1 else 200
    create(broker, "wide", partitions)
    wait_for_leaders(broker, "wide", partitions)
    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 5, "acks": "all"})
    with Measured(broker) as first:
        for partition in range(partitions):
            producer.produce("wide", b"x" * 100, partition=partition)
        assert producer.flush(300) == 0
    count = int(1_000_000 * scale)
    with Measured(broker) as used:
        messages, ms = generator.produce(broker, "wide", count, 1024, "-a", -1)
    return {
        "first records s": first.seconds,
        "MB/s": messages * 1024 / ms / 1e3,
        "CPU-s/GB": used.cpu / (messages * 1024) * GB,
        "peak MiB": broker.memory_mib("VmHWM"),
    }


def wait_for_leaders(broker, topic, partitions):
    admin = AdminClient({"bootstrap.servers": broker.address})
    while True:
        known = admin.list_topics(topic, timeout=60).topics[topic].partitions
        if len(known) == partitions and all(p.leader >= 0 for p in known.values()):
            return
        time.sleep(0.05)


def at_rest(broker, scale):
    figures = {"start ms": broker.start_seconds * 1000}
    time.sleep(30 if scale >= 1 else 3)
    figures["at rest MiB"] = broker.memory_mib()
    made = 0
    for partitions in (1000, 10_000) if scale >= 1 else (100, 1000):
        began = time.monotonic()
        while made < partitions:
            create(broker, f"wide-{made}", min(1000, partitions))
            made += min(1000, partitions)
        wait_for_leaders(broker, f"wide-{made - min(1000, partitions)}", min(1000, partitions))
        figures[f"create {partitions} s"] = time.monotonic() - began
        time.sleep(5 * min(scale, 1))
        figures[f"with {partitions} MiB"] = broker.memory_mib()
    broker.stop()
    broker.start()
    figures[f"restart with {partitions} ms"] = broker.start_seconds * 1000
    broker.kill()
    broker.start()
    figures[f"restart with {partitions} after kill -9 ms"] = broker.start_seconds * 1000
    return figures


def restart(broker, scale):
    """kill -9 while records come in; until Metadata answers, and until a record can be read."""
    create(broker, "big", 100)
    wait_for_leaders(broker, "big", 100)
    count = int(10_000_000 * scale)
    acknowledged, _ = generator.produce(broker, "big", count, 1024, "-a", -1)
    load = generator.start(broker, "-P", "big", "-s", 1024, "-c", count, "-a", -1)
    time.sleep(3)
    broker.kill()
    load.kill()
    load.wait()
    broker.start()
    first = broker.start_seconds
    began = time.monotonic()
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition("big", 0, 0)])
    message = consumer.poll(120)
    assert message is not None and message.error() is None
    read = first + time.monotonic() - began
    consumer.close()
    there = sum(end_of(broker, "big", partition) for partition in range(100))
    return {
        "to first answer ms": first * 1000,
        "to first record ms": read * 1000,
        "lost acknowledged records": max(0, acknowledged - there),
    }


def end_of(broker, topic, partition):
    """A Kafka that has just started may name a leader before that leader serves."""
    admin = AdminClient({"bootstrap.servers": broker.address})
    at = TopicPartition(topic, partition)
    for _ in range(600):
        try:
            return admin.list_offsets({at: OffsetSpec.latest()})[at].result().offset
        except KafkaException:
            time.sleep(0.1)
    raise TimeoutError(f"{topic}-{partition} does not serve")


def compressed(codec, compress):
    """Batches compressed once, sent again and again over raw connections: the generator costs nothing, and what the
    broker stores can be compared with what was sent. (librdkafka sends lz4 only to brokers that have groups.)"""

    def run(broker, scale):
        warm_up(broker, scale)
        create(broker, "packed", 1)
        documents = documents_like_logs(2000)
        body = compress(b"".join(batches.record(i, document) for i, document in enumerate(documents)))
        packed = batches.batch([b""] * len(documents), body=body, attributes=codec)
        body = {
            "acks": -1,
            "timeout_ms": 30_000,
            "topic_data": [{"name": "packed", "partition_data": [{"index": 0, "records": packed}]}],
        }
        count = max(10, int(1e9 * scale / len(packed)))
        with Measured(broker) as used:
            pipeline(broker, "Produce", 9, body, count)
        first = sorted((broker.data / "packed-0").glob("*.log"))[0].read_bytes()[: len(packed)]
        assert first[61:] == packed[61:], "what was stored is not what was sent"
        volume = count * len(packed)
        return {"MB/s": volume / used.seconds / MB, "CPU-s/stored GB": used.cpu / volume * GB}

    return run


def lz4_blocks(records):
    """Kafka reads no blocks that refer to each other."""
    return lz4.frame.compress(records, block_linked=False)


def documents_like_logs(count):
    chance = random.Random(7)
    return [
        json.dumps(
            {
                "id": chance.getrandbits(64),
                "user": f"user-{chance.randrange(5000)}",
                "amount": chance.random(),
                "tags": chance.sample(["red", "green", "blue", "new", "old", "hot"], 3),
                "note": "the same words " * 8,
            }
        ).encode()
        for _ in range(count)
    ]


def pipeline(broker, api, version, body, count, in_flight=5):
    connection = wire.Connection(broker.address, timeout=120)
    for i in range(count + in_flight):
        if i < count:
            connection.send(api, version, body)
        if i >= in_flight:
            _, answer = connection.receive(api, version)
            assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0
    connection.close()


SCENARIOS = [
    Scenario("1", "Produce 1 KB, acks=all", produce(1024, 2_000_000, -1)),
    Scenario("1a", "Produce 1 KB, acks=1", produce(1024, 2_000_000, 1)),
    Scenario("2", "Produce 100 B, acks=all", produce(100, 5_000_000, -1)),
    Scenario("3", "One record a request, 16 producers, acks=all", tiny_requests),
    Scenario("4", "Catch-up read, 1 KB", catch_up),
    Scenario("5", "End to end, 100 B, 2000/s", end_to_end, with_limit=False),
    Scenario("6", "1000 partitions, 1 KB", many_partitions, with_limit=False, repetitions=3),
    Scenario("8", "At rest, starting, 10,000 partitions", at_rest, with_limit=False, repetitions=3),
    Scenario("9", "Restart after kill -9, 10 GB in 100 partitions", restart, with_limit=False, repetitions=3),
    Scenario("10", "Produce JSON with lz4", compressed(3, lz4_blocks), with_limit=False, repetitions=3),
    Scenario("10z", "Produce JSON with zstd", compressed(4, zstandard.compress), with_limit=False, repetitions=3),
]

# Figures of which more is better; of all others less is.
MORE_IS_BETTER = {"MB/s", "M msg/s", "requests/s"}
