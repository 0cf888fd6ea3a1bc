"""Judging what a team hands in. Pure."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Any

from cyber_range.engine.scenario.model import SubmissionCheck

LONGEST = 500  # characters of one submission


def is_right(check: SubmissionCheck, value: Any) -> bool:
    """Whether `value` answers the check. Width, case and blanks of typed text do not matter (１０．０ is 10.0)."""
    wanted = check.answer if isinstance(check.answer, list | tuple) and check.match != "set" else [check.answer]
    return any(_same(check, answer, value) for answer in wanted)


def plain(value: Any) -> str:
    """Text as it is compared: NFKC, one blank between words, no case."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", str(value))).strip().casefold()


def _same(check: SubmissionCheck, answer: Any, value: Any) -> bool:
    if check.match == "ip":
        try:
            return ipaddress.ip_address(plain(value)) == ipaddress.ip_address(plain(answer))
        except ValueError:
            return False
    if check.match == "number":
        try:
            return abs(float(plain(value)) - float(plain(answer))) <= check.tolerance + 1e-9
        except ValueError:
            return False
    if check.match == "set":
        return _members(value) == _members(answer)
    return plain(answer) == plain(value)


def _members(value: Any) -> frozenset[str]:
    parts = value if isinstance(value, list | tuple) else re.split(r"[,，;；、\s]+", str(value))
    return frozenset(plain(part) for part in parts if plain(part))
