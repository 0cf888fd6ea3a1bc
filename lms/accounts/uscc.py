"""Unified social credit codes (GB 32100-2015).

python-stdnum's own check wants digits in places 1-8 and so refuses letter-led codes (N.. and Y.. are rural collectives
and others), which this check takes.
"""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


def check_character(body: str) -> str:
    """The 18th character for the first 17 (GB 32100-2015, 5.5)."""
    total = sum(ALPHABET.index(c) * w for c, w in zip(body, WEIGHTS, strict=True))
    return ALPHABET[(31 - total % 31) % 31]


def normalise_uscc(text: str) -> str:
    """Upper case, without blanks and the full-width forms that Chinese input methods produce."""
    return "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in text).replace(" ", "").upper()


def check_uscc(text: str) -> None:
    """Raises ValidationError that says which rule the code breaks."""
    if len(text) != 18:
        raise ValidationError(_("统一社会信用代码应为 18 位，这里是 %(n)s 位。") % {"n": len(text)}, code="length")
    strange = [c for c in text if c not in ALPHABET]
    if strange:
        raise ValidationError(
            _("统一社会信用代码不使用字符“%(c)s”（不含 I、O、Z、S、V）。") % {"c": strange[0]}, code="alphabet"
        )
    if not text[2:8].isdigit():
        raise ValidationError(_("统一社会信用代码第 3–8 位应为登记机关区划码（数字）。"), code="region")
    if text[17] != check_character(text[:17]):
        raise ValidationError(_("统一社会信用代码校验位不符，请核对是否抄错。"), code="check")
