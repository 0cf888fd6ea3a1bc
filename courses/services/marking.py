"""Shares as they are stored."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction


def as_decimal(share: Fraction) -> Decimal:
    """Four decimals are stored; marks are always computed again from answer and key."""
    return (Decimal(share.numerator) / Decimal(share.denominator)).quantize(Decimal("0.0001"))
