"""The file and what it says, in step: a change of the data touches only the lines it must, so an author's comments stay.

`rewrite` never trusts its own cutting: what comes out is read again, and when it does not say exactly the new data the
whole file is written anew.
"""

from __future__ import annotations

import difflib
import io
import itertools
import json
from collections.abc import Mapping
from typing import Any

import yaml

from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.scenario import load as loader

_WIDTH = 118
_FLOW = 110  # a mapping or list of plain values up to this length stands on one line, as people write it


def parse(text: str, file: str = "scenario.yml") -> Any:
    """The data of a YAML text as the engine's loader reads it (`yes` is a word, 12:30 no number). ScenarioError with line."""
    try:
        node = loader._compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise loader._error(
            [loader.Problem(file, line, f"this is not YAML: {error.problem or error.context}")]
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise loader._error([loader.Problem(file, 1, f"this is not YAML: {error}")]) from None
    return None if node is None else loader._construct(node, file, loader._Places(), (), depth=0)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # dashes stand two to the right of their key, as in the packaged files

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = _short(node)
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = _short(node)
        return node


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value.strip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _short(node: yaml.Node) -> bool:
    """Whether it stands on one line: nothing but scalars, or one level of such, and not too long."""
    return _length(node, 0) <= _FLOW


def _length(node: yaml.Node, depth: int) -> int:
    if isinstance(node, yaml.ScalarNode):
        return 10_000 if "\n" in node.value else len(node.value) + sum(ord(letter) > 0x2E80 for letter in node.value)
    if depth > 1:
        return 10_000
    if isinstance(node, yaml.MappingNode):
        return sum(_length(key, depth + 1) + _length(value, depth + 1) + 4 for key, value in node.value)
    return sum(_length(item, depth + 1) + 2 for item in node.value)


def dump(value: Any) -> str:
    """YAML that reads as exactly this value."""
    out = io.StringIO()
    dumper = _Dumper(out, allow_unicode=True, sort_keys=False, width=_WIDTH, default_flow_style=False)
    dumper.open()
    node = dumper.represent_data(value)
    if isinstance(node, yaml.CollectionNode) and node.value:
        node.flow_style = False  # the outermost always in lines of its own
    dumper.serialize(node)
    dumper.close()
    text = out.getvalue()
    if _same(text, value):
        return text
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=_WIDTH, default_flow_style=False)


def rewrite(text: str, new: Mapping[str, Any]) -> str:
    """`text` changed so that it says `new`, with every line that may stay kept."""
    try:
        changed = _rewritten(text, new)
    except (yaml.YAMLError, ScenarioError, ValueError):
        changed = None
    return changed if changed is not None and _same(changed, new) else dump(dict(new))


def _same(text: str, value: Any) -> bool:
    try:
        return _plain(parse(text)) == _plain(value)
    except ScenarioError:
        return False


def _plain(value: Any) -> str:
    """Equal for equal data alone: 1, 1.0 and true differ."""
    return json.dumps(value, ensure_ascii=False, sort_keys=False)


def _rewritten(text: str, new: Mapping[str, Any]) -> str | None:
    root = loader._compose(text)
    old = parse(text)
    if not isinstance(root, yaml.MappingNode) or root.flow_style or not isinstance(old, dict):
        return None
    lines = text.splitlines()
    spans = {key.value: (key, value) for key, value in root.value}
    cuts: list[tuple[int, int, list[str]]] = []  # (first line, line after the last, instead)
    for name, (key, value) in spans.items():
        first, after = key.start_mark.line, _last(value, key.start_mark.line) + 1
        if name not in new:
            cuts.append((first, after, []))
        elif _plain(old[name]) != _plain(new[name]):
            inner = _items(value, old[name], new[name])
            cuts += inner if inner is not None else [(first, after, dump({name: new[name]}).splitlines())]
    for first, after, instead in sorted(cuts, key=lambda cut: (cut[0], cut[1]), reverse=True):
        lines[first:after] = instead
    for name, value in new.items():
        if name not in spans:
            lines += ["", *dump({name: value}).splitlines()]
    return "\n".join(lines) + "\n"


def _items(node: yaml.Node, old: Any, new: Any) -> list[tuple[int, int, list[str]]] | None:
    """Cuts for a list written with dashes, item by item; None when it is not written so."""
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not isinstance(new, list) or not new or not old:
        return None
    places = [(item.start_mark.line, _last(item, item.start_mark.line) + 1) for item in node.value]
    if any(second[0] < first[1] for first, second in itertools.pairwise(places)):
        return None
    indent = " " * node.start_mark.column
    cuts = []
    matcher = difflib.SequenceMatcher(None, [_plain(one) for one in old], [_plain(one) for one in new], autojunk=False)
    for tag, a1, a2, b1, b2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        instead = [f"{indent}{line}" if line else "" for one in new[b1:b2] for line in dump([one]).splitlines()]
        if a1 == a2:
            place = places[a1][0] if a1 < len(places) else places[-1][1]
            cuts.append((place, place, instead))
        else:
            cuts.append((places[a1][0], places[a2 - 1][1], instead))
    return cuts


def _last(node: yaml.Node, above: int) -> int:
    """Line (from 0) on which the node's own text ends; comments behind it are not its own."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        end = node.value[-1]
        inner = end[1] if isinstance(end, tuple) else end
        start = end[0].start_mark.line if isinstance(end, tuple) else node.start_mark.line
        return max(_last(inner, start), start)
    stop = node.end_mark
    if stop.line > node.start_mark.line and stop.column == 0:  # a block scalar ends where the next line begins
        return max(stop.line - 1, above)
    return max(stop.line, above)
