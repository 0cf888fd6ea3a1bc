"""Signing keys: made at first use, one current per purpose, published for ever, replaced by a verb.

Private halves lie in the database, sealed with a key drawn from SECRET_KEY (a 0600 file of the state folder, or the
operator's own); no key is ever a file of the repository. After a rotation the old public half stays published, so what it
signed stays checkable.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.db import IntegrityError, transaction
from django.utils import timezone

from certification.models import SigningKey
from certification.sealing import seal, unseal
from certification.signing import self_signed
from certification.wording import ISSUER_NAME
from lms.accounts import audit
from lms.accounts.models import User

USE = "signing key"


def current_key(purpose: str) -> SigningKey:
    """The key that signs now. Two processes that need the first one at once agree on one."""
    key = SigningKey.objects.filter(purpose=purpose, retired_at=None).first()
    if key is not None:
        return key
    try:
        with transaction.atomic():
            return _make(purpose, timezone.now())
    except IntegrityError:
        return SigningKey.objects.get(purpose=purpose, retired_at=None)


@transaction.atomic
def rotate_key(*, purpose: str, by: User | None, now: datetime | None = None) -> SigningKey:
    """From now on a new key signs; the old one signs no more and stays published. What was signed is not signed again."""
    now = now or timezone.now()
    SigningKey.objects.select_for_update().filter(purpose=purpose, retired_at=None).update(retired_at=now)
    key = _make(purpose, now)
    audit.record("signing_key.rotated", key, by=by, purpose=purpose, kid=key.kid)
    return key


def _make(purpose: str, now: datetime) -> SigningKey:
    pem, jwk, algorithm = _document_pair() if purpose == SigningKey.Purpose.DOCUMENT else _badge_pair()
    kid = _base64url(
        hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
    )  # RFC 7638
    return SigningKey.objects.create(
        kid=kid,
        purpose=purpose,
        public_jwk={**jwk, "kid": kid, "use": "sig", "alg": algorithm},
        private_sealed=seal(pem, use=USE),
        certificate=self_signed(pem, name=ISSUER_NAME, kid=kid, now=now)
        if purpose == SigningKey.Purpose.DOCUMENT
        else "",
        created_at=now,
    )


def _badge_pair() -> tuple[bytes, dict[str, str], str]:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)}, "EdDSA"


def _document_pair() -> tuple[bytes, dict[str, str], str]:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return pem, {"kty": "EC", "crv": "P-256", "x": x, "y": y}, "ES256"


def private_pem(key: SigningKey) -> bytes:
    return unseal(key.private_sealed, use=USE)


def public_keys() -> dict[str, Any]:
    """A JWK set of all keys that ever signed badges or releases: old certificates stay checkable."""
    keys = SigningKey.objects.exclude(purpose=SigningKey.Purpose.DOCUMENT)
    return {"keys": list(keys.order_by("pk").values_list("public_jwk", flat=True))}


def document_keys() -> list[SigningKey]:
    """Every key that ever signed a PDF, the present one first. None before the first certificate is printed."""
    return list(SigningKey.objects.filter(purpose=SigningKey.Purpose.DOCUMENT).order_by("-pk"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
