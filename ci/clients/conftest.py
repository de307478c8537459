"""One broker for the whole run, a topic of its own for each test, and toolchains that are either there or counted."""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

import brokers
import kafka_jars


def pytest_addoption(parser):
    parser.addoption("--broker", choices=["ottla", "kafka"], default="ottla", help="the broker under test")


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section(f"{len(skipped)} TESTS DID NOT RUN", sep="!")
        for reason in sorted({report.longrepr[2] for report in skipped}):
            terminalreporter.line(reason)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def new_broker(request):
    """Makes brokers, not yet started; those that still run at the end are killed."""
    kind = request.config.getoption("--broker")
    if kind == "kafka" and (reason := kafka_jars.missing()):
        pytest.skip(reason)
    made = []

    def make(settings=None, kind=kind):
        made.append(brokers.make(kind, tempfile.mkdtemp(prefix=f"{kind}-"), settings))
        return made[-1]

    yield make
    for broker in made:
        broker.discard()


@pytest.fixture(scope="session")
def broker(new_broker):
    broker = new_broker().start()
    yield broker
    assert broker.process.poll() is None, f"the broker died:\n{broker.log_tail()}"
    broker.stop()


@pytest.fixture
def new_topic(broker):
    """Creates a topic and returns its name."""
    return lambda partitions=1, **config: create_topic(broker, partitions, **config)


@pytest.fixture
def topic(new_topic):
    return new_topic()


def create_topic(broker, partitions=1, **config):
    name = f"topic-{uuid.uuid4().hex[:10]}"
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result()
    return name


@pytest.fixture(scope="session")
def java():
    if reason := kafka_jars.missing():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def kcat(broker):
    """Runs kcat against the broker, installing it first where that is possible."""
    if not shutil.which("kcat") and shutil.which("apt-get") and os.getuid() == 0:
        subprocess.run(["apt-get", "install", "-qq", "--no-install-recommends", "kcat"], capture_output=True)
    if not shutil.which("kcat"):
        pytest.skip("kcat is not installed")

    def run(*arguments, stdin=None):
        return subprocess.run(
            ["kcat", "-b", broker.address, *arguments], input=stdin, capture_output=True, timeout=60, check=True
        ).stdout

    return run


@pytest.fixture(scope="session")
def franz(broker):
    """Runs the franz-go program against the broker."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    program = brokers.TARGET / "ci/franz"
    subprocess.run(["go", "build", "-o", program, "."], cwd=Path(__file__).parent / "franz", check=True)

    def run(*arguments):
        done = subprocess.run([program, broker.address, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
