"""Which programs run, which are ready, which node is ill and why."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field

from cyber_range.engine.errors import DriverError
from cyber_range.engine.plan import RangePlan

Key = tuple[str, str]  # node, program

RESTARTS = 3  # a program that fails more often in RESTART_WINDOW leaves its node ill
RESTART_WINDOW = 60.0  # wall seconds
LAST_WORDS = 300  # characters


def ending(code: int, said: str) -> str:
    """How a program ended, for people: "exit code 3: the pump is dry"; 128 + n is signal n."""
    how = f"it ended with exit code {code}"
    if code > 128:
        with contextlib.suppress(ValueError):  # a program may well exit with 200
            how = f"it was ended by {signal.Signals(code - 128).name} (exit code {code})"
    return f"{how}: {said}" if said else how


def last_line(log: str) -> str:
    """The last line of a program's stderr that says something."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:LAST_WORDS] if lines else ""


@dataclass(slots=True)
class ProgramHealth:
    ready: bool = False
    running: bool = False
    said: str = ""  # the last error the program told since it was ready
    trouble: str = ""  # how and why it ended
    ended: list[float] = field(default_factory=list)  # loop times of unexpected ends


class Health:
    """Fed by the lab's messages."""

    def __init__(self, plan: RangePlan) -> None:
        self.programs: dict[Key, ProgramHealth] = {
            (node.name, program.name): ProgramHealth() for node in plan.nodes for program in node.programs
        }
        self._nodes = [node.name for node in plan.nodes]
        self.gone: dict[str, str] = {}  # nodes that ended as a whole, and why
        self._losses: dict[str, list[float]] = {}  # loop times of such ends
        self._changed = asyncio.Event()

    def started(self) -> None:
        for program in self.programs.values():
            program.running = True

    def is_ready(self, key: Key) -> None:
        program = self.programs.setdefault(key, ProgramHealth())
        program.ready = program.running = True
        program.said = program.trouble = ""
        self._changed.set()

    def says(self, key: Key, trouble: str) -> None:
        self.programs.setdefault(key, ProgramHealth()).said = trouble

    def has_ended(self, key: Key, code: int, now: float, log: str = "") -> bool:
        """Notes an end nobody asked for, with the end of its stderr. True when it is worth a restart."""
        program = self.programs.setdefault(key, ProgramHealth())
        program.ready = program.running = False
        program.trouble = ending(code, program.said or last_line(log))
        program.said = ""
        program.ended = [when for when in program.ended if now - when < RESTART_WINDOW] + [now]
        self._changed.set()
        return len(program.ended) <= RESTARTS

    def given_up(self, key: Key) -> bool:
        program = self.programs[key]
        return not program.running and len(program.ended) > RESTARTS

    def node_ended(self, node: str, why: str, now: float) -> bool:
        """True when it is worth making it anew."""
        self.gone[node] = why
        self._losses[node] = [when for when in self._losses.get(node, ()) if now - when < RESTART_WINDOW] + [now]
        return len(self._losses[node]) <= RESTARTS

    def lost_nodes(self) -> frozenset[str]:
        """Nodes that end again and again, and are left as they are."""
        return frozenset(node for node in self.gone if len(self._losses[node]) > RESTARTS)

    async def all_ready(self, seconds: float) -> None:
        """Returns when every program is ready. DriverError names the node and program that is not."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            self._changed.clear()
            broken = [(key, program) for key, program in self.programs.items() if not program.running]
            if broken:
                (node, name), program = broken[0]
                raise DriverError(
                    f"program {name} of node {node} did not start: {program.trouble}",
                    remedy="Look at the program's configuration in scenario.yml, then launch again",
                    node=node, program=name,
                )  # fmt: skip
            late = [key for key, program in self.programs.items() if not program.ready]
            if not late:
                return
            missing = deadline - asyncio.get_running_loop().time()
            if missing <= 0:
                node, name = late[0]
                others = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
                raise DriverError(
                    f"program {name} of node {node}{others} was not ready within {seconds:.0f} s",
                    remedy="Free memory or processors on this machine, or launch again",
                    node=node, program=name,
                )  # fmt: skip
            try:
                await asyncio.wait_for(self._changed.wait(), missing)
            except TimeoutError:
                continue

    def of_node(self, node: str) -> dict[str, str]:
        if node in self.gone:
            return {"state": "ill", "reason": f"the node ended: {self.gone[node]}"}
        own = {key[1]: program for key, program in self.programs.items() if key[0] == node}
        for name, program in own.items():
            if not program.running:
                return {"state": "ill", "reason": f"{name}: {program.trouble or 'not started'}"}
        for name, program in own.items():
            if not program.ready:
                return {"state": "starting", "reason": name}
        return {"state": "ok", "reason": ""}

    def as_dict(self) -> dict[str, dict[str, str]]:
        return {node: self.of_node(node) for node in self._nodes}
