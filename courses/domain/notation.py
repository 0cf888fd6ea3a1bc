"""A question's choices and key as trainers write them: a few plain lines, no clicking.

  single, multiple   one option a line; right ones begin with "+", the others with "-"
  truefalse          正确 or 错误
  numeric            3.5, or 3.5 ± 0.1, with a unit behind it if there is one: 500 ± 5 毫升
  matching           left = right, one pair a line
  ordering           one item a line, in the right order

`parse` and `write` undo each other. Options get the ids a, b, c …; these stay on the server (an exam hands out opaque ones).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from courses.domain.grading import Kind, read_number

MOST = 12  # options, pairs or items: more than that nobody reads on a phone
NUMBER = re.compile(r"^\s*([+-]?[\d,]*\.?\d+(?:[eE][+-]?\d+)?)\s*(?:(?:±|\+-|\+/-)\s*(\d*\.?\d+))?\s*(.*)$")
YES, NO = ("正确", "对", "true"), ("错误", "错", "false")


class NotationError(ValueError):
    """What is wrong in which line, and how it should look."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`content` is what may be shown; `key` never leaves the server during an exam."""

    content: dict[str, Any]
    key: Any


def _plain(text: str) -> str:
    """Full-width signs and digits, as Chinese keyboards make them, in their plain form."""
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-")


def letter(place: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[place]


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def parse(kind: str, text: str) -> Asked:
    lines = _lines(text)
    if not lines:
        raise NotationError("这里不能为空。")
    if len(lines) > MOST:
        raise NotationError(f"最多 {MOST} 行，现在有 {len(lines)} 行。")
    return PARSERS[Kind(kind)](lines)


def options(texts: list[str]) -> list[dict[str, str]]:
    return [{"id": letter(place), "text": text} for place, text in enumerate(texts)]


def _choices(lines: list[tuple[int, str]]) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    right: list[str] = []
    for number, line in lines:
        mark, text = _plain(line[0]), line[1:].strip()
        if mark not in "+-" or not text:
            raise NotationError(f"第 {number} 行：每行一个选项，正确的以 + 开头，其余以 - 开头，后面写文字。")
        if text in texts:
            raise NotationError(f"第 {number} 行：选项“{text}”重复了。")
        if mark == "+":
            right.append(letter(len(texts)))
        texts.append(text)
    if len(texts) < 2:
        raise NotationError("至少要有两个选项。")
    return texts, right


def _single(lines: list[tuple[int, str]]) -> Asked:
    texts, right = _choices(lines)
    if len(right) != 1:
        raise NotationError(f"单选题要有且只有一个以 + 开头的正确选项，现在有 {len(right)} 个。")
    return Asked({"options": options(texts)}, right[0])


def _multiple(lines: list[tuple[int, str]]) -> Asked:
    texts, right = _choices(lines)
    if not right:
        raise NotationError("多选题至少要有一个以 + 开头的正确选项。")
    return Asked({"options": options(texts)}, right)


def _truefalse(lines: list[tuple[int, str]]) -> Asked:
    word = lines[0][1].lower()
    if len(lines) > 1 or word not in YES + NO:
        raise NotationError("判断题只写“正确”或“错误”。")
    return Asked({}, word in YES)


def _numeric(lines: list[tuple[int, str]]) -> Asked:
    match = NUMBER.match(_plain(lines[0][1]))
    value = read_number(match[1]) if match else None
    if match is None or value is None or len(lines) > 1:
        raise NotationError("数值题写一行：数值，或 数值 ± 允许误差，后面可写单位。例：500 ± 5 毫升")
    return numeric(str(value), match[2] or "0", match[3].strip())


def numeric(value: str, tolerance: str, unit: str) -> Asked:
    return Asked({"unit": unit} if unit else {}, {"value": value, "tolerance": tolerance})


def _matching(lines: list[tuple[int, str]]) -> Asked:
    pairs = []
    for number, line in lines:
        left, equals, right = line.replace("\uff1d", "=").partition("=")
        if not equals or not left.strip() or not right.strip():
            raise NotationError(f"第 {number} 行：配对写成“左 = 右”。")
        pairs.append((left.strip(), right.strip()))
    return matching(pairs)


def matching(pairs: list[tuple[str, str]]) -> Asked:
    """Equal right sides are one choice, so that both lefts may rightly take it."""
    if len(pairs) < 2:
        raise NotationError("配对题至少要有两对。")
    if len({left for left, _ in pairs}) < len(pairs):
        raise NotationError("配对题的左边不能重复。")
    rights = list(dict.fromkeys(right for _, right in pairs))
    return Asked(
        {
            "left": [{"id": f"l{place}", "text": left} for place, (left, _) in enumerate(pairs)],
            "right": [{"id": f"r{place}", "text": right} for place, right in enumerate(rights)],
        },
        {f"l{place}": f"r{rights.index(right)}" for place, (_, right) in enumerate(pairs)},
    )


def _ordering(lines: list[tuple[int, str]]) -> Asked:
    return ordering([line for _, line in lines])


def ordering(texts: list[str]) -> Asked:
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise NotationError("排序题至少要有两项，且各不相同。")
    return Asked({"items": options(texts)}, [letter(place) for place in range(len(texts))])


PARSERS = {
    Kind.SINGLE: _single,
    Kind.MULTIPLE: _multiple,
    Kind.TRUEFALSE: _truefalse,
    Kind.NUMERIC: _numeric,
    Kind.MATCHING: _matching,
    Kind.ORDERING: _ordering,
}


def write(kind: str, content: dict[str, Any], key: Any) -> str:
    """The lines `parse` reads."""
    match Kind(kind):
        case Kind.SINGLE | Kind.MULTIPLE:
            right = {key} if isinstance(key, str) else set(key)
            return "\n".join(
                f"{'+' if option['id'] in right else '-'} {option['text']}" for option in content["options"]
            )
        case Kind.TRUEFALSE:
            return YES[0] if key else NO[0]
        case Kind.NUMERIC:
            tolerance = "" if key["tolerance"] in ("", "0") else f" ± {key['tolerance']}"
            unit = f" {content['unit']}" if content.get("unit") else ""
            return f"{key['value']}{tolerance}{unit}"
        case Kind.MATCHING:
            right_texts = {right["id"]: right["text"] for right in content["right"]}
            return "\n".join(f"{left['text']} = {right_texts[key[left['id']]]}" for left in content["left"])
        case Kind.ORDERING:
            texts = {item["id"]: item["text"] for item in content["items"]}
            return "\n".join(texts[id_] for id_ in key)


def key_text(kind: str, content: dict[str, Any], key: Any) -> str:
    """The right answer as a sentence, for trainers and for feedback in lessons (never in exams)."""
    match Kind(kind):
        case Kind.SINGLE | Kind.MULTIPLE:
            right = {key} if isinstance(key, str) else set(key)
            return ";".join(option["text"] for option in content["options"] if option["id"] in right)
        case Kind.MATCHING | Kind.ORDERING:
            joint = ";" if kind == Kind.MATCHING else " → "
            return joint.join(write(kind, content, key).splitlines())
        case _:
            return write(kind, content, key)
