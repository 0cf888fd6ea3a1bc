"""After the end: findings become tasks with an owner and a day; when all are closed the drill is filed."""

from __future__ import annotations

from datetime import date

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from drills import log
from drills.domain import events as ev
from drills.models import Drill, Finding
from drills.services.refusal import Refused
from lms.accounts import audit
from lms.accounts.models import User


def add_finding(
    *,
    drill: Drill,
    by: User,
    title: str,
    measure: str,
    owner: User,
    due: date,
    severity: str = Finding.Severity.MEDIUM,
    seq: int | None = None,
) -> Finding:
    with log.writing(drill.pk) as book:
        if book.state.phase != "ended":
            raise Refused(_("演练结束后、归档之前才能写问题。"))
        if seq is not None and not 1 <= seq <= book.drill.last_seq:
            raise Refused(_("记录里没有第 %(seq)d 号。") % {"seq": seq})
        finding = Finding.objects.create(
            drill=book.drill,
            title=title,
            measure=measure,
            owner=owner,
            due=due,
            severity=severity,
            seq=seq,
            created_by=by,
        )
        book.append(ev.FindingAdded(finding=finding.pk), actor=str(by.pseudonym))
        audit.record("finding.added", finding, by=by, organisation=drill.organisation, owner=owner.pk)
    return finding


def finish_finding(*, finding: Finding, by: User, evidence: str) -> Finding:
    """The owner says what was done."""
    if not evidence.strip():
        raise Refused(_("请写明做了什么、证据在哪里。"))
    with transaction.atomic():
        row = Finding.objects.select_for_update().get(pk=finding.pk)
        if row.state == Finding.State.CLOSED:
            raise Refused(_("这个问题已经销号。"))
        row.state, row.evidence, row.done_at = Finding.State.DONE, evidence.strip(), timezone.now()
        row.save(update_fields=["state", "evidence", "done_at"])
        audit.record("finding.done", row, by=by, organisation=row.drill.organisation)
    return row


def close_finding(*, finding: Finding, by: User, accept: bool) -> Finding:
    """Someone else than the owner looks at the evidence."""
    with transaction.atomic():
        row = Finding.objects.select_for_update().select_related("drill").get(pk=finding.pk)
        if row.state != Finding.State.DONE:
            raise Refused(_("责任人还没有提交整改证据。"))
        if row.owner_id == by.pk:
            raise Refused(_("不能给自己的整改验收，请由他人确认。"))
        if accept:
            row.state, row.closed_at, row.closed_by = Finding.State.CLOSED, timezone.now(), by
        else:
            row.state, row.done_at = Finding.State.OPEN, None
        row.save(update_fields=["state", "closed_at", "closed_by", "done_at"])
        audit.record(
            "finding.closed" if accept else "finding.returned", row, by=by, organisation=row.drill.organisation
        )
    return row


def write_lessons(*, drill: Drill, by: User, lessons: str, plan_revision: str) -> None:
    with transaction.atomic():
        row = Drill.objects.select_for_update().get(pk=drill.pk)
        if row.phase != Drill.Phase.ENDED:
            raise Refused(_("演练结束后、归档之前才能写。"))
        row.lessons, row.plan_revision = lessons.strip(), plan_revision.strip()
        row.save(update_fields=["lessons", "plan_revision"])
        audit.record("drill.lessons", row, by=by, organisation=row.organisation)


def close_drill(*, drill: Drill, by: User) -> None:
    """成果运用 is complete: every finding closed, lessons written."""
    with log.writing(drill.pk) as book:
        if book.state.phase != "ended":
            raise Refused(_("只有已结束的演练可以归档。"))
        if book.drill.findings.exclude(state=Finding.State.CLOSED).exists():
            raise Refused(_("还有整改没有销号，不能归档。"))
        if not book.drill.lessons:
            raise Refused(_("请先写经验教训，再归档。"))
        book.append(ev.Closed(), actor=str(by.pseudonym))
        audit.record("drill.closed", book.drill, by=by, organisation=book.drill.organisation)
