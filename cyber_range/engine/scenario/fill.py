"""Filling `${…}` references from a table of values, with their types kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario.model import REFERENCE


def references(value: Any) -> Iterator[str]:
    """Every reference inside a value, without `${` and `}`."""
    if isinstance(value, str):
        yield from (found.strip() for found in REFERENCE.findall(value))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from references(key)
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def lookup(reference: str, table: Mapping[str, Any]) -> Any:
    """The value of `draw.x`, `node.plc1.ip`, `process.tank.area`: a walk from name to name.

    The rest of the reference may itself be a key with dots (`file.nodes/share/a.csv`).
    """
    here: Any = table
    rest = reference
    while rest:
        if not isinstance(here, Mapping):
            raise KeyError(reference)
        if rest in here:
            here, rest = here[rest], ""
            break
        head, dot, tail = rest.partition(".")
        if not dot or head not in here:
            raise KeyError(reference)
        here, rest = here[head], tail
    if isinstance(here, Leaf):
        return here.value
    return here


class Leaf(dict[str, Any]):
    """A mapping that has a value of its own too: `${node.plc1.ip}` beside `${node.plc1.ip.workshop}`."""

    def __init__(self, value: Any, more: Mapping[str, Any]) -> None:
        super().__init__(more)
        self.value = value


def fill(value: Any, table: Mapping[str, Any]) -> Any:
    """`value` with every reference replaced; ScenarioError names one that has no value."""
    if isinstance(value, str):
        return _fill_text(value, table)
    if isinstance(value, Mapping):
        return {
            _fill_text(key, table) if isinstance(key, str) else key: fill(inner, table) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [fill(inner, table) for inner in value]
    return value


def _fill_text(text: str, table: Mapping[str, Any]) -> Any:
    if "${" not in text:
        return text
    whole = REFERENCE.fullmatch(text)
    if whole:
        return fill(_value(whole.group(1).strip(), table), table)
    filled = REFERENCE.sub(lambda found: str(fill(_value(found.group(1).strip(), table), table)), text)
    return filled.replace("$${", "${")


def _value(reference: str, table: Mapping[str, Any]) -> Any:
    try:
        return lookup(reference, table)
    except KeyError:
        raise ScenarioError(
            f"${{{reference}}} has no value",
            remedy="Name a draw, node, zone, file or process value that exists",
            reference=reference,
        ) from None
