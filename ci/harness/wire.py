"""Kafka's wire format, read from the schema tables of src/protocol/schema, and a connection that speaks it.

Requests are dicts; what a dict leaves out takes its default, and fields that a version lacks are not sent, so that
one dict serves all versions. Answers are dicts that hold exactly what was on the wire. This codec shares nothing with
the broker but the tables: a table that is wrong cannot read a real Kafka.
"""

import socket
import struct
import uuid
from dataclasses import dataclass, field

from brokers import ROOT

NUMBERS = {"bool": "?", "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u16": "H", "u32": "I", "f64": "d"}
OPEN = 32767


@dataclass
class Field:
    name: str
    type: str
    array: bool
    nullable: tuple
    versions: tuple = (0, OPEN)
    tag: int = None
    default: str = None
    fields: list = field(default_factory=list)


@dataclass
class Api:
    key: int
    name: str
    versions: tuple
    flexible: int
    halves: dict = field(default_factory=dict)


def span(text):
    if text.endswith("+"):
        return int(text[:-1]), OPEN
    first, dash, last = text.partition("-")
    return (int(first or 0), int(last)) if dash else (int(first), int(first))


def parse_field(words):
    name, spelled, *rest = words
    spelled, question, nullable = spelled.partition("?")
    array = spelled.startswith("[")
    parsed = Field(name, spelled.strip("[]"), array, span(nullable or "0+") if question else (1, 0))
    while rest:
        word = rest.pop(0)
        if word == "=":
            parsed.default = rest.pop(0)
        elif word.startswith("@"):
            parsed.tag = int(word[1:])
        elif word not in ("~", "plain"):
            parsed.versions = span(word)
    return parsed


def parse_tables():
    """All APIs by name; records and headers of the tables are passed over."""
    apis = {}
    shared = {}
    for path in sorted((ROOT / "src/protocol/schema").glob("*.schema")):
        stack = None
        for line in path.read_text().splitlines():
            line = line.split("#")[0].rstrip()
            words = line.split()
            indent = len(line) - len(line.lstrip())
            if not words:
                continue
            if indent == 0:
                stack = None
                if words[0] == "api" and words[3] != "retired":
                    flexible = int(words[words.index("flexible") + 1]) if "flexible" in words else OPEN
                    first, last = span(words[3])
                    if "unstable" in words:
                        last = min(last, int(words[words.index("unstable") + 1]) - 1)
                    api = apis[words[2]] = Api(int(words[1]), words[2], (first, last), flexible)
                elif words[0] in ("request", "response"):
                    stack = [api.halves.setdefault(words[0], [])]
            elif stack is not None and words[0] == "struct":
                stack = [[], shared.setdefault((api.name, words[1]), [])]
            elif stack is not None:
                del stack[indent // 2 :]
                parsed = parse_field(words)
                stack[-1].append(parsed)
                stack.append(parsed.fields)
    for api in apis.values():
        for fields in api.halves.values():
            lend(api.name, fields, shared)
    return apis


def lend(api, fields, shared):
    """Structures that several fields share stand after them."""
    for f in fields:
        if not f.fields:
            f.fields = shared.get((api, f.type), [])
        lend(api, f.fields, shared)


APIS = parse_tables()


class Writer:
    def __init__(self, version, flexible):
        self.version, self.flexible, self.out = version, flexible, bytearray()

    def uvarint(self, value):
        while value >= 0x80:
            self.out.append(value & 0x7F | 0x80)
            value >>= 7
        self.out.append(value)

    def length(self, length, form):
        if self.flexible:
            self.uvarint(0 if length is None else length + 1)
        else:
            self.out += struct.pack(form, -1 if length is None else length)

    def fields(self, fields, values):
        unknown = values.keys() - {f.name for f in fields} - {"tags"}
        assert not unknown, f"no such field: {unknown}"
        tagged = dict(values.get("tags", {}))
        for f in fields:
            if not f.versions[0] <= self.version <= f.versions[1]:
                continue
            if f.tag is None:
                self.value(f, values.get(f.name, default(f)))
            elif f.name in values:
                inner = Writer(self.version, self.flexible)
                inner.value(f, values[f.name])
                tagged[f.tag] = bytes(inner.out)
        if self.flexible:
            self.uvarint(len(tagged))
            for tag, content in sorted(tagged.items()):
                self.uvarint(tag)
                self.uvarint(len(content))
                self.out += content

    def value(self, f, value):
        if not f.array:
            return self.element(f, value)
        self.length(None if value is None else len(value), ">i")
        for element in value or []:
            self.element(f, element)

    def element(self, f, value):
        if f.type in NUMBERS:
            self.out += struct.pack(">" + NUMBERS[f.type], value)
        elif f.type == "uuid":
            self.out += value.bytes
        elif f.type == "string":
            content = None if value is None else value.encode()
            self.length(None if content is None else len(content), ">h")
            self.out += content or b""
        elif f.type in ("bytes", "records"):
            self.length(None if value is None else len(value), ">i")
            self.out += value or b""
        elif f.nullable[0] <= self.version <= f.nullable[1] and not f.array:
            self.out += b"\xff" if value is None else b"\x01"
            if value is not None:
                self.fields(f.fields, value)
        else:
            self.fields(f.fields, value)


def default(f):
    if f.default == "null":
        return None
    if f.array:
        return []
    if f.type in NUMBERS:
        return {"true": True, None: 0}.get(f.default) if f.default in ("true", None) else int(f.default)
    return {"uuid": uuid.UUID(int=0), "string": "", "bytes": b"", "records": b""}.get(f.type, {})


class Reader:
    def __init__(self, content, version, flexible):
        self.content, self.at, self.version, self.flexible = content, 0, version, flexible

    def take(self, count):
        assert 0 <= count <= len(self.content) - self.at, f"{count} bytes at {self.at} of {len(self.content)}"
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def length(self, form):
        return self.uvarint() - 1 if self.flexible else self.number(form)

    def fields(self, fields):
        values = {}
        for f in fields:
            if f.versions[0] <= self.version <= f.versions[1] and f.tag is None:
                values[f.name] = self.value(f)
        if self.flexible:
            tagged = {f.tag: f for f in fields if f.tag is not None}
            for _ in range(self.uvarint()):
                tag, content = self.uvarint(), self.take(self.uvarint())
                if tag in tagged:
                    inner = Reader(content, self.version, True)
                    values[tagged[tag].name] = inner.value(tagged[tag])
                    inner.done()
                else:
                    values[f"tag {tag}"] = content
        return values

    def value(self, f):
        if not f.array:
            return self.element(f)
        count = self.length("i")
        return None if count < 0 else [self.element(f) for _ in range(count)]

    def element(self, f):
        if f.type in NUMBERS:
            return self.number(NUMBERS[f.type])
        if f.type == "uuid":
            return uuid.UUID(bytes=self.take(16))
        if f.type in ("string", "bytes", "records"):
            length = self.length("h" if f.type == "string" else "i")
            if length < 0:
                return None
            content = self.take(length)
            return content.decode() if f.type == "string" else content
        if f.nullable[0] <= self.version <= f.nullable[1] and not f.array and self.number("b") < 0:
            return None
        return self.fields(f.fields)

    def done(self):
        assert self.at == len(self.content), f"{len(self.content) - self.at} bytes after the end"


def encode(name, version, body):
    writer = Writer(version, version >= APIS[name].flexible)
    writer.fields(APIS[name].halves["request"], body)
    return bytes(writer.out)


def decode(name, version, content):
    reader = Reader(content, version, version >= APIS[name].flexible)
    values = reader.fields(APIS[name].halves["response"])
    reader.done()
    return values


def request_header(key, version, correlation_id, client_id, flexible):
    client = struct.pack(">h", -1) if client_id is None else struct.pack(">h", len(client_id)) + client_id.encode()
    return struct.pack(">hhi", key, version, correlation_id) + client + (b"\0" if flexible else b"")


class Closed(Exception):
    """The broker closed the connection instead of answering."""


class Connection:
    def __init__(self, address, timeout=15):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation_id = 0

    def close(self):
        self.socket.close()

    def send(self, name, version, body, client_id="differential", after=b""):
        """Sends a request and returns its correlation id."""
        api = APIS[name]
        self.correlation_id += 1
        header = request_header(api.key, version, self.correlation_id, client_id, version >= api.flexible)
        self.send_frame(header + encode(name, version, body) + after)
        return self.correlation_id

    def send_frame(self, frame):
        self.send_bytes(struct.pack(">i", len(frame)) + frame)

    def send_bytes(self, content):
        try:
            self.socket.sendall(content)
        except OSError as error:
            raise Closed from error

    def receive_frame(self):
        return self.exactly(struct.unpack(">i", self.exactly(4))[0])

    def exactly(self, count):
        content = bytearray()
        while len(content) < count:
            try:
                part = self.socket.recv(count - len(content))
            except ConnectionError as error:
                raise Closed from error
            if not part:
                raise Closed
            content += part
        return bytes(content)

    def receive(self, name, version):
        """The correlation id and the body of the next answer."""
        frame = self.receive_frame()
        flexible_header = version >= APIS[name].flexible and name != "ApiVersions"
        if flexible_header:
            assert frame[4] == 0, "tagged fields in a response header"
        return struct.unpack(">i", frame[:4])[0], decode(name, version, frame[5 if flexible_header else 4 :])

    def ask(self, name, version, body, client_id="differential"):
        sent = self.send(name, version, body, client_id)
        received, answer = self.receive(name, version)
        assert received == sent, f"answered {received} to {sent}"
        return answer
