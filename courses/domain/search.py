"""Chinese search without a dictionary: overlapping pairs and single characters, the same on text and on query.

The stock backends find no Chinese inside a word (facts/domain.md section 7), and a dictionary cuts a query otherwise than
the text it was indexed from. Pairs find every contiguous piece of two characters or more, single characters find the rest.
"""

from __future__ import annotations

import re
import unicodedata

HAN = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
RUNS = re.compile(f"([{HAN}]+)|([a-z0-9]+)")


def _runs(text: str) -> list[tuple[str, bool]]:
    """(run, is Chinese) in order. Full-width letters and digits count as their plain forms."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return [(han or latin, bool(han)) for han, latin in RUNS.findall(plain)]


def index_text(*texts: str) -> str:
    """What is stored: every token between spaces, each once, e.g. " 数据 据安 安全 数 据 安 全 plc "."""
    tokens: dict[str, None] = {}
    for text in texts:
        for run, han in _runs(text):
            if not han:
                tokens[run] = None
                continue
            tokens.update(dict.fromkeys(run[i : i + 2] for i in range(len(run) - 1)))
            tokens.update(dict.fromkeys(run))
    return f" {' '.join(tokens)} " if tokens else ""


def query_needles(query: str) -> list[str]:
    """What must all be contained in the stored text. Latin words match from their beginning: "mod" finds Modbus."""
    needles: dict[str, None] = {}
    for run, han in _runs(query):
        if not han:
            needles[f" {run}"] = None
        elif len(run) == 1:
            needles[f" {run} "] = None
        else:
            needles.update(dict.fromkeys(f" {run[i : i + 2]} " for i in range(len(run) - 1)))
    return list(needles)


def query_words(query: str) -> list[str]:
    """The user's words as typed, for ranking by title."""
    return unicodedata.normalize("NFKC", query).lower().split()
