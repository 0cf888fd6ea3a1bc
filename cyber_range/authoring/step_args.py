"""Which parameters a step of an attack takes: read from the step's own code, so that form and step never disagree.

A step is a coroutine of (intruder, args, evidence) that says `args["host"]` (it must be there) or `args.get("port", 502)`.
Functions it hands `args` to are followed. What cannot be seen this way is still written in the form's box for the rest.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from cyber_range.engine.attack.intruder import Intruder
from cyber_range.engine.attack.steps import STEPS

TYPES = {"int": "whole", "float": "number", "bool": "bool", "str": "text", "list": "yaml", "dict": "yaml"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` as the forms name it; "yaml" is anything that may be a list or a mapping."""

    key: str
    type: str
    must: bool
    default: Any = None


@lru_cache(maxsize=256)
def parameters(step: str) -> tuple[Parameter, ...]:
    """The parameters of a step of the catalogue, required ones first; () for a step nobody knows."""
    form = STEPS.get(step)
    if form is None:
        return ()
    found: dict[str, Parameter] = {}
    for one in _read(form.action, _position(form.action), set()):
        known = found.get(one.key)
        if known is None or (one.must and not known.must):
            found[one.key] = one
    return tuple(sorted(found.values(), key=lambda one: not one.must))


def _position(function: Callable[..., Any]) -> str:
    names = list(inspect.signature(function).parameters)
    return "args" if "args" in names else names[1]


def _read(function: Callable[..., Any], name: str, seen: set[tuple[Any, str]]) -> Iterator[Parameter]:
    function = inspect.unwrap(function)
    if (function, name) in seen:
        return
    seen.add((function, name))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    above = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    names: dict[str, Any] = getattr(function, "__globals__", {})
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _is(node.value, name) and isinstance(node.slice, ast.Constant):
            yield Parameter(str(node.slice.value), _type(above.get(node), None), must=True)
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr == "get" and _is(called.value, name) and node.args:
            key = node.args[0]
            if isinstance(key, ast.Constant):
                default = _value(node.args[1], names) if len(node.args) > 1 else None
                yield Parameter(str(key.value), _type(above.get(node), default), must=False, default=default)
            continue
        for place, given in enumerate(node.args):
            preset = _preset(given, name)
            if preset is None or (inner := _function(called, names)) is None:
                continue
            own = list(inspect.signature(inner).parameters)
            at = place + inner.__qualname__.startswith("Intruder.")  # self
            if at < len(own):
                for one in _read(inner, own[at], seen):
                    yield replace(one, must=False, default=preset[one.key]) if one.key in preset else one


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _preset(node: ast.expr, name: str) -> dict[str, Any] | None:
    """{} for `args` itself, what is set beforehand for `{"table": "coil", **args}`, None for anything else."""
    if _is(node, name):
        return {}
    if isinstance(node, ast.Dict) and any(
        key is None and _is(value, name) for key, value in zip(node.keys, node.values, strict=True)
    ):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(key.value): _value(value, {}) for key, value in pairs if isinstance(key, ast.Constant)}
    return None


def _function(called: ast.expr, names: dict[str, Any]) -> Callable[..., Any] | None:
    if isinstance(called, ast.Name) and not hasattr(builtins, called.id):
        found = names.get(called.id)
    elif isinstance(called, ast.Attribute):
        found = getattr(Intruder, called.attr, None) if _is(called.value, "intruder") else None
    else:
        found = None
    return found if found is not None and inspect.isfunction(inspect.unwrap(found)) else None


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    """A default that is written out, or a constant of the module."""
    if isinstance(node, ast.Name):
        value = names.get(node.id)
        return value if isinstance(value, int | float | str | bool) else None
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return list(value) if isinstance(value, tuple) else value


def _type(around: ast.AST | None, default: Any) -> str:
    """From the conversion it stands in, else from its default."""
    if isinstance(around, ast.Call) and isinstance(around.func, ast.Name) and around.func.id in TYPES:
        return TYPES[around.func.id]
    if isinstance(default, bool):
        return "bool"
    return TYPES.get(type(default).__name__, "yaml") if default is not None else "yaml"
