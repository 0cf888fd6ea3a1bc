"""The certificate, checked from outside, and the bureau's count, traced back to the packets."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certification import counting, services
from certification.counting import Scope
from certification.management.tour.steps import Diary, must, wait_until
from certification.models import AwardRule, Credential, StandardLevel
from drills.files import path_of
from drills.models import Drill, DrillEvent
from lms.accounts.models import User

KIND = "platform_competency"


@dataclass(frozen=True, slots=True)
class Counted:
    scope: Scope
    holders: int
    issued: int


def count(*, officer: User) -> Counted:
    """What the officer's own bureau page shows today for our own credential type."""
    bureau = officer.memberships.get(role="officer").organisation
    today = timezone.localdate()
    scope = Scope(prefix=bureau.region.prefix, kind=KIND, as_of=today, since=date(today.year, 1, 1))
    cell = counting.cell(scope)
    return Counted(scope, cell.holders, cell.issued)


def the_level() -> StandardLevel:
    rule = AwardRule.objects.filter(active=True).select_related("level").order_by("level__rank").first()
    must(rule, "没有生效的授予规则")
    return rule.level


def refuse_early(diary: Diary, *, user: User) -> None:
    """Before the evidence is there the same application is refused, with reasons."""
    with diary.step("证书：条件不足时不发证") as facts:
        application = services.apply_for(user=user, level=the_level())
        must(not Credential.objects.filter(user=user).exists(), "条件不足却发了证")
        decision = application.decisions.order_by("number").last()
        must(decision and not decision.met, "没有留下未满足的决定记录")
        facts["决定"] = f"#{decision.number} 未满足"


def award(diary: Diary, *, user: User, assessor: User) -> Credential:
    """Decided by rule (and confirmed where the rule asks it), exactly once; document and badge made."""
    with diary.step("证书：按规则决定并签发，重复申请只有一张") as facts:
        application = services.apply_for(user=user, level=the_level())
        if application.state == "awaiting":
            services.confirm(application=application, by=assessor)
        again = services.decide(application=application)
        credentials = list(Credential.objects.filter(user=user))
        must(len(credentials) == 1, f"应有 1 张证书，实有 {len(credentials)} 张")
        credential = credentials[0]
        must(again and again.met and credential.decision_id == again.pk, "证书没有对应的决定")
        must(services.chain_fault() is None, "决定记录的哈希链断了")
        wait_until(lambda: Credential.objects.get(pk=credential.pk).document, seconds=90, what="证书文件")
        credential.refresh_from_db()
        with credential.document.open() as file:
            pdf = file.read()
        must(pdf.startswith(b"%PDF"), "证书文件不是 PDF")
        facts["证书编号"] = credential.number
        facts["决定"] = f"#{again.number}，哈希 {again.hash[:16]}…"
        facts["证书文件"] = f"PDF {len(pdf):,} 字节"
    return credential


def check_from_outside(diary: Diary, *, credential: Credential) -> None:
    """As the public does: number and check code on the page; the badge's signature with another library."""
    with diary.step("查验：公众页面核对编号与查验码，徽章签名用另一套库验证") as facts:
        code = services.check_code_of(credential)
        browser = Client(HTTP_HOST="127.0.0.1")
        address = reverse("certification:verify")
        good = browser.post(address, {"number": credential.number, "code": code}, follow=True).content.decode()
        bad = browser.post(
            address, {"number": credential.number, "code": "0000-0000-00000"}, follow=True
        ).content.decode()
        must(credential.title in good and "有效" in good, "查验页没有显示证书有效")
        must(credential.holder_name not in good, "查验页显示了全名")
        must(credential.title not in bad, "查验码不对也显示了证书")
        facts["查验页"] = "正确的查验码显示“有效”和隐去的姓名；错误的不显示任何信息"
        claims = verified_claims(credential.badge)
        facts["徽章"] = f"Ed25519 签名有效，{claims.get('iss', '')}"


def verified_claims(token: str) -> dict[str, Any]:
    """The claims of a JWT after checking its Ed25519 signature with `cryptography` alone (RFC 7515, RFC 8037)."""
    head, body, signature = token.split(".")
    kid = json.loads(unbase64(head)).get("kid", "")
    for key in services.public_keys()["keys"]:
        if kid and not kid.endswith(key.get("kid", "")):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(unbase64(key["x"])).verify(
                unbase64(signature), f"{head}.{body}".encode()
            )
        except InvalidSignature:
            continue
        return dict(json.loads(unbase64(body)))
    must(condition=False, words="徽章签名验证不通过")
    return {}


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def trace(diary: Diary, *, officer: User, before: Counted, credential: Credential, drill: Drill) -> None:
    """Count up by one; from the count by a logged look to certificate, decision, log events and capture files."""
    with diary.step("统计：主管部门的数字加一，并能一路追到抓包") as facts:
        after = count(officer=officer)
        must(
            after.holders == before.holders + 1,
            f"持证人数应从 {before.holders} 变为 {before.holders + 1}，实为 {after.holders}",
        )
        facts["持证人数"] = (
            f"{before.holders} → {after.holders}（{officer.memberships.get(role='officer').organisation}）"
        )
        services.open_records(by=officer, purpose="核对本次演练产生的证书", scope=after.scope)
        listed = after.scope.certificates().get(pk=credential.pk)
        inputs = listed.decision.body["inputs"]
        source = inputs["sources"]["drills"][str(drill.pk)]
        events = DrillEvent.objects.filter(drill=drill, seq__in=[action["seq"] for action in source["actions"]])
        must(events.count() == len(source["actions"]) > 0, "决定所引的日志事件不齐")
        facts["追溯"] = (
            f"证书 {listed.number} → 决定 #{listed.decision.number} → 演练 {drill.pk} 的日志事件 {[a['seq'] for a in source['actions']]}"
        )
        captures = source["range"]["captures"]
        must(captures, "决定里没有抓包的指纹")
        same = 0
        for capture in captures:
            with default_storage.open(path_of(drill, source["range"]["range_id"], capture["name"])) as file:
                content = file.read(capture["bytes"])
            must(hashlib.sha256(content).hexdigest() == capture["sha256"], f"抓包 {capture['name']} 与决定里的指纹不符")
            same += 1
        facts["抓包"] = f"{same} 个文件的 SHA-256 与决定里记的一致"
