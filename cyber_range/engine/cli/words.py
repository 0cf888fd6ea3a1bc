"""Chinese or English, as the terminal's locale says; `LIANBING_LANG` decides over it."""

from __future__ import annotations

import os
import sys


def chinese() -> bool:
    for name in ("LIANBING_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return value.lower().startswith("zh")
    return False


def say(zh: str, en: str) -> str:
    return zh if chinese() else en


def tell(zh: str, en: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(say(zh, en) + "\n")
    sys.stdout.flush()


def text_of(both: dict[str, str]) -> str:
    """A scenario's text in the language of the terminal."""
    return both["zh"] if chinese() or not both.get("en") else both["en"]
