"""From applying to a certificate, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from certification import services
from certification.domain.criteria import Rule, as_data, decide, inputs_from_data
from certification.models import Appeal, Application, AwardRule, ChainHead, Credential, Decision
from certification.models.awards import ImmutableError
from certification.tasks import decide as decide_task
from lms.accounts.models import AuditEntry, Organisation, User
from lms.jobs.models import Job
from tests.factories.accounts import MembershipFactory, UserFactory
from tests.factories.certification import RULE, AwardRuleFactory, LevelFactory, full_inputs

pytestmark = pytest.mark.django_db


def test_enough_evidence_awards_at_once_and_records_every_input(application: Application, learner: User) -> None:
    decision = application.decisions.get()
    credential = Credential.objects.get()

    assert application.state == "awarded"
    assert (decision.number, decision.kind, decision.met) == (1, "rule", True)
    assert decision.body["inputs"] == as_data(full_inputs())
    assert decision.body["rule"]["data"] == RULE
    assert [c["code"] for c in decision.body["outcome"]["criteria"]] == [
        "hours",
        "course",
        "exam",
        "drill",
        "seat",
        "own_action",
    ]
    assert (credential.user, credential.decision, credential.credential_type, credential.state) == (
        learner,
        decision,
        "platform_competency",
        "active",
    )
    assert credential.region == application.organisation.region
    assert Job.objects.get().key == f"certification.document:{credential.pk}"


def test_a_record_is_enough_to_decide_the_same_again(application: Application) -> None:
    body = application.decisions.get().body

    assert as_data(decide(Rule.from_data(body["rule"]["data"]), inputs_from_data(body["inputs"]))) == body["outcome"]


def test_missing_evidence_is_recorded_with_what_was_wanted_and_gives_no_certificate(refused: Decision) -> None:
    unmet = [c for c in refused.body["outcome"]["criteria"] if not c["met"]]

    assert [(c["code"], c["wanted"], c["got"]) for c in unmet] == [("hours", "8", "7")]
    assert refused.application.state == "collecting"
    assert not Credential.objects.exists()


def test_asking_again_changes_nothing_until_evidence_grows(
    refused: Decision, evidence: Callable[..., None], learner: User
) -> None:
    again = services.decide(application=refused.application)
    assert (again, Decision.objects.count()) == (refused, 1)

    evidence()
    services.apply_for(user=learner, level=refused.application.level)

    assert list(Decision.objects.values_list("met", flat=True)) == [False, True]
    assert Application.objects.count() == Credential.objects.count() == 1


def test_a_repeated_queue_message_issues_nothing_twice(refused: Decision, evidence: Callable[..., None]) -> None:
    evidence()
    job = Job.objects.create(task="certification.decide", title="x", args={"application": refused.application.pk})

    decide_task(job.pk)
    decide_task(job.pk)
    Job.objects.filter(pk=job.pk).update(state="waiting")  # the same message once more, after a lost lease
    decide_task(job.pk)

    assert Credential.objects.count() == 1
    assert Decision.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_many_workers_at_once_issue_one_certificate(
    learner: User, award_rule: AwardRule, evidence: Callable[..., None], real_file: Callable[..., Any]
) -> None:
    evidence(hours=Decimal(0))
    application = services.apply_for(user=learner, level=award_rule.level)
    evidence()

    def work() -> None:
        with suppress(services.Refusal):  # came after the certificate was there
            services.apply_for(user=learner, level=award_rule.level)

    faults = real_file(work, workers=8)

    assert faults == []
    found: list[Any] = []
    real_file(
        lambda: found.extend(
            [
                Credential.objects.filter(person=learner.pseudonym).count(),
                list(application.decisions.values_list("number", "met")),
                services.chain_fault(),
            ]
        )
    )
    assert found == [1, [(1, False), (2, True)], None]


def test_the_database_itself_refuses_a_second_active_certificate(credential: Credential) -> None:
    credential.pk, credential.number, credential.decision = None, "LB26-0000-0000-0000", None
    credential.status_index, credential.badge_id = None, "00000000-0000-0000-0000-000000000001"

    with pytest.raises(IntegrityError), transaction.atomic():
        credential.save(force_insert=True)


def test_whoever_holds_one_is_told_so(credential: Credential, learner: User) -> None:
    with pytest.raises(services.Refusal, match="您已持有这个等级的有效证书"):
        services.apply_for(user=learner, level=credential.level)


def test_someone_without_a_workplace_is_told_what_to_do(award_rule: AwardRule, evidence: Callable[..., None]) -> None:
    with pytest.raises(services.Refusal) as refusal:
        services.apply_for(user=UserFactory(), level=award_rule.level)

    assert "企业管理员" in str(refusal.value.remedy)


# --- the chain -----------------------------------------------------------------------------------------------------


def test_a_decision_is_never_changed_or_deleted(refused: Decision) -> None:
    refused.met = True
    with pytest.raises(ImmutableError):
        refused.save()
    with pytest.raises(ImmutableError):
        refused.delete()


@pytest.mark.parametrize("forge", ["body", "met", "dropped", "cut"])
def test_a_forged_decision_shows(
    forge: str, award_rule: AwardRule, evidence: Callable[..., None], learner: User
) -> None:
    for hours in (1, 2, 3):
        evidence(hours=Decimal(hours))
        services.apply_for(user=learner, level=award_rule.level)
    assert services.chain_fault() is None
    middle = Decision.objects.filter(number=2)

    if forge == "body":
        body = middle.get().body
        body["inputs"]["hours"] = "8"
        middle.update(body=body)
    elif forge == "met":
        middle.update(met=True)
    elif forge == "dropped":
        middle._raw_delete("default")
    else:
        Decision.objects.filter(number=3)._raw_delete("default")

    assert services.chain_fault() == (3 if forge in ("dropped", "cut") else 2)


# --- people who judge ----------------------------------------------------------------------------------------------


REVIEWED = {**RULE, "review": {"markers": 2, "pass": 60, "gap": 15}, "confirm": True}


def points(total: int) -> dict[str, Decimal]:
    share = Decimal(total) / 100
    return {name: most * share for name, most in services.RUBRIC.items()}


@pytest.fixture
def reviewed(learner: User, body: Organisation, evidence: Callable[..., None]) -> Application:
    rule = AwardRuleFactory(level=LevelFactory(rank=2), data=REVIEWED, assessed_by=body)
    return services.apply_for(user=learner, level=rule.level)


def test_two_markers_and_a_confirmation_award(
    reviewed: Application, assessor: User, body: Organisation, member: Callable[..., User]
) -> None:
    second = member("assessor", organisation=body)
    assert reviewed.state == "reviewing"

    services.mark(application=reviewed, by=assessor, rubric=points(70))
    services.mark(application=reviewed, by=second, rubric=points(62))
    services.confirm(application=reviewed, by=second)

    reviewed.refresh_from_db()
    decision = reviewed.decisions.last()
    assert (reviewed.state, decision.kind, decision.decided_by) == ("awarded", "assessor", second)
    assert [m["total"] for m in decision.body["inputs"]["marks"]] == ["70", "62"]
    assert Credential.objects.filter(decision=decision).count() == 1


def test_low_marks_decline_and_a_marker_marks_once(
    reviewed: Application, assessor: User, body: Organisation, member: Callable[..., User]
) -> None:
    services.mark(application=reviewed, by=assessor, rubric=points(50))
    with pytest.raises(services.Refusal, match="您已经评过"):
        services.mark(application=reviewed, by=assessor, rubric=points(90))
    services.mark(application=reviewed, by=member("assessor", organisation=body), rubric=points(55))

    reviewed.refresh_from_db()
    assert reviewed.state == "declined"
    assert not Credential.objects.exists()


def test_nobody_judges_himself_a_colleague_or_for_another_body(
    reviewed: Application, member: Callable[..., User], learner: User, body: Organisation, assessor: User
) -> None:
    colleague = member("assessor", organisation=body)
    MembershipFactory(user=colleague, organisation=reviewed.organisation)
    stranger = member("assessor", organisation=None, username="elsewhere")
    MembershipFactory(user=learner, organisation=body, role="assessor")

    for wrong in (learner, colleague, stranger):
        wrong.__dict__.pop("_held_roles", None)  # roles changed above; a request would load them anew
        with pytest.raises(services.Refusal, match="您不能评这份申请"):
            services.mark(application=reviewed, by=wrong, rubric=points(90))
        assert reviewed not in Application.objects.for_assessor(wrong)
    assert reviewed in Application.objects.for_assessor(assessor)


def test_marks_beyond_the_rubric_are_refused(reviewed: Application, assessor: User) -> None:
    with pytest.raises(services.Refusal):
        services.mark(application=reviewed, by=assessor, rubric={**points(50), "action": Decimal(41)})


# --- appeals -------------------------------------------------------------------------------------------------------


def test_an_upheld_appeal_recognises_what_it_names_and_awards(refused: Decision, learner: User, assessor: User) -> None:
    appeal = services.raise_appeal(decision=refused, by=learner, reason="平台停机当天的学时没有记上")

    services.decide_appeal(appeal=appeal, by=assessor, upheld=True, answer="停机记录属实", recognise=["hours"])

    last = Decision.objects.last()
    assert (last.kind, last.met, last.decided_by) == ("appeal", True, assessor)
    assert last.body["outcome"]["criteria"][0]["evidence"] == f"appeal:{appeal.pk}"
    assert Credential.objects.get().decision == last
    assert Decision.objects.first().met is False  # the first decision stands as it was


def test_a_rejected_appeal_changes_nothing_but_has_an_answer(refused: Decision, learner: User, assessor: User) -> None:
    appeal = services.raise_appeal(decision=refused, by=learner, reason="我认为应当通过")

    services.decide_appeal(appeal=appeal, by=assessor, upheld=False, answer="学时确实不足")

    appeal.refresh_from_db()
    assert (appeal.state, appeal.answer, appeal.answered_by) == ("rejected", "学时确实不足", assessor)
    assert Decision.objects.count() == 1


def test_appeals_are_raised_by_the_person_once_and_name_what_they_recognise(
    refused: Decision, learner: User, assessor: User, member: Callable[..., User]
) -> None:
    with pytest.raises(services.Refusal):
        services.raise_appeal(decision=refused, by=member(), reason="不是我的")
    appeal = services.raise_appeal(decision=refused, by=learner, reason="一")
    with pytest.raises(services.Refusal):
        services.raise_appeal(decision=refused, by=learner, reason="二")
    for wrong in ([], ["exam"], ["nothing"]):
        with pytest.raises(services.Refusal, match="指明"):
            services.decide_appeal(appeal=appeal, by=assessor, upheld=True, answer="x", recognise=wrong)
    assert Appeal.objects.for_assessor(assessor).get() == appeal
    assert not Appeal.objects.for_assessor(learner).exists()


def test_whoever_had_a_hand_in_the_decision_does_not_answer_the_appeal(
    reviewed: Application, learner: User, assessor: User, body: Organisation, member: Callable[..., User]
) -> None:
    services.mark(application=reviewed, by=assessor, rubric=points(50))
    services.mark(application=reviewed, by=member("assessor", organisation=body), rubric=points(55))
    appeal = services.raise_appeal(decision=reviewed.decisions.last(), by=learner, reason="评分过低")

    with pytest.raises(services.Refusal, match="您不能答复这份申诉"):
        services.decide_appeal(appeal=appeal, by=assessor, upheld=False, answer="x")
    assert not Appeal.objects.for_assessor(assessor).exists()
    services.decide_appeal(
        appeal=appeal, by=member("assessor", organisation=body), upheld=True, answer="重评", recognise=["review"]
    )
    reviewed.refresh_from_db()
    assert reviewed.state == "reviewing"  # the confirmation is still missing


# --- the follower --------------------------------------------------------------------------------------------------


def test_open_applications_are_looked_at_again_in_turn(refused: Decision) -> None:
    assert services.recheck_open() == 0

    later = timezone.now() + timedelta(minutes=11)
    assert services.recheck_open(now=later) == 1
    assert services.recheck_open(now=later) == 0

    assert Job.objects.filter(task="certification.decide").count() == 1
    assert AuditEntry.objects.filter(action="application.decided").count() == 1
    assert ChainHead.objects.get().number == 1
