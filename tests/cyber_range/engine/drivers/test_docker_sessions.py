"""What belongs to a closed terminal, told from a process table (deploy/range-node/sessions.py)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[4] / "deploy" / "range-node" / "sessions.py"


@pytest.fixture(scope="module")
def sessions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("range_node_sessions", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def table(sessions: ModuleType, *rows: tuple[int, int, int, bytes]) -> dict[int, object]:
    return {
        pid: sessions.Process(parent, session, frozenset([mark] if mark else [])) for pid, parent, session, mark in rows
    }


def test_session_is_found_by_mark_kernel_session_and_descent(sessions: ModuleType) -> None:
    processes = table(
        sessions,
        (8, 1, 8, b""),  # a program of the node
        (9, 8, 8, b""),
        (20, 0, 20, b"m"),  # the shell
        (21, 20, 20, b""),  # in the middle of execve
        (22, 20, 22, b""),  # env -i setsid, its parent alive
        (23, 22, 23, b""),
        (24, 1, 24, b"m"),  # setsid, its parent gone
        (30, 0, 0, b"other"),  # a command of somebody else; its kernel session is outside the container
        (31, 0, 0, b""),  # docker is about to start something
    )

    assert sessions.members(processes, b"m") == {20, 21, 22, 23, 24}
    assert sessions.members(processes, b"other") == {30}


def test_orphans_without_a_mark_are_strays_and_programs_are_not(sessions: ModuleType) -> None:
    processes = table(
        sessions,
        (8, 1, 8, b""),
        (9, 8, 8, b""),
        (40, 1, 40, b""),  # env -i setsid, its shell gone
        (41, 40, 41, b""),
        (50, 1, 50, b"other"),
        (51, 1, 50, b""),  # of the same kernel session as somebody who is marked
        (31, 0, 0, b""),
    )

    assert sessions.strays(processes, {8}) == {40, 41}


def test_looks_go_on_until_several_found_nothing(sessions: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault this stands for: setsid(1) forked between reading /proc and killing, and `sleep` was never looked for again."""
    alive = table(sessions, (20, 0, 20, b"m"), (50, 0, 50, b"other"))
    killed: list[int] = []

    def send(pid: int, number: int) -> None:
        if number == sessions.signal.SIGKILL:
            killed.append(pid)
            alive.pop(pid, None)

    monkeypatch.setattr(sessions, "running", lambda: dict(alive))
    monkeypatch.setattr(sessions, "send", send)
    ending = sessions.HangUps()

    ending.begin("m", set())
    alive |= table(sessions, (24, 1, 24, b"m"), (25, 1, 25, b""))  # one was forking, one hid
    looks = 0
    while ending.wait() is not None:
        ending.look(set())
        looks += 1

    assert (sorted(killed), sorted(alive)) == ([20, 24, 25], [50])
    assert looks == 2 + sessions.QUIET
