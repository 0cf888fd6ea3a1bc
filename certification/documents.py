"""The printed certificate, set by typst: Chinese typography, rare characters, QR. No network, no system library."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import segno
import typst

from certification.badges import Proof

TEMPLATE = Path(__file__).resolve().parent / "typst" / "certificate.typ"
# Serif for the certificate's face where Debian's fonts are; the wheel's sans carries every character everywhere.
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


@dataclass(frozen=True, slots=True)
class CertificateText:
    number: str
    title: str
    kind: str
    holder: str
    standard_title: str
    standard: str
    occupation: str
    level: str
    issued_on: date
    expires_on: date | None
    proven: list[Proof]
    issuer: str
    notice: str
    check_code: str
    url: str
    verify_page: str
    is_demo: bool


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


def qr_svg(text: str) -> str:
    """Error correction Q: a quarter may be worn off a print and it still reads."""
    out = io.BytesIO()
    segno.make(text, error="q", micro=False).save(
        out, kind="svg", border=2, xmldecl=False, svgns=True, dark="#0b3b37", omitsize=True
    )
    return out.getvalue().decode()


def chinese_date(day: date | None) -> str:
    return f"{day.year}年{day.month}月{day.day}日" if day else "长期有效"


def certificate_pdf(text: CertificateText) -> bytes:
    data: dict[str, Any] = {
        "number": text.number,
        "title": text.title,
        "kind": text.kind,
        "holder": text.holder,
        "standard_title": text.standard_title,
        "standard": text.standard,
        "occupation": text.occupation,
        "level": text.level,
        "issued_on": chinese_date(text.issued_on),
        "expires_on": chinese_date(text.expires_on),
        "proven": [[p.name, p.narrative] for p in text.proven],
        "issuer": text.issuer,
        "notice": text.notice,
        "check_code": text.check_code,
        "verify_page": text.verify_page,
        "qr": qr_svg(text.url),
        "families": [name for name in FAMILIES if name in fonts().families()],
        "demo": text.is_demo,
    }
    return typst.compile(
        str(TEMPLATE),
        root=str(TEMPLATE.parent),
        format="pdf",
        font_paths=fonts(),
        sys_inputs={"data": json.dumps(data, ensure_ascii=False)},
    )
