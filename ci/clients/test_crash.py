"""kill -9 under load, again and again, and clean stops: every acknowledged record is there, in order, once."""

import random
import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from conftest import create_topic

KILLS = 20
PARTITIONS = 3


class Writer(threading.Thread):
    """An idempotent producer that counts upwards into one partition and notes what was acknowledged where."""

    def __init__(self, broker, topic, name, partition):
        super().__init__(daemon=True)
        self.topic, self.name, self.partition = topic, name, partition
        self.producer = Producer(
            {
                "bootstrap.servers": broker.address,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "batch.num.messages": 50,
                "reconnect.backoff.max.ms": 100,
                "message.timeout.ms": 600_000,
                "log_level": 0,
            }
        )
        self.sent = 0
        self.acknowledged = {}
        self.failures = []
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            if len(self.producer) < 500:
                value = b"%s %d" % (self.name.encode(), self.sent)
                self.producer.produce(self.topic, value, partition=self.partition, on_delivery=self.delivered)
                self.sent += 1
                self.producer.poll(0)
            else:
                self.producer.poll(0.01)

    def delivered(self, error, message):
        if error:
            self.failures.append(error)
        else:
            self.acknowledged[message.offset()] = message.value()

    def finish(self):
        self.stopping.set()
        self.join()
        assert self.producer.flush(120) == 0
        assert self.failures == []
        assert len(self.acknowledged) == self.sent


def wait_until_all_advance(writers):
    """A writer that starves through several lives of the broker proves nothing, and may run into its timeout."""
    wanted = [(writer, len(writer.acknowledged) + 50) for writer in writers]
    deadline = time.monotonic() + 120
    while any(len(writer.acknowledged) < count for writer, count in wanted):
        assert time.monotonic() < deadline, [(writer.name, len(writer.acknowledged), count) for writer, count in wanted]
        time.sleep(0.01)


def read_all(broker, topic, partition):
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0)])
    records = {}
    while True:
        message = consumer.poll(30)
        assert message is not None, f"{topic}-{partition} stalls after {len(records)} records"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF
            consumer.close()
            return records
        records[message.offset()] = message.value()


def check(broker, topic, writers):
    for partition in range(PARTITIONS):
        records = read_all(broker, topic, partition)
        numbers = defaultdict(list)
        for offset in sorted(records):
            name, number = records[offset].split()
            numbers[name.decode()].append(int(number))
        for writer in writers:
            if writer.partition == partition:
                lost = {o: v for o, v in writer.acknowledged.items() if records.get(o) != v}
                assert not lost, f"acknowledged, and not there: {sorted(lost.items())[:5]} of {len(lost)}"
                assert numbers[writer.name] == list(range(writer.sent))


def test_kill_9_under_load(new_broker):
    broker = new_broker().start()
    topic = create_topic(broker, PARTITIONS)
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    writers = [Writer(broker, topic, f"writer-{n}", n % PARTITIONS) for n in range(2 * PARTITIONS)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        wait_until_all_advance(writers)
        time.sleep(chance.uniform(0, 0.5))
        broker.kill()
        broker.start()
    for writer in writers:
        writer.finish()
    check(broker, topic, writers)
    broker.stop()
    broker.start()
    check(broker, topic, writers)


def test_a_clean_stop_under_load_loses_nothing_either(new_broker):
    broker = new_broker().start()
    topic = create_topic(broker, PARTITIONS)
    writers = [Writer(broker, topic, f"writer-{n}", n) for n in range(PARTITIONS)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        time.sleep(1)
        broker.stop()
        broker.start()
    for writer in writers:
        writer.finish()
    check(broker, topic, writers)
