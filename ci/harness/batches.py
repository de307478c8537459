"""Record batches made by hand, good and bad, and what a batch looks like from outside."""

import gzip
import hashlib
import struct

import crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
GZIP = 1


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def blob(content):
    return varint(-1) if content is None else varint(len(content)) + content


def record(index, value, key=None, timestamp_delta=0, headers=()):
    body = b"\0" + varint(timestamp_delta) + varint(index) + blob(key) + blob(value) + varint(len(headers))
    for name, content in headers:
        body += blob(name) + blob(content)
    return varint(len(body)) + body


def batch(
    values=(b"value",),
    *,
    key=None,
    timestamp=1_700_000_000_000,
    step=0,
    producer_id=-1,
    epoch=-1,
    sequence=-1,
    attributes=0,
    base_offset=0,
    count=None,
    last_delta=None,
    magic=2,
    crc=None,
    max_timestamp=None,
    body=None,
):
    """One batch of `values`; each named field may be given a wrong value."""
    if body is None:
        body = b"".join(record(i, value, key, i * step) for i, value in enumerate(values))
        if attributes & 7 == GZIP:
            body = gzip.compress(body, mtime=0)
    last = len(values) - 1
    checked = (
        struct.pack(
            ">hiqqqhii",
            attributes,
            last if last_delta is None else last_delta,
            timestamp,
            timestamp + last * step if max_timestamp is None else max_timestamp,
            producer_id,
            epoch,
            sequence,
            len(values) if count is None else count,
        )
        + body
    )
    crc = crc32c.crc32c(checked) if crc is None else crc
    return struct.pack(">qiibI", base_offset, len(checked) + 9, 0, magic, crc) + checked


def view(content):
    """The batches of a fetch answer as dicts; a cut one at the end as its length."""
    if content is None:
        return None
    batches = []
    while len(content) >= 61:
        (
            base,
            length,
            leader_epoch,
            magic,
            crc,
            attributes,
            last_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            epoch,
            sequence,
            count,
        ) = HEADER.unpack_from(content)
        if len(content) < length + 12:
            break
        whole, content = content[: length + 12], content[length + 12 :]
        batches.append(
            {
                "base_offset": base,
                "length": length,
                "leader_epoch": leader_epoch,
                "magic": magic,
                "crc_is_right": crc == crc32c.crc32c(whole[21:]),
                "attributes": attributes,
                "last_delta": last_delta,
                "base_timestamp": base_timestamp,
                "max_timestamp": max_timestamp,
                "producer_id": producer_id,
                "epoch": epoch,
                "sequence": sequence,
                "count": count,
                "payload": hashlib.sha256(whole[61:]).hexdigest()[:16],
            }
        )
    return batches + ([{"cut": len(content)}] if content else [])
