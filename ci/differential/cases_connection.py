"""Before any API matters: versions, headers, framing, limits, the order of answers."""

import struct

import wire


def api_versions(peer):
    for version in range(3):
        peer.ask("ApiVersions", version)
    for version in range(3, 6):
        peer.ask("ApiVersions", version, client_software_name="differential", client_software_version="1.0-a.b")


def api_versions_of_the_future(peer):
    for version in (6, 7, 100, 32767):
        frame = wire.request_header(18, version, 1, "differential", False) + b"\0\x02a\x02b\0"
        peer.frame(f"version {version}", frame, expect=("ApiVersions", 0))
    peer.ask("ApiVersions", 0, "still there")


def api_versions_with_odd_software_names(peer):
    for name, version in [
        ("", "1"),
        ("a", ""),
        ("-a", "1"),
        ("a-", "1"),
        ("a b", "1"),
        ("a.b-c", "1"),
        ("a", "1..2"),
        ("ü", "1"),
        ("a" * 300, "1"),
        ("a", "v1_2"),
    ]:
        peer.ask(
            "ApiVersions", 3, f"{name[:10]!r} {version!r}", client_software_name=name, client_software_version=version
        )


def api_versions_for_a_certain_node(peer):
    cluster = peer.quietly("DescribeCluster", 1)["cluster_id"]
    for who, node in [(None, -1), (cluster, -1), (None, 1), (cluster, 1), (cluster, 2), ("another", 1)]:
        peer.ask(
            "ApiVersions",
            5,
            f"{'own' if who == cluster else who} {node}",
            client_software_name="a",
            client_software_version="1",
            cluster_id=who,
            node_id=node,
        )


def unknown_apis_close(peer):
    for key in (4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82, 95, 999, -1, 32767):
        peer.frame(f"key {key}", wire.request_header(key, 0, 1, "differential", False) + bytes(20))


def unknown_versions_close(peer):
    for name in (
        "Produce",
        "Fetch",
        "ListOffsets",
        "Metadata",
        "CreateTopics",
        "DeleteTopics",
        "DeleteRecords",
        "InitProducerId",
        "OffsetForLeaderEpoch",
        "DescribeConfigs",
        "AlterConfigs",
        "DescribeLogDirs",
        "CreatePartitions",
        "IncrementalAlterConfigs",
        "DescribeQuorum",
        "DescribeCluster",
        "ListConfigResources",
        "DescribeTopicPartitions",
    ):
        api = wire.APIS[name]
        for version in (api.versions[0] - 1, api.versions[1] + 1, -2):
            frame = wire.request_header(api.key, version, 1, "differential", version >= api.flexible) + bytes(40)
            peer.frame(f"{name} {version}", frame)


def old_produce_versions_close(peer):
    for version in range(3):
        peer.frame(
            f"version {version}", wire.request_header(0, version, 1, "x", False) + struct.pack(">hii", 1, 100, 0)
        )


def bad_frame_sizes_close(peer):
    for size in (0, -1, -(2**31), 104_857_601, 2**31 - 1):
        peer.bytes(f"size {size}", struct.pack(">i", size) + bytes(8))


def short_requests_close(peer):
    body = wire.encode("Metadata", 1, {"topics": [{"name": "abc"}]})
    header = wire.request_header(3, 1, 1, "differential", False)
    for length in (1, 4, 7, 9, len(header), len(header) + 3, len(header) + len(body) - 1):
        peer.frame(f"{length} bytes", (header + body)[:length])


def bytes_after_the_body_are_ignored(peer):
    body = wire.encode("Metadata", 1, {"topics": []})
    header = wire.request_header(3, 1, 1, "differential", False)
    peer.frame("old form", header + body + b"more", expect=("Metadata", 1))
    body = wire.encode("Metadata", 9, {"topics": []})
    header = wire.request_header(3, 9, 1, "differential", True)
    peer.frame("flexible form", header + body + b"more", expect=("Metadata", 9))


def absurd_counts_close(peer):
    for version in (1, 8, 9, 12):
        header = wire.request_header(3, version, 1, "differential", version >= 9)
        for count in (5, 1_000_001, 2**31 - 2):
            length = struct.pack(">i", count)
            if version >= 9:
                writer = wire.Writer(version, True)
                writer.uvarint(count + 1)
                length = bytes(writer.out)
            peer.frame(f"version {version} count {count}", header + length + bytes(3))


def malformed_varints_close(peer):
    header = wire.request_header(3, 9, 1, "differential", True)
    peer.frame("too long", header + b"\xff" * 12)
    peer.frame("never ends", header + b"\x80\x80")


def strings_that_are_too_long_or_no_text(peer):
    header = wire.request_header(3, 1, 1, "differential", False)
    peer.frame("negative length", header + struct.pack(">ih", 1, -2))
    peer.frame("beyond the end", header + struct.pack(">ih", 1, 100) + b"abc")
    peer.frame("null name", header + struct.pack(">ih", 1, -1))


def unknown_tagged_fields_are_skipped(peer):
    peer.ask("Metadata", 9, "in the body", topics=[], tags={77: b"what is this", 3000: b""})
    header = struct.pack(">hhih", 3, 9, 1, -1)
    body = wire.encode("Metadata", 9, {"topics": []})
    peer.frame("in the header", header + b"\x02\x09\x03abc" + body, expect=("Metadata", 9))
    peer.frame("repeated", header + b"\x03\x09\x01a\x09\x01b" + body, expect=("Metadata", 9))


def clients_without_a_name(peer):
    peer.ask("Metadata", 1, client_id=None, topics=[])
    peer.ask("Metadata", 1, client_id="", topics=[])
    peer.ask("Metadata", 12, client_id=None, topics=[])


def answers_keep_the_order_of_requests(peer):
    topic = peer.create()
    connection = peer.connect()
    waiting = {
        "max_wait_ms": 400,
        "min_bytes": 1,
        "max_bytes": 1000,
        "topics": [{"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]}],
    }
    sent = [
        (connection.send("Fetch", 11, waiting), "Fetch", 11),
        (connection.send("Metadata", 1, {"topics": []}), "Metadata", 1),
        (connection.send("ApiVersions", 0, {}), "ApiVersions", 0),
    ]
    for correlation_id, name, version in sent:
        received, answer = connection.receive(name, version)
        peer.record(name, {"in order": received == correlation_id, **(answer if name != "ApiVersions" else {})})
