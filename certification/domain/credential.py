"""Numbers that catch a typing mistake, check codes that cannot be guessed, dates and the status on a day."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from calendar import monthrange
from datetime import date, timedelta
from enum import Enum

# Crockford's base 32: no I, L, O, U; what people type instead is read as what was meant.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH = 13  # 65 bits
MEANT = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "\u3000": None})
NUMBER_DIGITS = 10


class Status(Enum):
    NOT_YET = "not_yet"
    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REISSUED = "reissued"


def new_number(year: int) -> str:
    """LB26-4827-1590-3397: year, ten random digits, two check digits (ISO 7064 mod 97-10). Says nothing about how many."""
    body = f"{year % 100:02}{secrets.randbelow(10**NUMBER_DIGITS):0{NUMBER_DIGITS}}"
    return _grouped(body + _check_digits(body))


def read_number(text: str) -> str | None:
    """The number as we write it, from whatever a person typed; None when a digit must be wrong."""
    digits = "".join(character for character in _narrow(text).upper() if character.isascii() and character.isdigit())
    if len(digits) != 2 + NUMBER_DIGITS + 2 or _check_digits(digits[:-2]) != digits[-2:]:
        return None
    return _grouped(digits)


def new_check_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def read_check_code(text: str) -> str | None:
    code = _narrow(text).upper().translate(MEANT)
    if len(code) != CODE_LENGTH or any(character not in ALPHABET for character in code):
        return None
    return code


def shown_check_code(code: str) -> str:
    """7K2M-9QXA-4TB0W"""
    return f"{code[:4]}-{code[4:8]}-{code[8:]}"


def check_code_hash(number: str, code: str) -> str:
    """What the database keeps. 65 random bits need no slow hash; the number keeps equal codes apart."""
    return hashlib.sha256(f"{number}:{code}".encode()).hexdigest()


def check_code_fits(number: str, code: str, stored: str) -> bool:
    return hmac.compare_digest(check_code_hash(number, code), stored)


def add_months(day: date, months: int) -> date:
    """31 January + 1 month = 28 (29) February."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def last_valid_day(issued_on: date, months: int | None) -> date | None:
    """Issued on 23 November 2026 for 24 months: the last valid day is 22 November 2028. None = without end."""
    return None if not months else add_months(issued_on, months) - timedelta(days=1)


def status_on(
    day: date, *, issued_on: date, expires_on: date | None, revoked_on: date | None, reissued_on: date | None
) -> Status:
    """What the certificate was on that day. A revoked one stays revoked after its term; a replaced one points on."""
    if day < issued_on:
        return Status.NOT_YET
    if revoked_on is not None and day >= revoked_on:
        return Status.REVOKED
    if reissued_on is not None and day >= reissued_on:
        return Status.REISSUED
    if expires_on is not None and day > expires_on:
        return Status.EXPIRED
    return Status.VALID


def _check_digits(body: str) -> str:
    return f"{98 - int(body) * 100 % 97:02}"


def _grouped(digits: str) -> str:
    return f"LB{digits[:2]}-{digits[2:6]}-{digits[6:10]}-{digits[10:]}"


def _narrow(text: str) -> str:
    """Full-width letters and digits, as Chinese keyboards give them, made narrow."""
    return "".join(chr(ord(c) - 0xFEE0) if 0xFF01 <= ord(c) <= 0xFF5E else c for c in text)
