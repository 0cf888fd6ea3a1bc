"""A rules file cut into rules: header words and options, in the notation of Suricata 7's rule language.

Only cutting happens here; what words mean is decided in `header` and `keywords`. A line that cannot be cut is a
`Problem`, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ACTIONS = ("alert", "pass", "drop", "reject", "rejectsrc", "rejectdst", "rejectboth", "log", "config")
RULE_LIMIT = 16 * 1024  # characters of one rule
RULES_LIMIT = 50_000


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that was left out, and why. `keyword` is the word that is not supported or not understood."""

    file: str
    line: int
    sid: int
    keyword: str
    reason: str

    def as_dict(self) -> dict[str, str | int]:
        return {"file": self.file, "line": self.line, "sid": self.sid, "keyword": self.keyword, "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: sid {self.sid or '?'}: {self.keyword}: {self.reason}"


class Unsupported(Exception):
    """A keyword, or a form of one, that this engine does not have."""

    def __init__(self, keyword: str, reason: str) -> None:
        super().__init__(f"{keyword}: {reason}")
        self.keyword, self.reason = keyword, reason


@dataclass(frozen=True, slots=True)
class Written:
    """One rule as it stands in the file."""

    line: int
    action: str
    proto: str
    src: str
    sport: str
    direction: str
    dst: str
    dport: str
    options: tuple[tuple[str, str], ...]
    text: str


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, rule text): comments and blank lines left out, lines ending in a backslash joined."""
    held, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not held and (not line or line.startswith("#")):
            continue
        first = first or number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        yield first, held + line
        held, first = "", 0
    if held.strip():
        yield first, held


def cut(line: int, text: str) -> Written:
    """Raises Unsupported with what stands in the way."""
    if len(text) > RULE_LIMIT:
        raise Unsupported("rule", f"longer than {RULE_LIMIT} characters")
    opening = text.find("(")
    if opening < 0 or not text.rstrip().endswith(")"):
        raise Unsupported("rule", "its options are not in parentheses")
    words = _header_words(text[:opening])
    if len(words) != 7:
        raise Unsupported(
            "header", f"it has {len(words)} words; action, protocol, source, port, ->, target, port are 7"
        )
    action, proto, src, sport, direction, dst, dport = words
    if action not in ACTIONS:
        raise Unsupported("action", f"{action!r} is none of {', '.join(ACTIONS)}")
    if direction not in ("->", "<>"):
        raise Unsupported("direction", f"{direction!r}: only -> and <> are directions")
    options = tuple(_options(text.rstrip()[opening + 1 : -1]))
    return Written(line, action, proto.lower(), src, sport, direction, dst, dport, options, text)


def _header_words(text: str) -> list[str]:
    """Words divided by blanks; brackets hold their blanks together."""
    words: list[str] = []
    word, depth = "", 0
    for letter in text:
        if letter.isspace() and depth == 0:
            if word:
                words.append(word)
            word = ""
            continue
        depth += (letter == "[") - (letter == "]")
        if not letter.isspace():
            word += letter
    return [*words, word] if word else words


def _options(text: str) -> Iterator[tuple[str, str]]:
    """(keyword, value) of `keyword:value;` and `keyword;`. Backslash escapes and quotes hide semicolons."""
    piece, quoted, escaped = "", False, False
    for letter in text:
        if escaped:
            piece, escaped = piece + letter, False
        elif letter == "\\":
            piece, escaped = piece + letter, True
        elif letter == '"':
            piece, quoted = piece + letter, not quoted
        elif letter == ";" and not quoted:
            if piece.strip():
                yield _pair(piece)
            piece = ""
        else:
            piece += letter
    if quoted:
        raise Unsupported("rule", "a quotation mark is never closed")
    if piece.strip():
        raise Unsupported(_pair(piece)[0], "the option does not end in ;")


def _pair(piece: str) -> tuple[str, str]:
    keyword, _, value = piece.partition(":")
    return keyword.strip().lower(), value.strip()


def sid_of(text: str) -> int:
    """The sid of a rule that may be damaged elsewhere, for the report; 0 when there is none."""
    at = text.find("sid:")
    digits = ""
    for letter in text[at + 4 : at + 20].strip() if at >= 0 else "":
        if letter not in "0123456789":
            break
        digits += letter
    return int(digits) if digits else 0


def unquoted(keyword: str, value: str) -> tuple[str, bool]:
    """(inside of the quotation marks, whether a ! stood before)."""
    negated = value.startswith("!")
    value = value[1:].strip() if negated else value
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        raise Unsupported(keyword, "its value must stand in quotation marks")
    return value[1:-1], negated


def pattern(keyword: str, text: str) -> bytes:
    r"""Bytes of a content: plain letters, |hex|, and \ before ; : " \ as Suricata has it."""
    found = bytearray()
    at = 0
    while at < len(text):
        letter = text[at]
        if letter == "|":
            end = text.find("|", at + 1)
            if end < 0:
                raise Unsupported(keyword, "a | without its second |")
            digits = "".join(text[at + 1 : end].split())
            try:
                found += bytes.fromhex(digits)
            except ValueError:
                raise Unsupported(keyword, f"|{digits[:20]}| is no sequence of hexadecimal bytes") from None
            at = end + 1
        elif letter == "\\":
            if at + 1 >= len(text):
                raise Unsupported(keyword, "a backslash with nothing behind")
            found += text[at + 1].encode()
            at += 2
        else:
            found += letter.encode()
            at += 1
    if not found:
        raise Unsupported(keyword, "an empty content")
    return bytes(found)
