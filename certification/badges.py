"""Open Badges 3.0: the only module that speaks openbadgeslib, so that another library can take its place.

A badge is a JWT signed with Ed25519 (VC-JWT). It says what was achieved, by which standard, on which evidence in a summary,
and where to ask whether it still stands. It holds no name, no score of others and no event of a drill: the holder is a
salted hash of his pseudonymous id, which only he (by signing in) and this platform can tie to a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from openbadgeslib.ob3 import (
    Achievement,
    Alignment,
    Evidence,
    IdentityObject,
    Issuer,
    OB3Signer,
    OpenBadgeCredential,
    build_status_list_credential,
    sign_status_list_credential,
    status_entry,
)

ALGORITHM = "EdDSA"
STATUS_LIST_DAYS = 2  # a copy older than this is refused by careful readers


@dataclass(frozen=True, slots=True)
class Proof:
    """One line of the evidence summary."""

    name: str
    narrative: str
    genre: str


@dataclass(frozen=True, slots=True)
class BadgeFacts:
    """Everything a badge says. Addresses are absolute."""

    badge_id: str
    achievement_url: str
    title: str
    description: str
    criteria: str
    framework: str
    standard_code: str
    standard_url: str
    issuer_url: str
    issuer_name: str
    issuer_site: str
    person: str
    salt: str
    issued_at: datetime
    valid_until: datetime | None
    status_list_url: str
    status_index: int
    proofs: tuple[Proof, ...]


def identity_hash(person: str, salt: str) -> str:
    """`sha256$` + hash of id and salt, as Open Badges spells it."""
    return "sha256$" + hashlib.sha256((person + salt).encode()).hexdigest()


def document(facts: BadgeFacts) -> OpenBadgeCredential:
    return OpenBadgeCredential(
        id=f"urn:uuid:{facts.badge_id}",
        name=facts.title,
        recipient_id=None,
        issuer=Issuer(id=facts.issuer_url, name=facts.issuer_name, url=facts.issuer_site),
        achievement=Achievement(
            id=facts.achievement_url,
            name=facts.title,
            description=facts.description,
            criteria_narrative=facts.criteria,
            achievement_type="Competency",
            alignments=[
                Alignment(
                    target_name=facts.title,
                    target_url=facts.standard_url,
                    target_framework=facts.framework,
                    target_code=facts.standard_code,
                )
            ],
        ),
        identifiers=[
            IdentityObject(
                identity_hash=identity_hash(facts.person, facts.salt),
                identity_type="ext:lianbingPersonId",
                hashed=True,
                salt=facts.salt,
            )
        ],
        issuance_date=facts.issued_at,
        expiration_date=facts.valid_until,
        evidence=[Evidence(name=proof.name, narrative=proof.narrative, genre=proof.genre) for proof in facts.proofs],
        credential_status=[status_entry(facts.status_list_url, "revocation", facts.status_index)],
    )


def sign(facts: BadgeFacts, *, private_pem: bytes) -> str:
    return OB3Signer(private_pem, algorithm=ALGORITHM).sign(document(facts))


def signed_status_list(
    *, url: str, issuer_url: str, ended: Iterable[int], size: int, now: datetime, private_pem: bytes
) -> str:
    """The whole list as a signed credential: bit on = no longer stands (revoked or replaced)."""
    body: dict[str, Any] = build_status_list_credential(
        issuer_url,
        url,
        "revocation",
        ended,
        size_bits=size,
        issued=now,
        valid_until=now + timedelta(days=STATUS_LIST_DAYS),
    )
    return sign_status_list_credential(body, private_pem, ALGORITHM)
