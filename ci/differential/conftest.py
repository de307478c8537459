import os
import tempfile

import pytest

import brokers
import kafka_jars
from compare import Accepted

# Small limits, the same on both sides, so that cases can reach them.
SETTINGS = {
    "node.id": "1",
    "auto.create.topics.enable": "true",
    "num.partitions": "2",
    "max.incremental.fetch.session.cache.slots": "50",
}


def pytest_addoption(parser):
    parser.addoption("--broker", choices=["ottla", "kafka"], default="ottla", help="what is compared with Kafka")


@pytest.fixture(scope="session")
def pair(request):
    """The broker under test and the Kafka beside it."""
    if reason := kafka_jars.missing():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    pair = []
    try:
        for kind in (request.config.getoption("--broker"), "kafka"):
            pair.append(brokers.make(kind, tempfile.mkdtemp(prefix=f"differential-{kind}-"), SETTINGS))
        for broker in pair:
            broker.start()
        yield pair
        for broker in pair:
            assert broker.process.poll() is None, f"{broker.kind} died:\n{broker.log_tail()}"
    finally:
        for broker in pair:
            broker.discard()


@pytest.fixture(scope="session")
def accepted():
    return Accepted()
