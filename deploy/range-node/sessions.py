"""Ends the sessions of a node: what a terminal or command had started goes with it, whatever it did to stay.

A process belongs to a session when it carries the session's mark (`LB_SESSION` in its environment, or still an argument of
enter.py), shares a kernel session with one that does, or descends from one that does. Two things hide for a moment or for
good: a process in the middle of execve shows an empty environment, and `env -i setsid …` sheds every mark and loses its
parent. So one look is never the last: looks go on until `QUIET` of them in a row found nothing, and an orphan without any mark
that two looks in a row have seen goes too (it can only come from some session; the node's programs are children of process 1).

One look stops everything before it kills anything, so that nothing forks away between reading and killing. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

LOOK_EVERY = 0.05  # s
QUIET = 6  # looks in a row without a find; execve on a busy machine takes a few scheduler turns
ROUNDS = 64  # of stopping, in one look; the node's pids limit ends any race sooner
MARK = b"LB_SESSION="


class Process:
    def __init__(self, parent: int, session: int, marks: frozenset[bytes]) -> None:
        self.parent = parent
        self.session = session
        self.marks = marks


class HangUps:
    def __init__(self) -> None:
        self.quiet: dict[bytes, int] = {}  # mark -> looks in a row that found nothing
        self._orphans: set[int] = set()
        self._next = 0.0

    def begin(self, mark: str, programs: set[int]) -> None:
        self.quiet[mark.encode()] = 0
        self.look(programs)

    def wait(self) -> float | None:
        """Seconds until the next look is due; None when there is nothing to end."""
        return max(0.0, self._next - time.monotonic()) if self.quiet else None

    def look(self, programs: set[int]) -> None:
        """`programs`: the children of process 1 that are the node's own."""
        stopped: set[int] = set()
        found: dict[bytes, set[int]] = {mark: set() for mark in self.quiet}
        for _ in range(ROUNDS):
            processes = running()
            for mark in found:
                found[mark] |= members(processes, mark)
            fresh = set().union(*found.values()) - stopped
            if not fresh:
                break
            for pid in fresh:
                send(pid, signal.SIGSTOP)
            stopped |= fresh
        orphans = strays(processes, programs) - stopped
        for pid in stopped | (orphans & self._orphans):
            send(pid, signal.SIGKILL)
        for mark, pids in found.items():
            self.quiet[mark] = 0 if pids or orphans else self.quiet[mark] + 1
            if self.quiet[mark] >= QUIET:
                del self.quiet[mark]
        self._orphans = orphans if self.quiet else set()
        self._next = time.monotonic() + LOOK_EVERY


def send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def running() -> dict[int, Process]:
    """The node's processes, zombies left out (they have ended)."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or entry == "1":
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                state, parent, _, session, *_ = file.read().rpartition(b")")[2].split()
            if state in (b"Z", b"X"):
                continue
            # who has more rights than we have, or hides, does not show its environment, only its arguments
            marks = {word[len(MARK) :] for word in words(f"/proc/{entry}/environ") if word.startswith(MARK)}
            arguments = words(f"/proc/{entry}/cmdline")
            if b"/opt/lianbing/enter.py" in arguments:
                marks |= set(arguments[3:6])  # python3 -I enter.py [--keep-net-admin] MARK COMMAND
            found[int(entry)] = Process(int(parent), int(session), frozenset(marks))
        except (OSError, ValueError):
            continue  # it has just ended
    return found


def words(path: str) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            return file.read().split(b"\0")
    except PermissionError:
        return []


def members(processes: dict[int, Process], mark: bytes) -> set[int]:
    """By mark, then by kernel session (0 is that of strangers: docker exec comes from outside), then by descent."""
    found = {pid for pid, process in processes.items() if mark in process.marks}
    while True:
        sessions = {processes[pid].session for pid in found} - {0, 1}
        more = {
            pid
            for pid, process in processes.items()
            if pid not in found and (process.session in sessions or process.parent in found)
        }
        if not more:
            return found
        found |= more


def strays(processes: dict[int, Process], programs: set[int]) -> set[int]:
    """Process 1 inherited them, they bear no mark, and so do their kernel session and all they have started."""
    marked = {process.session for process in processes.values() if process.marks} - {0, 1}
    found: set[int] = set()
    while True:
        more = {
            pid
            for pid, process in processes.items()
            if pid not in found
            and (process.parent == 1 or process.parent in found)
            and pid not in programs
            and not process.marks
            and process.session not in marked
        }
        if not more:
            return found
        found |= more
