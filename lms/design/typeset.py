"""Documents on paper, set by typst: Chinese typography, rare characters, no network, no system library.

An app brings a template (its own typst folder) and data; everything comes in as one JSON text, so a template reads nothing
else from disk. `data["families"]` is filled here with the Chinese families that are present.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import typst

# Serif for a document's face where Debian's fonts are; the wheel's sans carries every character everywhere.
FAMILIES = (
    "Noto Serif CJK SC",
    "Source Han Serif SC",
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "Noto Sans CJK TC",
)
WHEEL = "cvttf_NotoSansCJK_Regular"


class FontError(RuntimeError):
    """No font with Chinese type is here."""


def font_paths() -> list[str]:
    """Where the wheel with the full Noto Sans CJK was installed."""
    spec = importlib.util.find_spec(WHEEL)
    return [str(Path(spec.origin).parent)] if spec and spec.origin else []


@lru_cache(maxsize=1)
def fonts() -> typst.Fonts:
    """Looked up once per process: reading the system's font files takes longer than setting a page."""
    found = typst.Fonts(include_system_fonts=True, include_embedded_fonts=True, font_paths=font_paths())
    if not set(FAMILIES) & set(found.families()):
        raise FontError(
            "no Chinese font for documents: install Debian's fonts-noto-cjk or the Python wheel cvttf-notosanscjk-regular"
        )
    return found


def pdf(template: Path, data: Mapping[str, Any]) -> bytes:
    known = fonts().families()
    return typst.compile(
        str(template),
        root=str(template.parent),
        format="pdf",
        font_paths=fonts(),
        sys_inputs={
            "data": json.dumps({**data, "families": [name for name in FAMILIES if name in known]}, ensure_ascii=False)
        },
    )
