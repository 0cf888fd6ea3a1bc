"""Keeps a range's memory in bounds where no cgroup does: looks twice a second, ends the fattest process when it is over.

What counts are private pages. While all resident anonymous pages together (statm, some microseconds a process), those
shared with the warm process counted again and again, are below the limit, nothing more is asked. Beyond that the kernel
tells private pages exactly, but slowly (smaps_rollup, about half a millisecond each), so it is asked when a process is
first seen, every EXACT_EVERY seconds, and before anybody is ended; in between, resident anonymous pages less what the
process shared with the warm process at the last exact look. Forked processes are not dumpable, so nobody else may open
their smaps_rollup: they send us theirs when they start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.drivers.netns import linux

INTERVAL = 0.5  # seconds
EXACT_EVERY = 15.0  # seconds
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(slots=True)
class Watched:
    node: str
    job: int
    rollup: int


class Watchdog:
    def __init__(self, limit_mib: int) -> None:
        self.limit_kib = limit_mib * 1024
        self.interval = INTERVAL
        self.watched: dict[int, Watched] = {}  # by pid
        self.warm_kib = resident_kib(os.getpid())  # what every fork begins with, shared
        self.shared: dict[int, int] = {}  # KiB by pid, at the last exact look
        self.exact_at = 0.0

    def watch(self, pid: int, node: str, job: int, fds: list[int]) -> None:
        if pid in self.watched:
            os.close(self.watched.pop(pid).rollup)
        if len(fds) == 1 and pid > 0:
            self.watched[pid] = Watched(node, job, fds[0])
        else:
            for fd in fds:
                os.close(fd)

    def forget_job(self, node: str, job: int) -> None:
        self._forget([pid for pid, seen in self.watched.items() if (seen.node, seen.job) == (node, job)])

    def forget_node(self, node: str) -> None:
        self._forget([pid for pid, seen in self.watched.items() if seen.node == node])

    def _forget(self, pids: list[int]) -> None:
        for pid in pids:
            os.close(self.watched.pop(pid).rollup)

    def look(self, inits: dict[int, str]) -> list[dict[str, Any]]:
        """What was killed, in words for the lab. `inits` are the pids of the nodes' init processes."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        if sum(resident_kib(pid) for pid in pids) <= self.limit_kib:
            return []
        if time.monotonic() >= self.exact_at:
            self.shared.clear()
            self.exact_at = time.monotonic() + EXACT_EVERY
        if sum(self.estimate_kib(pid) for pid in pids) <= self.limit_kib:
            self.shared = {pid: self.shared[pid] for pid in pids if pid in self.shared}
            return []
        sizes = {pid: self.private_kib(pid) for pid in pids}
        total, killed = sum(sizes.values()), []
        for pid in sorted((pid for pid in pids if pid not in inits), key=lambda pid: sizes[pid], reverse=True):
            if total <= self.limit_kib:
                break
            node, name = owner_of(pid, inits), title_of(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            seen = self.watched.get(pid)
            killed.append(
                {
                    "node": node,
                    "job": seen.job if seen else None,
                    "process": name,
                    "private_mib": sizes[pid] // 1024,
                    "range_mib": total // 1024,
                    "limit_mib": self.limit_kib // 1024,
                }
            )
            total -= sizes[pid]
        return killed

    def estimate_kib(self, pid: int) -> int:
        resident = resident_kib(pid)
        if pid not in self.shared:
            self.shared[pid] = max(0, resident - self.private_kib(pid))
        return max(0, resident - self.shared[pid])

    def private_kib(self, pid: int) -> int:
        """Exact where we may look; else (a fork of a fork) what it has beyond the warm process."""
        seen = self.watched.get(pid)
        try:
            if seen is not None:
                text = os.pread(seen.rollup, 4096, 0).decode()
            else:
                text = linux.read_text(f"/proc/{pid}/smaps_rollup")
        except OSError:
            return max(0, resident_kib(pid) - self.warm_kib)
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def resident_kib(pid: int) -> int:
    try:
        fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fields = os.read(fd, 200).split()
        return (int(fields[1]) - int(fields[2])) * PAGE_KIB
    except (OSError, IndexError, ValueError):
        return 0
    finally:
        os.close(fd)


def owner_of(pid: int, inits: dict[int, str]) -> str:
    """The node a process belongs to: up the parents until one is a node's init."""
    for _ in range(64):
        if pid in inits:
            return inits[pid]
        try:
            pid = int(linux.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
        if pid <= 1:
            break
    return ""


def title_of(pid: int) -> str:
    try:
        return linux.read_text(f"/proc/{pid}/cmdline").replace("\0", " ").strip()[:80]
    except OSError:
        return ""
