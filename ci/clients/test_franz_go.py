"""franz-go: the program in franz/ checks itself and names what went wrong."""


def test_administers_produces_and_reads_partitions_directly(franz, topic):
    assert franz(f"{topic}-franz") == "map[0:2400 1:2000 2:2000]\n"
