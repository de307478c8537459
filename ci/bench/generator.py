"""librdkafka's own load generator, built from the source that the crate rdkafka-sys carries."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from brokers import ROOT

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "target/bench/librdkafka"
PROGRAM = BUILD / "examples/rdkafka_performance"


def build():
    if PROGRAM.exists():
        return
    # zstd is left out of the build where its headers are missing.
    if os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "libzstd-dev", "zlib1g-dev"],
            capture_output=True,
        )
    manifest = HERE / "librdkafka/Cargo.toml"
    told = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--manifest-path", manifest], check=True, capture_output=True
    ).stdout
    [crate] = [p for p in json.loads(told)["packages"] if p["name"] == "rdkafka-sys"]
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(Path(crate["manifest_path"]).parent / "librdkafka", BUILD)
    for command in (
        ["./configure", "--disable-sasl"],
        ["make", "-j", str(os.cpu_count()), "libs"],
        ["make", "-C", "examples", "rdkafka_performance"],
    ):
        done = subprocess.run(command, cwd=BUILD, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def start(broker, mode, topic, *arguments):
    command = [PROGRAM, mode, "-b", broker.address, "-t", topic, "-q", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, timeout=600):
    """Messages and milliseconds of the generator's last summary line."""
    out, err = process.communicate(timeout=timeout)
    found = re.findall(r"^% (\d+) messages (?:produced|\().*? in (\d+)ms", out, re.MULTILINE)
    if process.returncode or not found:
        raise RuntimeError(f"{process.args}: {out[-800:]}{err[-800:]}")
    failed = re.findall(r"\(offset -?\d+, (\d+) failed\)", out)
    if failed and int(failed[-1]):
        raise RuntimeError(f"{failed[-1]} messages failed: {out[-800:]}{err[-800:]}")
    messages, milliseconds = map(int, found[-1])
    return messages, max(milliseconds, 1)


def produce(broker, topic, count, size, *arguments):
    return finish(start(broker, "-P", topic, "-s", size, "-c", count, *arguments))


def consume(broker, topic, count, *arguments):
    return finish(start(broker, "-C", topic, "-c", count, "-o", "beginning", *arguments))
