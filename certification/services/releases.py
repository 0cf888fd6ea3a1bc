"""Published figures: small cells hidden, signed, and checkable by anyone who holds a copy."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification import rules
from certification.domain.credential import add_months
from certification.domain.criteria import canonical
from certification.domain.cube import THRESHOLD, Node, region_tree, suppress
from certification.models import DailyRollup, Release, SigningKey
from certification.models.standards import CredentialType
from certification.services.keys import current_key, private_pem
from certification.services.refusal import Refusal
from certification.services.statistics import build_rollup
from drills.figures import participations
from lms.accounts import audit
from lms.accounts.models import Region, User

FORMAT = "lianbing-release/1"
MONTHS_OFFERED = 12


def may_publish_as_of(today: date) -> list[date]:
    """Ends of the last twelve months, newest first. Only these: two releases a day apart could be subtracted."""
    first = today.replace(day=1)
    return [add_months(first, -n) - _ONE_DAY for n in range(MONTHS_OFFERED)]


_ONE_DAY = date(2000, 1, 2) - date(2000, 1, 1)


@transaction.atomic
def publish_release(*, region: Region, as_of: date, by: User, now: datetime | None = None) -> Release:
    """The table of one region on a month's last day. Which cells are hidden is worked out for the whole country at once,
    so the releases of a county and of its province hide the same ones. Published before: the release that is there."""
    now = now or timezone.now()
    if not rules.may_see_region(by, region):
        raise Refusal(_("只能发布本地区的统计。"))
    if as_of not in may_publish_as_of(timezone.localdate(now)):
        raise Refusal(_("统计截止日期应为最近十二个月中某个月的最后一天。"), _("按月发布，避免两次发布相减推出个人。"))
    existing = Release.objects.filter(region=region, as_of=as_of).first()
    if existing is not None:
        return existing
    build_rollup(day=as_of)
    content = {
        "format": FORMAT,
        "title": f"{region.full_name} 岗位能力与培训证书统计（截至 {as_of.isoformat()}）",
        "region": {"code": region.code, "name": region.full_name},
        "as_of": as_of.isoformat(),
        "published_at": now.isoformat(),
        "definition": (
            "各单元格为截至统计日持有效证书的人数，按签发时所在地区统计；培训合格证书、岗位能力证明、外部登记证书分列，"
            f"不相加；不同等级可能为同一人，等级之间不相加。1 至 {THRESHOLD - 1} 人的单元格及为防推算而一并隐去的单元格记为 null。"
        ),
        "threshold": THRESHOLD,
        "demo": _is_demo(as_of),
        "tables": _tables(region, as_of),
        "drills": _drills(region, as_of),
    }
    key = current_key(SigningKey.Purpose.RELEASE)
    try:
        with transaction.atomic():
            release = Release.objects.create(
                region=region,
                as_of=as_of,
                title=content["title"],
                content=content,
                signature=_sign(content, key),
                digest=hashlib.sha256(canonical(content)).hexdigest(),
                published_by=by,
                published_at=now,
            )
    except IntegrityError:
        return Release.objects.get(region=region, as_of=as_of)
    audit.record("release.published", release, by=by, as_of=as_of.isoformat(), digest=release.digest)
    return release


def _tables(region: Region, as_of: date) -> list[dict[str, Any]]:
    cells: dict[tuple[str, str, str], dict[str, int]] = {}
    for row in DailyRollup.objects.filter(day=as_of):
        places = cells.setdefault((row.credential_type, row.standard_code, row.level_code), {})
        places[row.region_code] = places.get(row.region_code, 0) + row.holders
    tables = []
    for (kind, standard, level), places in sorted(cells.items()):
        root = suppress(region_tree("", places))
        own = next((node for node in root.walk() if node.name == region.code), None)
        if own is None:
            continue
        tables.append(
            {
                "credential_type": kind,
                "credential_type_name": str(CredentialType(kind).label),
                "standard": standard,
                "level": level,
                "cells": [
                    {"region": node.name, "holders": None if node.hidden else node.value} for node in _shown(own)
                ],
            }
        )
    return tables


def _drills(region: Region, as_of: date) -> dict[str, Any]:
    """Person-times in drills of the release's month, small cells hidden over the whole country like the others."""
    since = as_of.replace(day=1)
    root = suppress(region_tree("", participations(since=since, as_of=as_of)))
    own = next((node for node in root.walk() if node.name == region.code), None)
    return {
        "since": since.isoformat(),
        "definition": "本月在靶场上开始并已结束的演练的参演人次（不含观摩），按组织单位所在地区计，小单元格按同一规则隐去。",
        "cells": [{"region": node.name, "participations": None if node.hidden else node.value} for node in _shown(own)]
        if own
        else [],
    }


def _shown(node: Node) -> list[Node]:
    return list(node.walk())


def _is_demo(as_of: date) -> bool:
    return DailyRollup.objects.filter(day=as_of, is_demo=True).exists()


# --- signature: a detached-looking but ordinary compact JWS over the canonical content -----------------------------------


def _sign(content: dict[str, Any], key: SigningKey) -> str:
    private = load_pem_private_key(private_pem(key), password=None)
    assert isinstance(private, Ed25519PrivateKey)
    header = {"alg": "EdDSA", "kid": key.kid, "typ": "lianbing-release+jws"}
    signed = f"{_b64(canonical(header))}.{_b64(canonical(content))}"
    return f"{signed}.{_b64(private.sign(signed.encode()))}"


@dataclass(frozen=True, slots=True)
class Check:
    """`genuine`: signed by a key of this platform and unchanged. `known`: the release stands in the books."""

    genuine: bool
    content: dict[str, Any] | None
    known: Release | None
    fault: str = ""


def check_release(*, text: str) -> Check:
    """Looks at a release somebody was given: the compact JWS, or the JSON file we hand out that holds it."""
    text = text.strip()
    try:
        if text.startswith("{"):
            text = str(json.loads(text).get("signature", ""))
        head, body, signature = text.split(".")
        header, content = json.loads(_unb64(head)), json.loads(_unb64(body))
        key = SigningKey.objects.filter(kid=str(header["kid"]), purpose=SigningKey.Purpose.RELEASE).first()
        if header["alg"] != "EdDSA" or not isinstance(content, dict):
            raise ValueError
        raw = _unb64(signature)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return Check(False, None, None, "unreadable")
    if key is None:
        return Check(False, None, None, "unknown_key")
    try:
        Ed25519PublicKey.from_public_bytes(_unb64(key.public_jwk["x"])).verify(raw, f"{head}.{body}".encode())
    except InvalidSignature:
        return Check(False, None, None, "changed")
    return Check(True, content, Release.objects.filter(digest=hashlib.sha256(canonical(content)).hexdigest()).first())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
