"""Looking into one buffer: content, pcre, byte_test, byte_jump, isdataat, bsize, in the order written, with one cursor.

As in Suricata a later relative keyword may make an earlier content try its next occurrence; how often is bounded, so
that no payload can make a rule costly.
"""

from __future__ import annotations

import re
import re._constants as sre  # the parser's opcodes: the only way to see a pattern's shape before it runs
import re._parser as sre_parser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cyber_range.engine.sensor.rules.text import Unsupported

STEPS = 400  # occurrences tried for one rule on one buffer
PCRE_LENGTH = 600  # characters of a pattern
# Bytes a pattern is tried on, by how many unbounded repeats it has: n repeats can cost bytes ** (n + 1) steps.
PCRE_BYTES = {0: 8192, 1: 2048, 2: 512}
UNBOUNDED = 64  # a repeat that may go further counts as unbounded


@dataclass(frozen=True, slots=True)
class Content:
    pattern: bytes  # lower case when `nocase`
    negated: bool = False
    nocase: bool = False
    offset: int = 0
    depth: int | None = None  # counted from offset
    distance: int | None = None
    within: int | None = None
    ends: bool = False
    fast: bool = False

    @property
    def relative(self) -> bool:
        return self.distance is not None or self.within is not None

    def limits(self, cursor: int, size: int) -> tuple[int, int]:
        """First and last + 1 byte the pattern may cover."""
        first, last = self.offset, size
        if self.depth is not None:
            last = min(last, self.offset + self.depth)
        if self.relative:
            shift = self.distance or 0
            first = max(first, cursor + shift, 0)
            if self.within is not None:
                last = min(last, cursor + shift + self.within)
        if self.ends:
            first = max(first, size - len(self.pattern))
        return first, last


@dataclass(frozen=True, slots=True)
class Pcre:
    pattern: re.Pattern[bytes]
    negated: bool
    relative: bool
    most: int


@dataclass(frozen=True, slots=True)
class ByteTest:
    size: int
    compare: Callable[[int, int], bool]
    negated: bool
    value: int
    offset: int
    relative: bool
    little: bool
    base: int  # 0: binary
    mask: int


@dataclass(frozen=True, slots=True)
class ByteJump:
    size: int
    offset: int
    relative: bool
    little: bool
    base: int
    multiplier: int
    align: bool
    start: str  # "", "beginning", "end"
    post: int


@dataclass(frozen=True, slots=True)
class DataAt:
    at: int
    negated: bool
    relative: bool


@dataclass(frozen=True, slots=True)
class Size:
    low: int
    high: int


Step = Content | Pcre | ByteTest | ByteJump | DataAt | Size


def found(steps: Sequence[Step], data: bytes) -> bool:
    """Whether all steps hold on `data`."""
    lower = data.lower() if any(isinstance(step, Content) and step.nocase for step in steps) else data
    budget = [STEPS]
    return _walk(steps, 0, data, lower, 0, budget)


def _walk(steps: Sequence[Step], index: int, data: bytes, lower: bytes, cursor: int, budget: list[int]) -> bool:
    if index == len(steps):
        return True
    step = steps[index]
    if isinstance(step, Content):
        return _content(step, steps, index, data, lower, cursor, budget)
    if isinstance(step, Pcre):
        start = cursor if step.relative else 0
        match = step.pattern.search(data[start : start + step.most])  # cut out, so that ^ means the cursor
        if (match is None) is not step.negated:
            return False
        return _walk(steps, index + 1, data, lower, start + match.end() if match else cursor, budget)
    if isinstance(step, ByteTest):
        value = number(data, (cursor if step.relative else 0) + step.offset, step.size, step.little, step.base)
        if value is None:
            return False
        if step.mask:
            value = (value & step.mask) >> _zeros(step.mask)
        if step.compare(value, step.value) is step.negated:
            return False
    elif isinstance(step, ByteJump):
        at = (cursor if step.relative else 0) + step.offset
        value = number(data, at, step.size, step.little, step.base) if step.size else 0
        if value is None:
            return False
        value *= step.multiplier
        if step.align:
            value += -value % 4
        base = {"beginning": 0, "end": len(data)}.get(step.start, at + step.size)
        cursor = base + value + step.post
        if not 0 <= cursor <= len(data):
            return False
    elif isinstance(step, DataAt):
        there = cursor + step.at <= len(data) if step.relative else step.at < len(data)
        if there is step.negated:
            return False
    elif not step.low <= len(data) <= step.high:
        return False
    return _walk(steps, index + 1, data, lower, cursor, budget)


def _content(
    step: Content, steps: Sequence[Step], index: int, data: bytes, lower: bytes, cursor: int, budget: list[int]
) -> bool:
    first, last = step.limits(cursor, len(data))
    where = lower if step.nocase else data
    if step.negated:
        if last - first >= len(step.pattern) and where.find(step.pattern, first, last) >= 0:
            return False
        return _walk(steps, index + 1, data, lower, cursor, budget)
    # Another occurrence can only help when something later depends on where this one ended.
    depends = index + 1 < len(steps) and any(getattr(later, "relative", False) for later in steps[index + 1 :])
    while last - first >= len(step.pattern):
        at = where.find(step.pattern, first, last)
        if at < 0:
            return False
        budget[0] -= 1
        if _walk(steps, index + 1, data, lower, at + len(step.pattern), budget):
            return True
        if not depends or budget[0] <= 0:
            return False
        first = at + 1
    return False


def number(data: bytes, at: int, size: int, little: bool, base: int) -> int | None:
    """Binary, or digits in `base` with blanks before; None outside of the buffer or without digits."""
    if at < 0 or at + size > len(data):
        return None
    raw = data[at : at + size]
    if not base:
        return int.from_bytes(raw, "little" if little else "big")
    digits = b"0123456789abcdef"[:base]
    kept = b""
    for letter in raw.lower().lstrip():
        if letter not in digits:
            break
        kept += bytes([letter])
    return int(kept, base) if kept else None


def _zeros(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


FLAGS = {"i": re.IGNORECASE, "s": re.DOTALL, "m": re.MULTILINE, "x": re.VERBOSE}
BUFFERS = {"U": "http.uri", "I": "http.uri.raw", "P": "http.request_body", "H": "http.header", "M": "http.method",
           "C": "http.cookie", "S": "http.stat_code", "Y": "http.stat_msg", "V": "http.user_agent", "W": "http.host"}  # fmt: skip


def pcre(text: str, negated: bool) -> tuple[Pcre, str | None]:
    """(step, buffer named by an old one-letter flag) of /pattern/flags."""
    end = text.rfind("/")
    if not text.startswith("/") or end <= 0:
        raise Unsupported("pcre", "the pattern must stand between slashes")
    body, letters = text[1:end], text[end + 1 :]
    if len(body) > PCRE_LENGTH:
        raise Unsupported("pcre", f"longer than {PCRE_LENGTH} characters")
    flags, relative, buffer = re.RegexFlag(0), False, None
    for letter in letters:
        if letter in FLAGS:
            flags |= FLAGS[letter]
        elif letter == "R":
            relative = True
        elif letter in BUFFERS:
            buffer = BUFFERS[letter]
        else:
            raise Unsupported("pcre", f"flag {letter!r}")
    body = body.replace('\\"', '"').replace("\\;", ";").replace("\\/", "/")
    try:
        raw = body.encode("latin-1")
        repeats = unbounded(sre_parser.parse(raw, flags), 0)
        pattern = re.compile(raw, flags)
    except Unsupported:
        raise
    except (ValueError, OverflowError, RecursionError, re.error) as exc:
        raise Unsupported("pcre", f"Python's re does not take it: {exc}") from None
    if repeats not in PCRE_BYTES:
        raise Unsupported("pcre", f"{repeats} unbounded repeats; {max(PCRE_BYTES)} are the most")
    return Pcre(pattern, negated, relative, PCRE_BYTES[repeats]), buffer


def unbounded(parsed: Any, depth: int) -> int:
    """How many repeats of the pattern have no small limit; one inside another is refused, as are lookarounds and backreferences."""
    count = 0
    for operation, argument in parsed:
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            _, most, inner = argument
            large = most == sre.MAXREPEAT or most > UNBOUNDED
            if large and depth:
                raise Unsupported("pcre", "an unbounded repeat inside a repeat")
            count += large + unbounded(inner, depth + (most == sre.MAXREPEAT or most > 4))
        elif operation is sre.SUBPATTERN:
            count += unbounded(argument[-1], depth)
        elif operation is sre.BRANCH:
            count += sum(unbounded(branch, depth) for branch in argument[1])
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            raise Unsupported("pcre", "lookahead and lookbehind")
        elif operation in (sre.GROUPREF, sre.GROUPREF_EXISTS):
            raise Unsupported("pcre", "backreferences")
        elif operation is sre.ATOMIC_GROUP:
            count += unbounded(argument, depth)
    return count
