"""The state of a plant model or a controller's logic as JSON, and back into one made from the same parameters.

Models are frozen dataclasses behind plain objects, so their state is what their attributes hold: numbers, text, tuples,
lists, sets, dictionaries and such objects again. Only objects of this package are written; frozen ones are made anew,
others changed in place; functions and classes are part of the program and stay as they are.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

PACKAGE = __name__.rpartition(".")[0]
SEQUENCES: dict[str, Any] = {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset, "deque": deque}


class NotKept(ValueError):
    """Kept by another version, or no state at all."""


def of_ours(value: object) -> bool:
    return type(value).__module__.startswith(PACKAGE + ".") and not callable(value)


def keep(value: Any) -> Any:
    """JSON of a state. NotKept names a value that is none."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = type(value).__name__
    if kind in SEQUENCES and type(value) is SEQUENCES[kind]:
        # sets in an order of their own, so that the same state is the same text
        members = sorted(value, key=repr) if kind in ("set", "frozenset") else value
        return {kind: [keep(one) for one in members], **({"room": value.maxlen} if kind == "deque" else {})}
    if isinstance(value, Mapping):
        return {"dict": [[keep(name), keep(one)] for name, one in value.items()]}
    if of_ours(value):
        named = f"{type(value).__module__}:{type(value).__qualname__}"
        return {"object": named, "state": {name: keep(one) for name, one in attributes(value).items()}}
    raise NotKept(f"a {kind} cannot be kept")


def attributes(value: object) -> dict[str, Any]:
    """What an object holds, its parts that are program left out."""
    if dataclasses.is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        held = dict(vars(value))
    return {name: one for name, one in held.items() if not callable(one)}


def take_back(kept: Any, now: Any = None) -> Any:
    """The value that was kept. `now` is what stands in its place: plain objects are changed, not replaced."""
    if not isinstance(kept, dict):
        return kept
    if "dict" in kept:
        there: Mapping[Any, Any] = now if isinstance(now, Mapping) else {}
        pairs = [(take_back(name), one) for name, one in kept["dict"]]
        return {name: take_back(one, there.get(name)) for name, one in pairs}
    if "object" in kept:
        return object_back(kept, now)
    for kind, make in SEQUENCES.items():
        if kind in kept:
            old = list(now) if isinstance(now, list | tuple) else []
            made = [take_back(one, old[at] if at < len(old) else None) for at, one in enumerate(kept[kind])]
            return deque(made, kept["room"]) if make is deque else make(made)
    raise NotKept(f"no kept state: {sorted(kept)}")


def object_back(kept: Mapping[str, Any], now: Any) -> Any:
    module, _, name = str(kept["object"]).partition(":")
    kind = type(now) if of_ours(now) else None
    if kind is None or (kind.__module__, kind.__qualname__) != (module, name):
        if not module.startswith(PACKAGE + "."):
            raise NotKept(f"{module} is no place of models")
        kind = getattr(sys.modules.get(module), name, None)
        now = None
    if now is None or frozen(kind):
        if kind is None or not dataclasses.is_dataclass(kind):
            raise NotKept(f"there is no {name} to take this state back")
        state = {field: take_back(one, getattr(now, field, None)) for field, one in kept["state"].items()}
        try:
            return dataclasses.replace(now, **state) if now is not None else kind(**state)
        except (TypeError, ValueError) as exc:
            raise NotKept(f"{name} was kept by another version: {exc}") from exc
    for attribute, one in kept["state"].items():
        if not hasattr(now, attribute):
            raise NotKept(f"{name} was kept by another version: it has no {attribute}")
        setattr(now, attribute, take_back(one, getattr(now, attribute)))
    return now


def frozen(kind: Any) -> bool:
    return bool(dataclasses.is_dataclass(kind) and getattr(kind, "__dataclass_params__").frozen)  # noqa: B009 - not in typeshed
