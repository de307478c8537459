"""Kafka's own command-line tools, and its dump tool on the broker's files."""

import json
import re

import pytest

import kafka_jars

pytestmark = pytest.mark.usefixtures("java")


@pytest.fixture
def tool(broker):
    """Runs a tool against the broker and returns what it printed; the tool must succeed unless told otherwise."""

    def run(name, *arguments, stdin=None, fails=False):
        done = kafka_jars.tool(name, "--bootstrap-server", broker.address, *arguments, stdin=stdin)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + (done.stderr if fails else "")

    return run


def test_topics(tool, topic):
    name = f"{topic}-from-java"
    printed = tool("topics", "--create", "--topic", name, "--partitions", "2", "--config", "retention.ms=60000")
    assert printed.strip() == f"Created topic {name}."
    assert f"Topic '{name}' already exists." in tool("topics", "--create", "--topic", name, fails=True)
    assert name in tool("topics", "--list").split()
    tool("topics", "--create", "--topic", name, "--if-not-exists")

    head, *partitions = tool("topics", "--describe", "--topic", name).splitlines()
    assert re.fullmatch(
        rf"Topic: {name}\tTopicId: [\w-]{{22}}\tPartitionCount: 2\tReplicationFactor: 1\t"
        r"Configs: (min.insync.replicas=1,)?retention.ms=60000",
        head,
    )
    assert [re.sub(r"\d+(?=\t|$)", "N", line.strip()) for line in partitions] == [
        f"Topic: {name}\tPartition: N\tLeader: N\tReplicas: N\tIsr: N\tElr: \tLastKnownElr:"
    ] * 2

    tool("topics", "--alter", "--topic", name, "--partitions", "4")
    assert "PartitionCount: 4" in tool("topics", "--describe", "--topic", name)
    assert tool("topics", "--describe", "--under-replicated-partitions").strip() == ""
    tool("topics", "--delete", "--topic", name)
    assert name not in tool("topics", "--list").split()
    assert f"Topic '{name}' does not exist" in tool("topics", "--describe", "--topic", name, fails=True)


def test_topic_configs(tool, topic):
    where = ["--entity-type", "topics", "--entity-name", topic]
    change = "segment.bytes=1048576,cleanup.policy=[compact,delete]"
    assert f"Completed updating config for topic {topic}." in tool("configs", *where, "--alter", "--add-config", change)
    described = tool("configs", *where, "--describe")
    assert (
        "cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,"
        "delete, DEFAULT_CONFIG:log.cleanup.policy=delete}"
    ) in described
    assert "segment.bytes=1048576 sensitive=false" in described
    tool("configs", *where, "--alter", "--delete-config", "cleanup.policy")
    assert "cleanup.policy" not in tool("configs", *where, "--describe")
    everything = tool("configs", *where, "--describe", "--all")
    assert "retention.ms=604800000 sensitive=false synonyms={}" in everything
    assert "max.message.bytes=1048588 sensitive=false synonyms={DEFAULT_CONFIG:message.max.bytes=1048588}" in everything
    assert "Unknown topic config name: no.such.key" in tool(
        "configs", *where, "--alter", "--add-config", "no.such.key=1", fails=True
    )


def test_broker_configs(tool):
    everyone = ["--entity-type", "brokers", "--entity-default"]
    tool("configs", *everyone, "--alter", "--add-config", "message.max.bytes=2000000")
    assert "message.max.bytes=2000000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=" in (
        tool("configs", *everyone, "--describe")
    )
    tool("configs", *everyone, "--alter", "--delete-config", "message.max.bytes")
    assert "message.max.bytes" not in tool("configs", *everyone, "--describe")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_console_producer_and_consumer(tool, topic, codec):
    lines = "".join(f"h:{i}\tkey-{i}\tvalue {i}\n" for i in range(50))
    tool(
        "console-producer",
        "--topic",
        topic,
        "--compression-codec",
        codec,
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "parse.headers=true",
        stdin=lines,
    )
    printed = tool(
        "console-consumer",
        "--topic",
        topic,
        "--partition",
        "0",
        "--offset",
        "earliest",
        "--max-messages",
        "50",
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "print.headers=true",
    )
    assert printed == lines
    from_40 = tool("console-consumer", "--topic", topic, "--partition", "0", "--offset", "40", "--max-messages", "1")
    assert from_40 == "value 40\n"


def test_get_offsets_and_delete_records(tool, topic, tmp_path):
    tool("console-producer", "--topic", topic, stdin="a\nb\nc\n")
    assert tool("get-offsets", "--topic", topic) == f"{topic}:0:3\n"
    assert tool("get-offsets", "--topic", topic, "--time", "earliest") == f"{topic}:0:0\n"
    assert tool("get-offsets", "--topic", topic, "--time", "max-timestamp").startswith(f"{topic}:0:")
    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 2}]}))
    assert f"partition: {topic}-0\tlow_watermark: 2" in tool("delete-records", "--offset-json-file", wanted)
    assert tool("get-offsets", "--topic", topic, "--time", "earliest") == f"{topic}:0:2\n"


def test_broker_api_versions(tool, broker):
    printed = tool("broker-api-versions")
    assert re.search(rf":{broker.port} \(id: \d+ rack: null isFenced: false\) -> \(", printed)
    assert "Produce(0): 0 to 13 [usable: 13]" in printed
    assert "Fetch(1): 4 to 18 [usable: 18]" in printed
    assert "Metadata(3): 0 to 13 [usable: 13]" in printed


def test_log_dirs(tool, broker, new_topic):
    topic = new_topic(partitions=2)
    tool("console-producer", "--topic", topic, stdin="some bytes\n")
    told = json.loads(tool("log-dirs", "--describe", "--topic-list", topic).splitlines()[2])
    [node] = told["brokers"]
    [directory] = node["logDirs"]
    assert directory["logDir"] == str(broker.data) and directory["error"] is None
    sizes = {p["partition"]: p["size"] for p in directory["partitions"]}
    assert set(sizes) == {f"{topic}-0", f"{topic}-1"}
    on_disk = {name: (broker.data / name / f"{0:020}.log").stat().st_size for name in sizes}
    assert sizes == on_disk and sum(sizes.values()) > 0
    assert all(p["offsetLag"] == 0 and not p["isFuture"] for p in directory["partitions"])


def test_metadata_quorum(tool):
    status = dict(line.split(":", 1) for line in tool("metadata-quorum", "describe", "--status").splitlines())
    leader = status["LeaderId"].strip()
    assert int(status["LeaderEpoch"]) >= 1 and int(status["HighWatermark"]) > 0
    assert [voter["id"] for voter in json.loads(status["CurrentVoters"])] == [int(leader)]
    _, row = tool("metadata-quorum", "describe", "--replication").splitlines()
    assert row.split()[0] == leader and row.split()[-1] == "Leader"
