"""From "I apply" to a decision: collected evidence, one chain of decisions, marks, confirmation, appeals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification import rules
from certification.domain.criteria import Inputs, Mark, Outcome, as_data, chained, digest, review_score
from certification.domain.criteria import decide as decide_by_rule
from certification.evidence import collect
from certification.models import (
    Appeal,
    Application,
    AwardRule,
    ChainHead,
    Credential,
    Decision,
    ManualMark,
    StandardLevel,
)
from certification.services.credentials import issue
from certification.services.refusal import Refusal
from lms.accounts import audit
from lms.accounts.models import Organisation, User
from lms.jobs.services import enqueue

RUBRIC = {
    # What a marker gives points for, out of how many. In the words of 综合评审.
    "analysis": 30,
    "action": 40,
    "report": 20,
    "conduct": 10,
}
RECHECK = timedelta(minutes=10)
CHAIN = "decisions"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands on the way to a level, worked out now and recorded nowhere."""

    rule: AwardRule
    inputs: Inputs
    outcome: Outcome
    held: Credential | None
    application: Application | None


def preview(*, user: User, level: StandardLevel) -> Standing | None:
    """The live checklist. None when the level has no rule in force."""
    rule = level.rules.filter(active=True).first()
    if rule is None:
        return None
    application = Application.objects.filter(user=user, level=level).order_by("-pk").first()
    active = application if application is not None and application.state in Application.OPEN else None
    inputs = _inputs(user, level, rule, active)
    return Standing(rule, inputs, decide_by_rule(rule.rule, inputs), _held(user, level), application)


@transaction.atomic
def apply_for(*, user: User, level: StandardLevel, now: datetime | None = None) -> Application:
    """Opens (or finds) the person's way to the level and decides at once on what is there."""
    now = now or timezone.now()
    if not level.rules.filter(active=True).exists():
        raise Refusal(_("这个等级暂未开放申请。"), _("评价规则发布后再来。"))
    if _held(user, level) is not None:
        raise Refusal(_("您已持有这个等级的有效证书。"), _("到期后可以重新申请。"))
    organisation = _workplace(user)
    if organisation is None:
        raise Refusal(_("申请须以在职单位的员工身份提出。"), _("请单位的企业管理员把您加入员工名单后再申请。"))
    application = Application.objects.filter(user=user, level=level).open().first()
    if application is None:
        try:
            with transaction.atomic():
                application = Application.objects.create(
                    user=user, level=level, organisation=organisation, applied_at=now
                )
        except IntegrityError:  # a second tap was faster
            application = Application.objects.open().get(user=user, level=level)
        else:
            audit.record("application.opened", application, by=user, organisation=organisation)
    decide(application=application, now=now)
    application.refresh_from_db()
    return application


@transaction.atomic
def withdraw(*, application: Application, by: User) -> None:
    application = _locked(application)
    if application.user_id != by.pk or application.state not in Application.OPEN:
        raise Refusal(_("这份申请不能撤回。"))
    application.state = Application.State.WITHDRAWN
    application.save(update_fields=["state"])
    audit.record("application.withdrawn", application, by=by, organisation=application.organisation)


@transaction.atomic
def decide(
    *, application: Application, now: datetime | None = None, by: User | None = None, kind: str = Decision.Kind.RULE
) -> Decision | None:
    """Collects the evidence and decides by the rule in force; awards when it is met. May be called any number of times:
    the same evidence gives the decision that is there, and there is one certificate however many workers ask.

    None when the application is no longer open and was never decided.
    """
    now = now or timezone.now()
    application = _locked(application)
    if application.state not in Application.OPEN:
        return application.decisions.order_by("number").last()
    rule = application.level.rules.filter(active=True).first()
    if rule is None:
        return None
    inputs = _inputs(application.user, application.level, rule, application)
    outcome = decide_by_rule(rule.rule, inputs)
    basis = {"rule": {"version": rule.version, "level": str(rule.level), "data": rule.data}, "inputs": as_data(inputs)}
    key = digest(basis)
    decision = application.decisions.filter(key=key).first()
    if decision is None:
        decision = _append(application, rule, kind, outcome, basis, key, by, now)
    _follow(application, rule, outcome, basis["inputs"], now)
    if outcome.met:
        issue(decision=decision, by=by, now=now)
    return decision


def _append(
    application: Application,
    rule: AwardRule,
    kind: str,
    outcome: Outcome,
    basis: Mapping[str, Any],
    key: str,
    by: User | None,
    now: datetime,
) -> Decision:
    ChainHead.objects.get_or_create(name=CHAIN)
    head = ChainHead.objects.select_for_update().get(name=CHAIN)
    body = {
        "number": head.number + 1,
        "application": application.pk,
        "person": str(application.user.pseudonym),
        **basis,
        "outcome": as_data(outcome),
        "kind": str(kind),
        "decided_by": str(by.pseudonym) if by else "rule",
        "decided_at": now.isoformat(),
    }
    decision = Decision.objects.create(
        number=head.number + 1,
        application=application,
        rule=rule,
        kind=kind,
        met=outcome.met,
        body=body,
        key=key,
        previous=head.hash,
        hash=chained(head.hash, body),
        decided_by=by,
        decided_at=now,
    )
    head.number, head.hash = decision.number, decision.hash
    head.save(update_fields=["number", "hash"])
    audit.record(
        "application.decided",
        application,
        by=by,
        organisation=application.organisation,
        decision=decision.number,
        met=outcome.met,
    )
    return decision


def _follow(
    application: Application, rule: AwardRule, outcome: Outcome, inputs: Mapping[str, Any], now: datetime
) -> None:
    """The state that follows from the outcome."""
    State = Application.State  # noqa: N806  a class under its own name
    if outcome.met:
        state = State.AWARDED
    elif outcome.awaiting:
        state = State.REVIEWING
    elif rule.rule.review and _review_failed(rule, application):
        state = State.DECLINED
    else:
        state = State.COLLECTING
    if state == State.REVIEWING and application.reviewing_since is None:
        application.reviewing_since = now
    application.state, application.inputs, application.checked_at = state, dict(inputs), now
    application.save(update_fields=["state", "inputs", "checked_at", "reviewing_since"])


def _review_failed(rule: AwardRule, application: Application) -> bool:
    review = rule.rule.review
    if review is None:
        return False
    score, _missing = review_score(review, _marks(application))
    return score is not None and score < review.passing


def chain_fault() -> int | None:
    """The number of the first decision whose place in the chain does not hold, or None when all stand."""
    previous, expected = "", 1
    for decision in Decision.objects.order_by("number").iterator():
        good = (
            decision.number == expected == decision.body.get("number")
            and decision.previous == previous
            and decision.hash == chained(previous, decision.body)
            and decision.met == decision.body["outcome"]["met"]
        )
        if not good:
            return decision.number
        previous, expected = decision.hash, expected + 1
    head = ChainHead.objects.filter(name=CHAIN).first()
    return expected if head is not None and (head.number, head.hash) != (expected - 1, previous) else None


# --- people ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def mark(
    *, application: Application, by: User, rubric: Mapping[str, Decimal], comment: str = "", now: datetime | None = None
) -> ManualMark:
    """One marker's points by the rubric, once; with the last one needed the case is decided."""
    now = now or timezone.now()
    application = _locked(application)
    if not rules.may_judge(by, application):
        raise Refusal(_("您不能评这份申请。"), _("请由评价机构中与申请人无关的考评员评阅。"))
    if application.state != Application.State.REVIEWING:
        raise Refusal(_("这份申请现在不需要评阅。"))
    for name, most in RUBRIC.items():
        if name not in rubric or not 0 <= rubric[name] <= most:
            raise Refusal(_("“%(name)s”应在 0 到 %(most)s 分之间。") % {"name": name, "most": most})
    try:
        with transaction.atomic():
            row = ManualMark.objects.create(
                application=application,
                assessor=by,
                rubric={name: str(rubric[name]) for name in RUBRIC},
                total=sum((rubric[name] for name in RUBRIC), Decimal(0)),
                comment=comment,
                at=now,
            )
    except IntegrityError:
        raise Refusal(_("您已经评过这份申请。"), _("评分不能修改；如有错误请通过申诉复核。")) from None
    audit.record("application.marked", application, by=by, organisation=application.organisation)
    decide(application=application, now=now, by=by, kind=Decision.Kind.ASSESSOR)
    return row


@transaction.atomic
def confirm(*, application: Application, by: User, now: datetime | None = None) -> Decision | None:
    """A person confirms what the rule found, where the rule asks for that."""
    application = _locked(application)
    if not rules.may_judge(by, application):
        raise Refusal(_("您不能确认这份申请。"), _("请由评价机构中与申请人无关的考评员确认。"))
    if application.state != Application.State.REVIEWING:
        raise Refusal(_("这份申请现在不需要确认。"))
    application.confirmed_by = by
    application.save(update_fields=["confirmed_by"])
    audit.record("application.confirmed", application, by=by, organisation=application.organisation)
    return decide(application=application, now=now, by=by, kind=Decision.Kind.ASSESSOR)


@transaction.atomic
def raise_appeal(*, decision: Decision, by: User, reason: str) -> Appeal:
    """The person asks other eyes to look at a decision that went against him."""
    application = decision.application
    if application.user_id != by.pk or decision.met:
        raise Refusal(_("只能对本人未通过的决定提出申诉。"))
    if decision.pk != application.decisions.order_by("number").last().pk:
        raise Refusal(_("这份决定之后已有新的决定。"), _("请对最新的决定提出申诉。"))
    try:
        with transaction.atomic():
            appeal = Appeal.objects.create(decision=decision, raised_by=by, reason=reason)
    except IntegrityError:
        raise Refusal(_("对这份决定的申诉正在复核。")) from None
    audit.record("appeal.raised", decision, by=by, organisation=application.organisation, appeal=appeal.pk)
    return appeal


@transaction.atomic
def decide_appeal(
    *, appeal: Appeal, by: User, upheld: bool, answer: str, recognise: Collection[str] = (), now: datetime | None = None
) -> Appeal:
    """Answers an appeal. Upheld: the named criteria count as met from now on (visible in the record as recognised by this
    appeal) and the case is decided again; nothing that stood in the chain is changed."""
    now = now or timezone.now()
    appeal = Appeal.objects.select_for_update().select_related("decision__application__level").get(pk=appeal.pk)
    if not rules.may_answer(by, appeal):
        raise Refusal(_("您不能答复这份申诉。"), _("请由没有参与原决定的考评员复核。"))
    if appeal.state != Appeal.State.OPEN:
        raise Refusal(_("这份申诉已经答复。"))
    unmet = {c["code"] for c in appeal.decision.body["outcome"]["criteria"] if not c["met"]} - {"confirm"}
    recognised = sorted(set(recognise))
    if upheld and (not recognised or not set(recognised) <= unmet):
        raise Refusal(_("申诉成立须指明认可哪些未满足的条件。"), _("在未满足的条件中至少选一项。"))
    appeal.state = Appeal.State.UPHELD if upheld else Appeal.State.REJECTED
    appeal.answer, appeal.answered_by, appeal.answered_at = answer, by, now
    appeal.recognised = recognised if upheld else []
    appeal.save(update_fields=["state", "answer", "answered_by", "answered_at", "recognised"])
    application = _locked(appeal.decision.application)
    audit.record(
        "appeal.answered",
        appeal.decision,
        by=by,
        organisation=application.organisation,
        appeal=appeal.pk,
        upheld=upheld,
    )
    if upheld:
        application.recognised = {**application.recognised, **{code: str(appeal.pk) for code in recognised}}
        if application.state == Application.State.DECLINED:
            application.state = Application.State.COLLECTING
        application.save(update_fields=["recognised", "state"])
        decide(application=application, now=now, by=by, kind=Decision.Kind.APPEAL)
    return appeal


def recheck_open(*, now: datetime | None = None, limit: int = 50) -> int:
    """Asks for a new look at open applications whose evidence may have grown; how many. Called by the follower."""
    now = now or timezone.now()
    due = Application.objects.filter(state=Application.State.COLLECTING, checked_at__lt=now - RECHECK)
    rows = list(due.order_by("checked_at").select_related("level__standard")[:limit])
    for application in rows:
        with transaction.atomic():
            Application.objects.filter(pk=application.pk).update(checked_at=now)
            enqueue(
                "certification.decide",
                title=str(_("核对申请条件")),
                by=None,
                args={"application": application.pk},
                key=f"certification.decide:{application.pk}:{int(now.timestamp()) // int(RECHECK.total_seconds())}",
            )
    return len(rows)


# --- inside ------------------------------------------------------------------------------------------------------------


def _locked(application: Application) -> Application:
    return (
        Application.objects.select_for_update(of=("self",))
        .select_related("user", "level__standard")
        .get(pk=application.pk)
    )


def _inputs(user: User, level: StandardLevel, rule: AwardRule, application: Application | None) -> Inputs:
    last = Credential.objects.filter(person=user.pseudonym, level=level).order_by("-issued_at").first()
    inputs = collect(user, rule.rule, since=last.issued_at if last else None)
    if application is None:
        return inputs
    return replace(
        inputs,
        marks=_marks(application),
        confirmed_by=str(application.confirmed_by.pseudonym) if application.confirmed_by else "",
        recognised=dict(application.recognised),
    )


def _marks(application: Application) -> tuple[Mark, ...]:
    return tuple(
        Mark(str(row.assessor.pseudonym), row.total, row.at) for row in application.marks.select_related("assessor")
    )


def _held(user: User, level: StandardLevel) -> Credential | None:
    return Credential.objects.filter(person=user.pseudonym, level=level, state=Credential.State.ACTIVE).first()


def _workplace(user: User) -> Organisation | None:
    """Where the person counts: the enterprise he belongs to (the first joined), else any organisation."""
    memberships = list(user.memberships.active().select_related("organisation").order_by("started_at", "pk"))
    enterprises = [m for m in memberships if m.organisation.kind == Organisation.Kind.ENTERPRISE]
    chosen = (enterprises or memberships)[:1]
    return chosen[0].organisation if chosen else None
