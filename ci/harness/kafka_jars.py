"""Apache Kafka from its published jars: fetched with Maven once for each recipe, then run with plain `java`."""

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

RECIPE = Path(__file__).parent / "kafka"
JARS = Path(os.environ.get("KAFKA_JARS", Path.home() / ".cache" / "ottla-kafka-jars"))

TOOLS = {
    "broker-api-versions": "BrokerApiVersionsCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "consumer.ConsoleConsumer",
    "console-producer": "ConsoleProducer",
    "delete-records": "DeleteRecordsCommand",
    "dump-log": "DumpLogSegments",
    "get-offsets": "GetOffsetShell",
    "log-dirs": "LogDirsCommand",
    "metadata-quorum": "MetadataQuorumCommand",
    "topics": "TopicCommand",
}


def missing():
    """What this machine lacks to run Kafka, or None."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


@functools.cache
def classpath(part):
    """`part` is server or tools."""
    recipe = RECIPE / f"{part}-pom.xml"
    directory = JARS / f"{part}-{hashlib.sha256(recipe.read_bytes()).hexdigest()[:12]}"
    if not (directory / ".done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run(
            [
                "mvn",
                "-q",
                "-B",
                "-f",
                recipe,
                "dependency:copy-dependencies",
                "-DincludeScope=runtime",
                f"-DoutputDirectory={directory}",
            ],
            check=True,
        )
        (directory / ".done").touch()
    return f"{directory}/*"


def java(part, class_name, *arguments, heap="-Xmx256m", log_level="error"):
    """The command line that runs `class_name`."""
    return [
        "java",
        *heap.split(),
        "-XX:+UseSerialGC" if part == "tools" else "-XX:+UseG1GC",
        f"-Dlog.level={log_level}",
        f"-Dlog4j2.configurationFile={RECIPE}/log4j2.properties",
        "-cp",
        classpath(part),
        class_name,
        *map(str, arguments),
    ]


def tool(name, *arguments, stdin=None, timeout=120):
    """Runs one of Kafka's own command-line tools; returns the finished process, its output as text."""
    class_name = TOOLS[name]
    if not class_name.startswith("kafka."):
        class_name = f"org.apache.kafka.tools.{class_name}"
    return subprocess.run(
        java("tools", class_name, *arguments), input=stdin, text=True, capture_output=True, timeout=timeout
    )
