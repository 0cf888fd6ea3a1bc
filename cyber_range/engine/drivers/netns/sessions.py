"""Which processes a terminal or command has started, whatever they did to stay.

A process can leave its session (setsid), lose its parent (double fork) and shed its environment (`env -i`), but a hard
limit it inherits can only be lowered. So every terminal and command gets a hard RLIMIT_RTTIME of its own: it bounds
real-time scheduling, which RLIMIT_RTPRIO 0 forbids anyway, so the number means nothing to anybody but us. Programs
keep the limit they have.

    programs: the ceiling ⎯ commands: ceiling/2 + job ⎯ terminals: ceiling/4 + job ⎯ below: lowered by its owner

Who lowers it ends as a terminal's or nobody's, never as a command's or program's; nobody's (`strays`) go with the next
terminal that closes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterable

UNLIMITED = 1 << 62
ROUNDS = 64  # of stopping; the node's process limit ends any race sooner


class Marks:
    """Numbers for the sessions of one node."""

    def __init__(self, ceiling: int | None = None) -> None:
        """`ceiling`: the hard limit that programs have; ours when not given."""
        hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1] if ceiling is None else ceiling
        self.ceiling = UNLIMITED if hard == resource.RLIM_INFINITY else hard
        self.terminals: set[int] = set()  # marks of those that are open

    def command(self, job: int) -> int:
        return self.ceiling // 2 + job

    def terminal(self, job: int) -> int:
        return self.ceiling // 4 + job

    def is_program(self, limit: int) -> bool:
        return limit == resource.RLIM_INFINITY or limit >= self.ceiling

    def stray(self, limit: int) -> bool:
        """Started from a terminal that is no more, or by somebody who lowered the mark."""
        return not self.is_program(limit) and limit < self.ceiling // 2 and limit not in self.terminals


def bear(mark: int) -> None:
    """From now on this process and all it starts belong to that session. Before `confine`."""
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))


def limits(pids: Iterable[int]) -> dict[int, int]:
    """Hard limit of each of these processes that lives; zombies have ended."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = resource.prlimit(pid, resource.RLIMIT_RTTIME)[1]
    return found


def others() -> list[int]:
    """Every process of the node but its init."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def end(belongs: Callable[[int], bool], number: int = signal.SIGKILL) -> int:
    """Sends `number` to every process whose mark belongs; how many. All are stopped first, so that none forks away."""
    stopped: set[int] = set()
    for _ in range(ROUNDS):
        fresh = {pid for pid, mark in limits(others()).items() if belongs(mark)} - stopped
        if not fresh:
            break
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= fresh
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            if number != signal.SIGKILL:
                os.kill(pid, signal.SIGCONT)
    return len(stopped)
