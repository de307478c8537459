"""The brokers under test: Ottla's release binary and a real Apache Kafka behind the same few methods.

A broker owns a directory, keeps its port across restarts, and serves when `start` returns.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import kafka_jars

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Broker:
    kind = ""
    start_seconds_max = 180

    def __init__(self, directory, settings=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.settings = settings or {}
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.port = None
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        began = time.monotonic()
        self.prepare()
        with open(self.log, "ab") as log:
            command = self.command()
            exec_at = time.monotonic()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.learn_port(began)
        while not answers_metadata(self.port):
            self.fail_if_gone(began)
            time.sleep(0.002)
        self.start_seconds = time.monotonic() - exec_at
        return self

    def fail_if_gone(self, began):
        if self.process.poll() is None and time.monotonic() - began < self.start_seconds_max:
            return
        state = f"ended with {self.process.returncode}" if self.process.poll() is not None else "does not answer"
        raise RuntimeError(f"{self.kind} {state}:\n{self.log_tail()}")

    def stop(self):
        """A clean stop, as an operator does it."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code in (0, 143), f"{self.kind} ended with {code} on SIGTERM:\n{self.log_tail()}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def discard(self):
        """Ends what still runs and removes the directory."""
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log_tail(self):
        return self.log.read_text(errors="replace")[-3000:]

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_mib(self, field="VmRSS"):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024

    def prepare(self):
        pass

    def learn_port(self, began):
        pass


class Ottla(Broker):
    kind = "ottla"

    def __init__(self, directory, settings=None):
        super().__init__(directory, settings)
        self.binary = os.environ.get("OTTLA", str(TARGET / "release/ottla"))
        self.ports_file = self.directory / "ports.json"

    def prepare(self):
        self.ports_file.unlink(missing_ok=True)

    def command(self):
        settings = [part for key, value in self.settings.items() for part in ("-D", f"{key}={value}")]
        return [
            self.binary,
            "serve",
            "--listen",
            f"127.0.0.1:{self.port or 0}",
            "--data-dir",
            self.data,
            "--ports-file",
            self.ports_file,
            *settings,
        ]

    def learn_port(self, began):
        while not self.ports_file.exists():
            self.fail_if_gone(began)
            time.sleep(0.002)
        self.port = int(json.loads(self.ports_file.read_text())["bootstrap"].rpartition(":")[2])


class Kafka(Broker):
    kind = "kafka"

    def __init__(self, directory, settings=None, heap="-Xms256m -Xmx512m"):
        super().__init__(directory, settings)
        self.heap = heap
        self.properties = self.directory / "server.properties"

    def prepare(self):
        if self.properties.exists():
            return
        self.port, controller = free_port(), free_port()
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": self.data,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            **self.settings,
        }
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if not self.data.exists():
            self.format()

    def format(self):
        subprocess.run(
            kafka_jars.java(
                "server",
                "kafka.tools.StorageTool",
                "format",
                "--standalone",
                "-t",
                "b3R0bGFvdHRsYW90dGxhMA",
                "-c",
                self.properties,
            ),
            check=True,
            capture_output=True,
        )

    def command(self):
        return kafka_jars.java("server", "kafka.Kafka", self.properties, heap=self.heap, log_level="info")


def make(kind, directory, settings=None, **options):
    return {"ottla": Ottla, "kafka": Kafka}[kind](directory, settings, **options)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers_metadata(port):
    """True when a Metadata request (version 1, no topics) names a broker."""
    request = struct.pack(">hhih i", 3, 1, 7, -1, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 12 and struct.unpack(">i", answer[8:])[0] > 0
