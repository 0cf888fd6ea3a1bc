"""Lays the code that every node runs side by side in memory, before anything is forked.

A call writes to the called code's object (its reference count, later its caches), so each fork copies that page. Code
objects come to lie where their modules were loaded, some to a page among thousands that are never called. A copy of those
that are called takes fresh memory, one after the other: a fifth of the pages.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any


def called(work: Callable[[], None]) -> set[int]:
    """The code of all functions that `work` calls, by identity."""
    found: dict[int, CodeType] = {}  # keeps them alive, so that an identity is one code's

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            found[id(frame.f_code)] = frame.f_code

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return set(found)


def gather(codes: set[int], package: str) -> None:
    """Gives every function whose code is among these, or whose module is of that package, a copy of its code."""
    copies: dict[int, CodeType] = {}
    originals: list[CodeType] = []  # none is freed before all are copied: its place would be taken at once

    def copy(code: CodeType) -> CodeType:
        """With the functions defined in it, which have no function object while it does not run."""
        if id(code) not in copies:
            originals.append(code)
            inner = tuple(copy(one) if isinstance(one, CodeType) else one for one in code.co_consts)
            copies[id(code)] = code.replace(co_consts=inner)
        return copies[id(code)]

    def wanted(code: CodeType) -> bool:
        return id(code) in codes or any(isinstance(one, CodeType) and wanted(one) for one in code.co_consts)

    functions = [one for one in gc.get_objects() if type(one) is FunctionType]
    chosen = [one for one in functions if wanted(one.__code__)]
    chosen += [one for one in functions if (one.__module__ or "").startswith(package) and not wanted(one.__code__)]
    for function in chosen:
        function.__code__ = copy(function.__code__)
