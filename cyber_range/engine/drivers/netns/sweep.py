"""Finds and ends what dead drivers left, by process titles alone: `lb-range:<id> owner=<pid>.<start>`.

A range dies with its owner (its socket ends, and its parent-death signal is SIGKILL, which reaches stopped processes too).
This is the second line: for what a kernel did not tell, or an older version left.
A title can be forged by anyone of this uid, who could as well kill us; other users' processes cannot be signalled.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass

TITLE = re.compile(r"lb-(?:range:(?P<range>[0-9a-zA-Z_-]+)|zygote) owner=(?P<pid>\d+)\.(?P<start>\d+)")


@dataclass(frozen=True, slots=True)
class Owner:
    """A driver's process: pid and start time (clock ticks since boot), so that a reused pid is not mistaken for it."""

    pid: int
    start: int

    @classmethod
    def ourselves(cls) -> Owner:
        return cls(os.getpid(), started(os.getpid()) or 0)

    def __str__(self) -> str:
        return f"{self.pid}.{self.start}"

    def alive(self) -> bool:
        return started(self.pid) == self.start


def started(pid: int) -> int | None:
    """Start time of a process that is not a zombie; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def titled() -> list[tuple[int, str, Owner]]:
    """(pid, range id or "" for a zygote, owner) of every process that bears our mark."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                match = TITLE.match(file.read(200).decode(errors="replace"))
        except OSError:
            continue
        if match:
            found.append((int(name), match["range"] or "", Owner(int(match["pid"]), int(match["start"]))))
    return found


def end_leftovers(ourselves: Owner, keep: frozenset[str]) -> dict[str, int]:
    """Kills and counts ranges and zygotes nobody owns any more; waits until they are gone."""
    removed: dict[str, set[str]] = {"ranges": set(), "zygotes": set()}
    killed = []
    for pid, range_id, owner in titled():
        if range_id in keep:
            continue
        if owner == ourselves and not range_id:
            continue  # our own zygote
        if owner != ourselves and owner.alive():
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            removed["ranges" if range_id else "zygotes"].add(range_id or str(pid))
    deadline = time.monotonic() + 2.0
    while killed and time.monotonic() < deadline:
        killed = [pid for pid in killed if started(pid) is not None]
        time.sleep(0.005 if killed else 0)
    return {kind: len(names) for kind, names in removed.items() if names}
