"""One of the two brokers as a case sees it: it asks, and every answer goes into the transcript.

What differs by nature is made equal before anything is compared: addresses, ids and epochs that a broker picks, the
time, directories, and the wording of messages (that there is one, and where, is compared).
"""

import time
import uuid

import batches
import wire

NEAR_NOW_MS = 3_600_000
ERROR_MESSAGES = {"error_message", "batch_index_error_message"}
COUNTED = {"producer_id": "producer", "session_id": "session"}
# How a list of structures is keyed, so that its order does not count. Elsewhere the order does.
KEYS = [
    "api_key",
    "name",
    "topic_name",
    "topic",
    "resource_name",
    "partition_index",
    "partition",
    "index",
    "log_dir",
    "topic_id",
    "node_id",
    "broker_id",
    "replica_id",
]
ORDERED = {"synonyms", "record_errors", "records", "aborted_transactions"}


class Peer:
    def __init__(self, broker, case):
        self.broker, self.case = broker, case
        self.connection = None
        self.transcript = []
        self.seen = {}
        self.topic_ids = {}

    # What cases use.

    def name(self, suffix="topic"):
        return f"{self.case}-{suffix}".replace("_", "-")

    def ask(self, api, version, note="", client_id="differential", **body):
        """Asks, records the answer or that the broker closed the connection, and returns it."""
        label = f"{api} v{version} {note}".strip()
        try:
            answer = self.connect().ask(api, version, body, client_id)
        except wire.Closed:
            answer = {"connection": "closed"}
            self.disconnect()
        except TimeoutError:
            answer = {"connection": "silent"}
            self.disconnect()
        self.record(label, answer)
        return answer

    def every(self, api, note="", **body):
        """Asks in every version that the tables know."""
        first, last = wire.APIS[api].versions
        return [self.ask(api, version, note, **body) for version in range(first, last + 1)]

    def record(self, label, answer):
        self.transcript.append((label, self.equalize(answer)))

    def frame(self, label, frame, expect=None):
        """Sends raw bytes behind a length; the answer is decoded as `expect`, an (API, version) pair."""
        self.bytes(label, len(frame).to_bytes(4, "big") + frame, expect)

    def bytes(self, label, content, expect=None):
        try:
            connection = self.connect()
            connection.send_bytes(content)
            if expect:
                _, answer = connection.receive(*expect)
            else:
                answer = {"bytes": connection.receive_frame()}
        except wire.Closed:
            answer = {"connection": "closed"}
            self.disconnect()
        self.record(label, answer)

    def quietly(self, api, version, **body):
        """Asks without a record, on a connection of its own."""
        connection = wire.Connection(self.broker.address)
        try:
            return connection.ask(api, version, body)
        finally:
            connection.close()

    def create(self, name=None, partitions=1, **configs):
        """A topic that serves, without a record; returns its name."""
        name = name or self.name()
        configs = [{"name": key.replace("_", "."), "value": str(value)} for key, value in configs.items()]
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1, "configs": configs}
        [created] = self.quietly("CreateTopics", 7, topics=[topic], timeout_ms=10_000)["topics"]
        assert created["error_code"] == 0, created
        self.topic_ids[name] = created["topic_id"]
        self.wait_until_serves(name, partitions)
        return name

    def wait_until_serves(self, name, partitions=1):
        """A Kafka names a leader before that leader serves."""
        wanted = [{"partition_index": p, "timestamp": -1} for p in range(partitions)]
        for _ in range(500):
            [topic] = self.quietly("ListOffsets", 7, replica_id=-1, topics=[{"name": name, "partitions": wanted}])[
                "topics"
            ]
            if all(p["error_code"] == 0 for p in topic["partitions"]):
                return
            time.sleep(0.02)
        raise TimeoutError(f"{name} does not serve")

    def wait_until_end(self, name, offset):
        """Until partition 0 can be read up to `offset`."""
        for _ in range(500):
            asked = [{"name": name, "partitions": [{"partition_index": 0, "timestamp": -1}]}]
            [topic] = self.quietly("ListOffsets", 7, replica_id=-1, topics=asked)["topics"]
            if topic["partitions"][0]["offset"] >= offset:
                return
            time.sleep(0.02)
        raise TimeoutError(f"{name} does not reach {offset}")

    def wait_until_known(self, names, partitions=1):
        """Kafka answers before all of it knows a new topic."""
        for _ in range(500):
            asked = [{"name": name} for name in names]
            topics = self.quietly("Metadata", 12, topics=asked, allow_auto_topic_creation=False)["topics"]
            if all(topic["error_code"] == 0 and len(topic["partitions"]) >= partitions for topic in topics):
                return
            time.sleep(0.02)
        raise TimeoutError(f"{names} are not known")

    def wait_until_gone(self, name):
        """Kafka answers before all of it has forgotten a topic."""
        for _ in range(500):
            [topic] = self.quietly("Metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False)["topics"]
            if topic["error_code"] != 0:
                return
            time.sleep(0.02)
        raise TimeoutError(f"{name} is still there")

    def topic_id(self, name):
        return self.topic_ids.get(name, uuid.UUID(int=7))

    def produce(self, version, topic, records, partition=0, acks=-1, note="", timeout_ms=10_000, **more):
        body = {
            "acks": acks,
            "timeout_ms": timeout_ms,
            "topic_data": [
                {
                    "name": topic,
                    "topic_id": self.topic_id(topic),
                    "partition_data": [{"index": partition, "records": records}],
                }
            ],
            **more,
        }
        return self.ask("Produce", version, note, **body)

    def fetch(
        self,
        version,
        topic,
        offset=0,
        partition=0,
        note="",
        max_bytes=1_000_000,
        max_wait_ms=0,
        min_bytes=0,
        of_partition=None,
        **more,
    ):
        wanted = {
            "partition": partition,
            "fetch_offset": offset,
            "partition_max_bytes": 1_000_000,
            **(of_partition or {}),
        }
        return self.ask(
            "Fetch",
            version,
            note,
            **{
                "max_wait_ms": max_wait_ms,
                "min_bytes": min_bytes,
                "max_bytes": max_bytes,
                "topics": [{"topic": topic, "topic_id": self.topic_id(topic), "partitions": [wanted]}],
                **more,
            },
        )

    # The rest is inner.

    def connect(self):
        if self.connection is None:
            self.connection = wire.Connection(self.broker.address)
        return self.connection

    def disconnect(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def equalize(self, value, name=""):
        if isinstance(value, dict):
            return {key: self.equalize(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return keyed([self.equalize(inner, name) for inner in sorted_by_name(value, name)], name)
        if isinstance(value, uuid.UUID):
            return "no id" if value.int == 0 else self.nth("id", value)
        if isinstance(value, bytes):
            return self.equalize(batches.view(value), name) if name == "records" else value.hex()
        return self.equalize_leaf(value, name)

    def equalize_leaf(self, value, name):
        if name == "port" and value == self.broker.port:
            return "own port"
        if name == "host" and value in ("127.0.0.1", "localhost"):
            return "own host"
        if name == "log_dir":
            return value.replace(str(self.broker.data), "own directory")
        if name == "finalized_features_epoch" and value > 0:
            return "some epoch"
        if name == "cluster_id" and value:
            return "own cluster"
        if name in COUNTED and value > 0 or name == "producer_id" and value == 0:
            return self.nth(COUNTED[name], value)
        if name in ERROR_MESSAGES:
            return value and "some words"
        if name == "documentation":
            return value and "some words"
        if isinstance(value, int) and abs(value - time.time() * 1000) < NEAR_NOW_MS:
            return "now"
        return value

    def nth(self, kind, value):
        """The n-th distinct value of its kind in this transcript."""
        seen = self.seen.setdefault(kind, [])
        if value not in seen:
            seen.append(value)
        return f"{kind} {seen.index(value) + 1}"


def sorted_by_name(values, name):
    """Ids are numbered as they appear: not by the order in which a broker happens to list topics."""
    if name not in ORDERED and all(isinstance(v, dict) and isinstance(v.get("name"), str) for v in values):
        return sorted(values, key=lambda value: value["name"])
    return values


def keyed(values, name):
    """A list of structures as a dict by its key, where it has one that is unique and not null."""
    if name in ORDERED or not values or not all(isinstance(value, dict) for value in values):
        return values
    for key in KEYS:
        names = [value.get(key) for value in values]
        if all(isinstance(n, (str, int)) for n in names) and len(set(names)) == len(names):
            return dict(zip(names, values))
    return values
