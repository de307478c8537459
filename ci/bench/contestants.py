"""Who runs: Ottla durable and relaxed, Kafka as it ships and made durable, and, where given, an upper-bound broker."""

import brokers

NEVER = {"log.flush.interval.messages": 2**63 - 1}
ALWAYS = {"log.flush.interval.messages": 1}


class UpperBound(brokers.Broker):
    """A program `PORT DIR relaxed|durable PARTITIONS` that speaks just enough of the protocol."""

    kind = "kb"
    partitions = 4

    def __init__(self, directory, program, mode):
        super().__init__(directory)
        self.program, self.mode = program, mode
        self.data.mkdir()

    def prepare(self):
        self.port = self.port or brokers.free_port()

    def command(self):
        return [self.program, str(self.port), str(self.data), self.mode, str(self.partitions)]

    def stop(self):
        self.kill()


def contestants(kb=None):
    """By label, what makes one in a directory."""
    heap = "-Xms1g -Xmx1g"
    everyone = {
        "Ottla": lambda d: brokers.Ottla(d),
        "Ottla relaxed": lambda d: brokers.Ottla(d, NEVER),
        "Kafka": lambda d: brokers.Kafka(d, heap=heap),
        "Kafka flush=1": lambda d: brokers.Kafka(d, ALWAYS, heap=heap),
    }
    if kb:
        everyone["limit durable"] = lambda d: UpperBound(d, kb, "durable")
        everyone["limit relaxed"] = lambda d: UpperBound(d, kb, "relaxed")
    return everyone
