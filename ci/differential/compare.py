"""Finds where two transcripts differ, and which of that docs/differences.md accepts."""

import re

from brokers import ROOT

ABSENT = "absent"


def differences(ours, kafkas):
    """(path, Kafka's value, ours) for every leaf that differs; a path begins with the step's label."""
    found = []
    if [label for label, _ in ours] != [label for label, _ in kafkas]:
        found.append(("steps", [label for label, _ in kafkas], [label for label, _ in ours]))
    for (label, our), (_, kafka) in zip(ours, kafkas):
        walk(label + ": ", our, kafka, found)
    return found


def walk(path, ours, kafkas, found):
    if isinstance(ours, dict) and isinstance(kafkas, dict):
        for key in dict.fromkeys([*kafkas, *ours]):
            step = f"[{key}]" if isinstance(key, int) else f".{key}"
            walk(path + step, ours.get(key, ABSENT), kafkas.get(key, ABSENT), found)
    elif isinstance(ours, list) and isinstance(kafkas, list) and len(ours) == len(kafkas):
        for i, (our, kafka) in enumerate(zip(ours, kafkas)):
            walk(f"{path}[{i}]", our, kafka, found)
    elif ours != kafkas:
        found.append((path.replace(": .", ": "), kafkas, ours))


class Accepted:
    """The patterns of docs/differences.md: the first cell of each table row, `CASE` `PATH`; `*` stands for anything."""

    def __init__(self):
        self.patterns = {}
        for line in (ROOT / "docs/differences.md").read_text().splitlines():
            if row := re.match(r"\| `([^`]+)` `([^`]+)` \|", line):
                pattern = re.escape(" ".join(row.groups())).replace(r"\*", ".*")
                self.patterns[row.groups()] = re.compile(pattern)
        self.used = set()

    def covers(self, case, path):
        for row, pattern in self.patterns.items():
            if pattern.fullmatch(f"{case} {path}"):
                self.used.add(row)
                return True
        return False

    def unused(self):
        return sorted(self.patterns.keys() - self.used)
