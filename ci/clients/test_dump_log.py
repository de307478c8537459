"""Kafka's kafka-dump-log reads every kind of file that a cleanly stopped broker leaves."""

import os
import re

import pytest
from kafka import KafkaProducer

import kafka_jars
from conftest import create_topic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PER_CODEC = 400


@pytest.fixture(scope="module")
def stopped(new_broker, java):
    """A broker that took some batches of every codec and was stopped; its topic is `stopped.topic`."""
    broker = new_broker().start()
    broker.topic = create_topic(broker, segment_bytes=1048576, index_interval_bytes=100, retention_ms=-1)
    for n, codec in enumerate(CODECS):
        # librdkafka sends lz4 only to brokers that have groups.
        compression = None if codec == "none" else codec
        producer = KafkaProducer(
            bootstrap_servers=broker.address, compression_type=compression, linger_ms=5, batch_size=16_384
        )
        for i in range(PER_CODEC):
            at = 1_700_000_000_000 + 10 * (n * PER_CODEC + i)
            producer.send(broker.topic, os.urandom(600) + b"x" * 300, b"key", timestamp_ms=at)
        producer.flush()
        producer.close()
    broker.stop()
    return broker


def dump(*arguments, files):
    done = kafka_jars.tool("dump-log", *arguments, "--files", ",".join(map(str, files)))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_segments(stopped):
    logs = sorted((stopped.data / f"{stopped.topic}-0").glob("*.log"))
    printed = dump("--print-data-log", "--deep-iteration", files=logs)
    assert "isvalid: false" not in printed
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", printed, re.MULTILINE)]
    assert offsets == list(range(PER_CODEC * len(CODECS)))
    assert set(re.findall(r"compresscodec: (\w+)", printed)) == set(CODECS)


def test_indexes(stopped):
    directory = stopped.data / f"{stopped.topic}-0"
    indexes = sorted(directory.glob("*.index")) + sorted(directory.glob("*.timeindex"))
    dump("--index-sanity-check", files=indexes)
    printed = dump(files=indexes)
    assert "Mismatches" not in printed and "Found" not in printed
    assert len(re.findall(r"^offset: \d+ position: \d+", printed, re.MULTILINE)) > 5
    assert len(re.findall(r"^timestamp: \d+ offset: \d+", printed, re.MULTILINE)) > 5


def test_producer_snapshot(stopped):
    snapshots = sorted((stopped.data / f"{stopped.topic}-0").glob("*.snapshot"))
    assert snapshots[-1].name == f"{PER_CODEC * len(CODECS):020}.snapshot"
    producers = re.findall(r"producerId: \d+ producerEpoch: 0 .*lastSequence: (\d+)", dump(files=snapshots[-1:]))
    assert producers == [str(PER_CODEC - 1)] * len(CODECS)


def test_metadata(stopped):
    directory = stopped.data / "__cluster_metadata-0"
    files = sorted(directory.glob("*.log")) + sorted(directory.glob("*.checkpoint"))
    printed = dump("--cluster-metadata-decoder", files=files)
    assert "Could not" not in printed and "isvalid: false" not in printed
    for record in ("REGISTER_BROKER_RECORD", "FEATURE_LEVEL_RECORD", "TOPIC_RECORD", "PARTITION_RECORD"):
        assert f'"type":"{record}"' in printed
    assert f'"name":"{stopped.topic}"' in printed
    assert '"name":"index.interval.bytes","value":"100"' in printed
    assert "KRaftVoters" in printed and "LeaderChange" in printed
