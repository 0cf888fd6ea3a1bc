"""Which programs run, which are ready, which node is ill and why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from cyber_range.engine.errors import DriverError
from cyber_range.engine.plan import RangePlan

Key = tuple[str, str]  # node, program

RESTARTS = 3  # a program that fails more often in RESTART_WINDOW leaves its node ill
RESTART_WINDOW = 60.0  # wall seconds


@dataclass(slots=True)
class ProgramHealth:
    ready: bool = False
    running: bool = False
    trouble: str = ""  # what the program said last before it ended
    ended: list[float] = field(default_factory=list)  # loop times of unexpected ends


class Health:
    """Fed by the lab's messages."""

    def __init__(self, plan: RangePlan) -> None:
        self.programs: dict[Key, ProgramHealth] = {
            (node.name, program.name): ProgramHealth() for node in plan.nodes for program in node.programs
        }
        self._nodes = [node.name for node in plan.nodes]
        self._changed = asyncio.Event()

    def started(self) -> None:
        for program in self.programs.values():
            program.running = True

    def is_ready(self, key: Key) -> None:
        program = self.programs.setdefault(key, ProgramHealth())
        program.ready = program.running = True
        program.trouble = ""
        self._changed.set()

    def says(self, key: Key, trouble: str) -> None:
        self.programs.setdefault(key, ProgramHealth()).trouble = trouble

    def has_ended(self, key: Key, code: int, now: float) -> bool:
        """Notes an end nobody asked for. True when it is worth a restart."""
        program = self.programs.setdefault(key, ProgramHealth())
        program.ready = program.running = False
        program.trouble = program.trouble or f"it ended with exit code {code}"
        program.ended = [when for when in program.ended if now - when < RESTART_WINDOW] + [now]
        self._changed.set()
        return len(program.ended) <= RESTARTS

    def given_up(self, key: Key) -> bool:
        program = self.programs[key]
        return not program.running and len(program.ended) > RESTARTS

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
