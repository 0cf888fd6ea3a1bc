"""Small secrets kept in the database: sealed with a key drawn from SECRET_KEY, so that a copy of the tables opens nothing.

After a change of SECRET_KEY the old one stays in SECRET_KEY_FALLBACKS, as Django wants it for sessions.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

NONCE = 12


class SealError(RuntimeError):
    """The seal was made with a key this installation no longer has."""


def _cipher(secret: str, use: str) -> AESGCM:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=b"lianbing.certification", info=use.encode())
    return AESGCM(kdf.derive(secret.encode()))


def seal(plain: bytes, *, use: str) -> bytes:
    """`use` binds the seal to its place: a sealed check code does not open as a signing key."""
    nonce = os.urandom(NONCE)
    return nonce + _cipher(settings.SECRET_KEY, use).encrypt(nonce, plain, use.encode())


def unseal(sealed: bytes, *, use: str) -> bytes:
    sealed = bytes(sealed)
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(secret, use).decrypt(sealed[:NONCE], sealed[NONCE:], use.encode())
        except InvalidTag:
            continue
    raise SealError(
        f"cannot open a sealed {use}: SECRET_KEY was changed; put the former key into SECRET_KEY_FALLBACKS and start again"
    )
