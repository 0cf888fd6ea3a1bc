"""What people see and what wrong people do not."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import openpyxl
import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from certification import services
from certification.domain.credential import new_number
from certification.models import Appeal, Application, AwardRule, BureauAccess, Credential, Decision, Release
from certification.views.verify import TRIES
from lms.accounts.models import AuditEntry, Organisation, User
from lms.jobs.models import Job
from tests.factories.accounts import OrganisationFactory, RegionFactory, UserFactory
from tests.factories.certification import CredentialFactory, full_inputs

pytestmark = pytest.mark.django_db
SignedIn = Callable[[User], Client]


@pytest.fixture(autouse=True)
def _no_counts_from_other_tests() -> None:
    cache.clear()


@pytest.fixture
def officer(member: Callable[..., User]) -> User:
    province = RegionFactory(code="330000", name="浙江省")
    prefecture = RegionFactory(code="330600", name="绍兴市", parent=province)
    region = RegionFactory(code="330681", name="诸暨市", parent=prefecture)
    region.parent = prefecture
    region.save()
    RegionFactory(code="330602", name="越城区", parent=prefecture)
    return member("officer", organisation=OrganisationFactory(kind="bureau", uscc=None, region=prefecture))


def path(name: str, *args: Any) -> str:
    return reverse(f"certification:{name}", args=args)


# --- the holder --------------------------------------------------------------------------------------------------------


def test_the_checklist_says_what_is_missing_and_where_to_go(
    learner: User, award_rule: AwardRule, evidence: Callable[..., None], signed_in: SignedIn
) -> None:
    evidence(hours=full_inputs().hours - 1, exam=None)

    page = signed_in(learner).get(path("mine")).content.decode()

    assert re.findall(r'<li class="ct-(met|unmet)"', page) == ["unmet", "met", "unmet", "met", "met", "met"]
    assert "7 学时" in page
    assert reverse("courses:exams") in page


def test_applying_with_everything_leads_to_the_certificate(
    learner: User, award_rule: AwardRule, evidence: Callable[..., None], signed_in: SignedIn
) -> None:
    client = signed_in(learner)

    answer = client.post(path("apply", award_rule.level_id))

    credential = Credential.objects.get()
    assert answer.url == path("certificate", credential.number)
    page = client.get(answer.url).content.decode()
    assert services.check_code_of(credential) in page
    assert "蒋䶮" in page
    again = client.post(path("apply", award_rule.level_id), follow=True).content.decode()
    assert "您已持有这个等级的有效证书" in again


def test_applying_too_early_shows_the_decision_and_takes_an_appeal(
    refused: Decision, learner: User, signed_in: SignedIn
) -> None:
    client = signed_in(learner)
    assert "第 1 号决定" in client.get(path("application", refused.application_id)).content.decode()

    client.post(path("appeal", refused.number), {"reason": "平台停机当天的学时没有记上，请核对。"})

    assert Appeal.objects.get().decision == refused
    client.post(path("withdraw", refused.application_id))
    refused.application.refresh_from_db()
    assert refused.application.state == "withdrawn"


HOLDERS_PAGES = ["certificate", "document", "badge_jwt", "badge_json"]


@pytest.mark.parametrize("name", HOLDERS_PAGES)
def test_nobody_but_the_holder_has_the_certificate(
    name: str, credential: Credential, assessor: User, officer: User, member: Callable[..., User], signed_in: SignedIn
) -> None:
    services.render_document(credential=credential)
    address = path(name, credential.number)

    mine = signed_in(credential.user).get(address)
    assert mine.status_code == 200
    assert "no-store" in mine["Cache-Control"]
    for wrong in (assessor, officer, member("admin", organisation=credential.organisation)):
        assert signed_in(wrong).get(address).status_code == 404
    assert Client().get(address).status_code == 302


def test_a_pdf_that_failed_for_good_is_asked_for_again_by_its_holder(
    credential: Credential, assessor: User, signed_in: SignedIn
) -> None:
    job = Job.objects.get(key=f"certification.document:{credential.pk}")
    Job.objects.filter(pk=job.pk).update(state=Job.State.FAILED, attempts=5)
    again = path("document_again", credential.number)

    assert signed_in(assessor).post(again).status_code == 404
    client = signed_in(credential.user)
    assert again in client.get(path("certificate", credential.number)).content.decode()
    client.post(again)
    job.refresh_from_db()

    assert (job.state, job.attempts) == (Job.State.WAITING, 0)
    assert again not in client.get(path("certificate", credential.number)).content.decode()


def test_nobody_but_the_person_sees_or_moves_an_application(
    refused: Decision, assessor: User, member: Callable[..., User], signed_in: SignedIn
) -> None:
    for wrong in (assessor, member()):
        client = signed_in(wrong)
        assert client.get(path("application", refused.application_id)).status_code == 404
        assert client.post(path("withdraw", refused.application_id)).status_code == 404
        assert client.post(path("appeal", refused.number), {"reason": "x" * 20}).status_code == 404
    assert Application.objects.get().state == "collecting"


def queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


def test_my_certificates_take_the_same_queries_for_one_and_three(learner: User, signed_in: SignedIn) -> None:
    client = signed_in(learner)
    CredentialFactory(user=learner)
    one = queries(client, path("mine"))
    CredentialFactory(user=learner)
    CredentialFactory(user=learner)

    assert queries(client, path("mine")) == one


# --- anyone ------------------------------------------------------------------------------------------------------------


def looked(number: str, code: str, **headers: str) -> Any:
    return Client().post(path("verify"), {"number": number, "code": code}, headers=headers)


def test_the_right_code_shows_status_masked_name_and_what_was_proven(credential: Credential) -> None:
    page = looked(credential.number, services.check_code_of(credential)).content.decode()

    assert "有效" in page
    assert "蒋*" in page
    assert "蒋䶮" not in page
    assert "经靶场实测核实的处置动作" in page
    assert credential.organisation.name not in page
    assert credential.user.username not in page


def without_number(answer: Any) -> tuple[int, str, dict[str, str]]:
    """Status, page without what was asked for and the form's token, headers without times."""
    page = re.sub(r'name="number" value="[^"]*"', "", answer.content.decode())
    page = re.sub(r'(csrfmiddlewaretoken|next)" value="[^"]*"', "", page)
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("Date", "Expires", "Content-Length", "Content-Security-Policy")
    }
    return answer.status_code, page, headers


def test_unknown_wrong_and_unreadable_get_one_answer_and_the_same_work(
    credential: Credential, django_assert_num_queries: Any
) -> None:
    code = services.check_code_of(credential)
    tries = [
        (credential.number, "0" * 13),
        (new_number(2026), code),
        ("LB26-1", code),
        (credential.number, ""),
        ("", ""),
    ]

    answers = []
    counts = set()
    for number, typed in tries:
        with CaptureQueriesContext(connection) as seen:
            answers.append(without_number(looked(number, typed)))
        counts.add(len([q for q in seen if "certification_credential" in q["sql"]]))

    assert all(answer == answers[0] for answer in answers)
    assert "没有查到" in answers[0][1]
    assert counts == {1}


def test_the_page_of_a_number_does_not_say_whether_it_exists(credential: Credential) -> None:
    known = without_number(Client().get(path("verify_number", credential.number)))
    unknown = without_number(Client().get(path("verify_number", new_number(2026))))

    assert known == unknown


@pytest.mark.parametrize("name", ["verify", "verify_number"])
def test_verification_is_kept_out_of_caches_indexes_and_referrers(name: str) -> None:
    answer = Client().get(path(name, *(["LB26-0000-0000-0000"] if name == "verify_number" else [])))

    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["X-Robots-Tag"] == "noindex, nofollow"
    assert "no-store" in answer["Cache-Control"]


def test_a_code_in_the_address_is_not_taken(credential: Credential) -> None:
    code = services.check_code_of(credential)

    page = Client().get(path("verify"), {"number": credential.number, "code": code}).content.decode()

    assert "ct-verdict" not in page


def test_guessing_is_slowed_down_per_address(credential: Credential) -> None:
    for _ in range(TRIES):
        assert looked(credential.number, "0" * 13).status_code == 200

    slowed = looked(credential.number, services.check_code_of(credential))

    assert slowed.status_code == 429
    assert "蒋" not in slowed.content.decode()


def test_htmx_gets_the_verdict_alone(credential: Credential) -> None:
    page = looked(credential.number, services.check_code_of(credential), **{"HX-Request": "true"}).content.decode()

    assert "<html" not in page
    assert "有效" in page


def test_the_standard_behind_a_badge_is_public(award_rule: AwardRule) -> None:
    level = award_rule.level

    page = Client().get(path("standard", level.standard.code, level.standard.version, level.code)).content.decode()

    assert level.name in page


# --- the assessor ------------------------------------------------------------------------------------------------------


ASSESSORS_PAGES = ["desk", "register"]


@pytest.mark.parametrize("name", ASSESSORS_PAGES)
def test_the_desk_is_for_assessors(
    name: str, assessor: User, learner: User, officer: User, signed_in: SignedIn
) -> None:
    assert signed_in(assessor).get(path(name)).status_code == 200
    for wrong in (learner, officer):
        assert signed_in(wrong).get(path(name)).status_code == 403


def test_an_appeal_is_answered_at_the_desk(
    refused: Decision, learner: User, assessor: User, signed_in: SignedIn, member: Callable[..., User]
) -> None:
    appeal = services.raise_appeal(decision=refused, by=learner, reason="停机当天的学时没有记上")
    client = signed_in(assessor)
    assert path("desk_appeal", appeal.pk) in client.get(path("desk")).content.decode()

    wrong = client.post(path("desk_appeal", appeal.pk), {"verdict": "upheld", "answer": "记录属实"})
    assert wrong.status_code == 422
    client.post(path("desk_appeal", appeal.pk), {"verdict": "upheld", "answer": "记录属实", "recognise": ["hours"]})

    assert Credential.objects.get().user == learner
    elsewhere = member("assessor")
    assert signed_in(elsewhere).get(path("desk_appeal", appeal.pk)).status_code == 404


def test_revoking_needs_the_number_typed_again(credential: Credential, assessor: User, signed_in: SignedIn) -> None:
    client, address = signed_in(assessor), path("desk_certificate", credential.number)
    form = {"act": "revoke", "reason": "error", "note": "", "holder_name": ""}
    assert client.get(path("desk"), {"number": credential.number}).url == address

    assert client.post(address, {**form, "again": "LB26"}).status_code == 422
    client.post(address, {**form, "again": credential.number})

    credential.refresh_from_db()
    assert credential.state == "revoked"


def test_an_assessor_elsewhere_does_not_learn_that_a_certificate_exists(
    credential: Credential, member: Callable[..., User], signed_in: SignedIn
) -> None:
    assert signed_in(member("assessor")).get(path("desk_certificate", credential.number)).status_code == 404


# --- the bureau --------------------------------------------------------------------------------------------------------


def figure(page: str, kind: str) -> int:
    return int(re.search(rf'id="figure-{kind}".*?<b>(\d+)</b>', page, re.S)[1])  # type: ignore[index]


def test_the_count_goes_up_by_one_and_types_stay_apart(
    learner: User, award_rule: AwardRule, evidence: Callable[..., None], officer: User, signed_in: SignedIn
) -> None:
    client = signed_in(officer)
    CredentialFactory(
        credential_type="training_completion", known_from=date(2026, 1, 2), issued_on=date(2026, 1, 2), expires_on=None
    )
    before = client.get(path("bureau")).content.decode()

    services.apply_for(user=learner, level=award_rule.level)

    after = client.get(path("bureau")).content.decode()
    assert [figure(before, kind) for kind in ("platform_competency", "training_completion", "official_external")] == [
        0,
        1,
        0,
    ]
    assert [figure(after, kind) for kind in ("platform_competency", "training_completion", "official_external")] == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize("name", ["bureau", "counted", "export", "releases"])
def test_the_bureaus_pages_are_for_officers_and_their_region(
    name: str, officer: User, learner: User, assessor: User, signed_in: SignedIn
) -> None:
    RegionFactory(code="110101")
    client = signed_in(officer)

    assert client.get(path(name)).status_code == 200
    assert client.get(path(name), {"region": "330681"}).status_code == 200
    for outside in ("330000", "110101"):
        assert client.get(path(name), {"region": outside}).status_code == 403
    assert client.get(path(name), {"region": "999999"}).status_code == 404
    for wrong in (learner, assessor):
        assert signed_in(wrong).get(path(name)).status_code == 403


def test_the_table_takes_the_same_queries_for_one_and_three_certificates(officer: User, signed_in: SignedIn) -> None:
    client = signed_in(officer)
    CredentialFactory(region_id="330681")
    one = queries(client, path("bureau"))
    CredentialFactory(region_id="330681")
    CredentialFactory(region_id="330602")

    assert queries(client, path("bureau")) == one


def test_from_a_count_to_the_drills_evidence_with_the_purpose_written_down(
    credential: Credential, officer: User, signed_in: SignedIn, member: Callable[..., User]
) -> None:
    client = signed_in(officer)
    counted = client.get(path("counted"), {"region": "330681"}).content.decode()
    assert "一致" in counted

    refused = client.post(path("open_records") + "?region=330681", {"purpose": ""})
    assert BureauAccess.objects.count() == 0
    assert refused.status_code == 302
    opened = client.post(path("open_records") + "?region=330681", {"purpose": "核对补贴名单"})
    names = client.get(opened.url).content.decode()
    detail = client.get(path("record", BureauAccess.objects.get().pk, credential.number)).content.decode()

    assert "蒋*" in names
    assert "蒋䶮" not in names + detail
    assert credential.decision.hash in detail
    assert services.check_code_of(credential) not in names + detail
    assert AuditEntry.objects.filter(action="bureau.record_seen", target_id=str(credential.pk)).count() == 1
    other = member(
        "officer", organisation=OrganisationFactory(kind="bureau", uscc=None, region=RegionFactory(code="330681"))
    )
    assert signed_in(other).get(opened.url).status_code == 404


def test_a_purpose_holds_for_two_hours(credential: Credential, officer: User, signed_in: SignedIn) -> None:
    client = signed_in(officer)
    opened = client.post(path("open_records"), {"purpose": "核对补贴名单"})
    BureauAccess.objects.update(at=timezone.now() - timedelta(hours=2, minutes=1))

    assert client.get(opened.url).status_code == 403


def test_the_workbook_has_the_bureaus_form_with_types_on_sheets_of_their_own(
    officer: User, signed_in: SignedIn
) -> None:
    CredentialFactory(region_id="330681", known_from=date(2026, 2, 1), issued_on=date(2026, 2, 1), expires_on=None)

    answer = signed_in(officer).get(path("export"))

    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    assert book.sheetnames == ["封面", "培训合格证书", "岗位能力证明", "外部登记证书", "口径说明"]
    assert [row[0].value for row in book["封面"].iter_rows(min_row=3, max_row=6)] == [
        "填报单位（盖章）",
        "填报人",
        "联系电话",
        "统计截止日期",
    ]
    rows = [[cell.value for cell in row] for row in book["岗位能力证明"].iter_rows(min_row=4)]
    assert ["330681", "诸暨市", 1, 1, 1] in rows
    assert rows[-1][1:] == ["合计", 1, 1, 1]
    assert [[cell.value for cell in row] for row in book["培训合格证书"].iter_rows(min_row=4)][-1][1:] == ["合计", 0, 0]


def test_a_release_is_published_downloaded_and_checked_by_anyone(officer: User, signed_in: SignedIn) -> None:
    client = signed_in(officer)
    day = services.may_publish_as_of(timezone.localdate())[0]

    client.post(path("releases"), {"as_of": day.isoformat()})

    release = Release.objects.get()
    file = client.get(path("release_download", release.pk)).content.decode()
    assert "真实、未改动" in Client().post(path("check_release"), {"text": file}).content.decode()
    forged = file.replace(release.signature[-8:], "AAAAAAAA")
    assert "内容被改动过" in Client().post(path("check_release"), {"text": forged}).content.decode()


# --- what others show of us --------------------------------------------------------------------------------------------


def test_the_issuer_and_its_keys_are_public(credential: Credential) -> None:
    issuer = Client().get(path("issuer")).json()

    assert issuer["type"] == ["Profile"]
    assert Client().get(path("keys")).json()["keys"][0]["crv"] == "Ed25519"
    assert "d" not in Client().get(path("keys")).json()["keys"][0]


def test_erasing_an_account_keeps_the_certificate_in_the_count(credential: Credential, officer: User) -> None:
    person = credential.person
    Credential.objects.filter(pk=credential.pk).update(user=None)

    assert Credential.objects.get(person=person).status_on(timezone.localdate()).value == "valid"


def test_a_person_without_anything_is_told_why(signed_in: SignedIn, db: None) -> None:
    page = signed_in(UserFactory()).get(path("mine")).content.decode()

    assert "还没有可以申请的证明" in page
    assert Organisation.objects.count() == 0
