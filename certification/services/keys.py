"""Signing keys: made at first use, one current per purpose, published for ever."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.db import IntegrityError, transaction

from certification.models import SigningKey
from certification.sealing import seal, unseal

USE = "signing key"


def current_key(purpose: str) -> SigningKey:
    """The key that signs now. Two processes that need the first one at once agree on one."""
    key = SigningKey.objects.filter(purpose=purpose, retired_at=None).first()
    if key is not None:
        return key
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)}
    kid = _base64url(
        hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
    )  # RFC 7638
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with transaction.atomic():
            return SigningKey.objects.create(
                kid=kid,
                purpose=purpose,
                public_jwk={**jwk, "kid": kid, "use": "sig", "alg": "EdDSA"},
                private_sealed=seal(pem, use=USE),
            )
    except IntegrityError:
        return SigningKey.objects.get(purpose=purpose, retired_at=None)


def private_pem(key: SigningKey) -> bytes:
    return unseal(key.private_sealed, use=USE)


def public_keys() -> dict[str, Any]:
    """A JWK set of all keys that ever signed: old certificates stay checkable."""
    return {"keys": list(SigningKey.objects.order_by("pk").values_list("public_jwk", flat=True))}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
