"""The simulator's clients on a real broker: what they were told is recorded, and judged by the simulator's checkers."""

import os
import random
import shlex
import signal
import subprocess
import time

import pytest

import brokers

SECONDS = 15

# What a real Kafka is known not to promise: docs/simulation.md says why.
KAFKA_EXCUSES = [f"--excuse={hole}" for hole in ("stale-metadata", "start-forgotten", "watermark-behind")]


@pytest.fixture(scope="session")
def sim():
    """Runs the simulator's program and returns what it said."""
    build = ["cargo", "build", "--config", "sim/cargo-sim.toml", "--profile", "sim", "-p", "ottla-sim"]
    subprocess.run(build, cwd=brokers.ROOT, check=True)

    def run(*arguments):
        program = brokers.ROOT / "target/sim/sim/ottla-sim"
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def record_and_judge(sim, broker, tmp_path, recording=(), judging=()):
    history, seed = tmp_path / "history.jsonl", random.randrange(2**32)
    print("seed", seed)
    sim("record", "--address", broker.address, "--seconds", SECONDS, "--seed", seed, "--to", history, *recording)
    excuses = KAFKA_EXCUSES if broker.kind == "kafka" else []
    print(sim("judge", history, *judging, *excuses))


@pytest.fixture
def killer():
    """Keeps a broker running, whatever ends it, and makes the shell command that does."""
    kept = []

    def make(broker):
        broker.kill()
        pid = broker.directory / "pid"
        command = shlex.join(map(str, broker.command()))
        # Waited for, a process holds its port no more.
        keep = f"while :; do {command} >>{broker.log} 2>&1 & echo $! >{pid}; wait $!; done"
        kept.append((subprocess.Popen(["sh", "-c", keep], stdin=subprocess.DEVNULL), pid))
        while not brokers.answers_metadata(broker.port):
            time.sleep(0.01)
        return f"kill -9 $(cat {pid})"

    yield make
    for keeper, pid in kept:
        keeper.kill()
        keeper.wait()
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_broker_that_is_left_alone(sim, new_broker, tmp_path):
    record_and_judge(sim, new_broker().start(), tmp_path, judging=["--calm"])


def test_a_broker_that_is_killed(sim, new_broker, killer, tmp_path):
    broker = new_broker().start()
    record_and_judge(sim, broker, tmp_path, recording=["--kill", killer(broker), "--kills", 5])


def test_a_real_kafka(sim, java, new_broker, tmp_path):
    record_and_judge(sim, new_broker(kind="kafka").start(), tmp_path, judging=["--calm"])


def test_a_real_kafka_that_is_killed(sim, java, new_broker, killer, tmp_path):
    broker = new_broker(kind="kafka").start()
    record_and_judge(sim, broker, tmp_path, recording=["--kill", killer(broker), "--kills", 2])
