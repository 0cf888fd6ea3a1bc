"""The printed certificate, set by typst: Chinese typography, rare characters, QR. No network, no system library."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import segno

from certification.badges import Proof
from lms.design.typeset import pdf

TEMPLATE = Path(__file__).resolve().parent / "typst" / "certificate.typ"


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
        "demo": text.is_demo,
    }
    return pdf(TEMPLATE, data)
