"""Loading an instrument, answering it, submitting, working the plan."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _

from lms.accounts import audit
from lms.accounts.models import Organisation, User
from lms.maturity.domain.advice import advise
from lms.maturity.domain.instrument import AnswerError, Instrument, Item, check_answer, faults, is_answered
from lms.maturity.models import Assessment, InstrumentVersion, PlanRow

CONTENT = Path(__file__).resolve().parent / "content"
DAYS_BY_EFFORT = {1: 45, 2: 120, 3: 270}


@transaction.atomic
def load_instrument(path: Path) -> InstrumentVersion:
    """Takes a data file in. The same data is taken once; other data under the same version is a new revision.

    Raises ValidationError that lists every fault of the file.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = faults(data)
    if found:
        raise ValidationError([f"{path.name}: {fault}" for fault in found])
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
    known = InstrumentVersion.objects.filter(digest=digest).first()
    if known:
        return known
    before = InstrumentVersion.objects.filter(code=data["code"], version=data["version"]).order_by("-revision").first()
    return InstrumentVersion.objects.create(
        code=data["code"],
        version=data["version"],
        revision=before.revision + 1 if before else 1,
        title=data["title"],
        data=data,
        digest=digest,
    )


def current_instrument() -> InstrumentVersion | None:
    """The newest version and revision."""
    return InstrumentVersion.objects.order_by("-version", "-revision").first()


@transaction.atomic
def start_assessment(organisation: Organisation, *, by: User) -> Assessment:
    """The enterprise's draft: the one under way, or a new one that begins with the answers of last time, as far as the
    present version knows them. Two admins who begin at once get the same draft."""
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    draft = Assessment.objects.filter(organisation=organisation, state=Assessment.State.DRAFT).first()
    if draft:
        return draft
    version = current_instrument()
    if version is None:
        raise ValidationError(_("还没有装入自评指标，请联系平台管理员运行 lianbing load-instrument。"))
    last = Assessment.objects.filter(organisation=organisation).submitted().first()
    assessment = Assessment.objects.create(
        organisation=organisation,
        instrument_version=version,
        started_by=by,
        answers=still_valid(version.instrument, last.answers) if last else {},
    )
    audit.record("assessment.started", assessment, by=by, organisation=organisation)
    return assessment


def still_valid(instrument: Instrument, answers: dict[str, Any]) -> dict[str, Any]:
    """Those answers that this version of the instrument knows."""
    kept = {}
    for key, answer in answers.items():
        try:
            check_answer(instrument, key, answer)
        except AnswerError:
            continue
        kept[key] = answer
    return kept


@transaction.atomic
def save_answer(assessment: Assessment, *, key: str, answer: Any, by: User) -> Assessment:
    """Keeps one answer. Raises ValidationError for an answer the instrument does not know or a submitted assessment."""
    locked = Assessment.objects.select_for_update().get(pk=assessment.pk)
    if locked.state != Assessment.State.DRAFT:
        raise ValidationError(_("这份自评已经提交，不能再改；可以重新开始一次自评。"))
    try:
        check_answer(locked.instrument, key, answer)
    except AnswerError as error:
        raise ValidationError(str(error)) from error
    if is_answered(answer):
        locked.answers = {**locked.answers, key: answer}
    else:
        locked.answers = {k: v for k, v in locked.answers.items() if k != key}
    locked.save(update_fields=["answers"])
    return locked


@transaction.atomic
def submit_assessment(assessment: Assessment, *, by: User, pledged: bool) -> Assessment:
    """Fixes answers and result and writes the plan. Submitting twice gives the first result.

    Raises ValidationError while questions are open or the pledge of truthfulness is not given.
    """
    locked = Assessment.objects.select_for_update().get(pk=assessment.pk)
    if locked.state == Assessment.State.SUBMITTED:
        return locked
    result = locked.result
    if result.answered < result.questions:
        raise ValidationError(
            _("还有 %(n)s 题没有回答。") % {"n": result.questions - result.answered}, code="unanswered"
        )
    if not pledged:
        raise ValidationError(_("请先确认填报真实性承诺。"), code="pledge")
    locked.state = Assessment.State.SUBMITTED
    locked.score, locked.level, locked.level_name = result.score, result.level, result.level_name
    locked.submitted_by, locked.submitted_at = by, timezone.now()
    locked.save()
    write_plan(locked)
    audit.record(
        "assessment.submitted",
        locked,
        by=by,
        organisation=locked.organisation,
        score=str(result.score),
        level=result.level,
        instrument=str(locked.instrument_version),
    )
    return locked


def write_plan(assessment: Assessment) -> None:
    """The plan of the new assessment; steps that were under way keep their owner, date and state."""
    earlier: dict[str, PlanRow] = {
        row.key: row
        for row in PlanRow.objects.filter(organisation=assessment.organisation)
        .exclude(state=PlanRow.State.DONE)
        .order_by("assessment_id")
    }
    today = timezone.localdate()
    rows = []
    for position, step in enumerate(advise(assessment.instrument, assessment.answers, assessment.result), start=1):
        old = earlier.get(step.key)
        rows.append(
            PlanRow(
                organisation=assessment.organisation,
                assessment=assessment,
                key=step.key,
                title=step.title,
                action=step.action,
                expected_evidence=step.evidence,
                owner_role=step.owner,
                owner_id=old.owner_id if old else None,
                tags=list(step.tags),
                effort=step.effort,
                gain=step.gain,
                needed=step.needed,
                position=position,
                due_on=(old.due_on if old else None)
                or (today + timedelta(days=DAYS_BY_EFFORT[step.effort]) if step.needed else None),
                state=old.state if old else PlanRow.State.OPEN,
            )
        )
    PlanRow.objects.bulk_create(rows)


@transaction.atomic
def update_plan_row(
    row: PlanRow, *, by: User, state: str, owner: User | None, due_on: date | None, evidence_note: str
) -> PlanRow:
    """Changes who, until when and how far. Done asks for a word of evidence."""
    if state == PlanRow.State.DONE and not evidence_note.strip():
        raise ValidationError({"evidence_note": _("请写明完成的证据，例如台账或截图存放在哪里。")})
    row = PlanRow.objects.select_for_update().get(pk=row.pk)
    row.state, row.owner, row.due_on, row.evidence_note = state, owner, due_on, evidence_note.strip()
    row.done_at = (row.done_at or timezone.now()) if state == PlanRow.State.DONE else None
    row.save(update_fields=["state", "owner", "due_on", "evidence_note", "done_at"])
    audit.record("plan.updated", row, by=by, organisation=row.organisation, state=state)
    return row


def plan_of(organisation: Organisation) -> list[PlanRow]:
    """The plan of the newest submitted assessment, in its order."""
    latest = Assessment.objects.filter(organisation=organisation).submitted().first()
    return list(latest.plan_rows.select_related("owner")) if latest else []


GRADES = {str(grade): grade for grade in range(5)}
LARGEST_COUNT = 10**12
WHOLES = frozenset({"total", "revenue"})  # the field of a band question that is the denominator


def answer_from_form(assessment: Assessment, key: str, data: QueryDict) -> Any:
    """The posted value as an answer: a list for multiple choice, a grade for scenes, a band worked out from the two
    counts where they are given. Raises ValidationError for counts that cannot be."""
    if key.startswith("scene:"):
        return GRADES.get(data.get("answer", ""))
    item = assessment.instrument.item(key)
    if item.type == "multiple":
        return list(dict.fromkeys(data.getlist("answer")))
    counts = {code: data.get(f"field_{code}", "").strip() for code, _label, _unit in item.fields}
    if any(counts.values()):
        return band_from_counts(item, counts)
    return data.get("answer") or None


def band_from_counts(item: Item, counts: dict[str, str]) -> str:
    try:
        numbers = {code: Decimal(text.replace(",", "").replace(",", "")) for code, text in counts.items()}
    except InvalidOperation as error:
        raise ValidationError(
            _("%(name)s：请把数量都填上数字，或者都不填、直接选一档。") % {"name": item.name}
        ) from error
    if not all(number.is_finite() and abs(number) < LARGEST_COUNT for number in numbers.values()):
        raise ValidationError(_("%(name)s：这个数不合理，请核对。") % {"name": item.name})
    whole = next(number for code, number in numbers.items() if code in WHOLES)
    part = next(number for code, number in numbers.items() if code not in WHOLES)
    if whole <= 0 or part < 0 or part > whole:
        raise ValidationError(_("%(name)s：总数应大于 0，其中的数量不能超过总数。") % {"name": item.name})
    return item.band_for(part * 100 / whole).code
