"""The machine under the benchmark: is it quiet, what does it have, and a page cache that is no longer fresh."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from brokers import ROOT, TICKS_PER_SECOND

LOAD_MAX = 0.5
# The kernel's own threads write back and reclaim.
OTHERS_SHARE_MAX = 0.1


def facts():
    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()
    return {
        "commit": commit,
        "kernel": platform.release(),
        "cores": f"{os.cpu_count()} x {model[0] if model else platform.machine()}",
        "memory": f"{memory('MemTotal') >> 30} GiB",
        "java": java[0] if java else "none",
    }


def memory(field):
    [line] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) * 1024


def wait_until_quiet(force):
    """Neighbours change every figure: refuses to measure beside them."""
    for _ in range(60):
        if force or os.getloadavg()[0] <= LOAD_MAX:
            return
        time.sleep(5)
    sys.exit(
        f"the machine is busy: load {os.getloadavg()[0]:.1f}, at most {LOAD_MAX} wanted (--force measures all the same)"
    )


class PageCache:
    """Pages that the host has to find first cost the broker that touches them, so free memory is filled with a file's.
    What a broker's end sets free is handed back to the host within seconds: `top_up` takes it again."""

    FREE_BYTES_MAX = 512 << 20
    BLOCK_BYTES = 1 << 22

    def __init__(self, directory):
        self.path = Path(directory) / "page-cache"
        disk = os.statvfs(directory)
        left = min(memory("MemFree"), disk.f_bavail * disk.f_frsize // 2)
        block = bytes(self.BLOCK_BYTES)
        with open(self.path, "wb") as file:
            while left > 0:
                left -= file.write(block)
            file.flush()
            os.fsync(file.fileno())
        self.file, self.at = open(self.path, "rb", buffering=0), 0

    def top_up(self):
        """The oldest pages went first, so a round through the file reads what is missing."""
        blocks = self.path.stat().st_size // self.BLOCK_BYTES
        for _ in range(blocks):
            if memory("MemFree") <= self.FREE_BYTES_MAX:
                return
            self.at = (self.at + 1) % blocks
            self.file.seek(self.at * self.BLOCK_BYTES)
            self.file.read(self.BLOCK_BYTES)

    def remove(self):
        self.file.close()
        self.path.unlink()


class Share:
    """How much of the machine others used while `own` processes worked."""

    def __init__(self):
        self.began = self.total()
        self.at = time.monotonic()

    @staticmethod
    def total():
        fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return (sum(fields[:3]) + sum(fields[5:7])) / TICKS_PER_SECOND

    def of_others(self, own_cpu_seconds):
        took = max(time.monotonic() - self.at, 0.001)
        return max(0.0, self.total() - self.began - own_cpu_seconds) / took / os.cpu_count()
