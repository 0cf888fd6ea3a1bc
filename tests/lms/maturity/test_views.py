"""The self-assessment clicked through, and what the wrong person gets."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from wagtail import hooks

from lms.accounts.models import Organisation, User
from lms.maturity import services
from lms.maturity.models import Assessment, PlanRow
from tests.factories.accounts import OrganisationFactory, RegionFactory
from tests.lms.maturity.test_services import DEMO, submitted

pytestmark = pytest.mark.django_db
Member = Callable[..., User]
SignedIn = Callable[[User], Client]


@pytest.fixture
def place() -> Organisation:
    services.load_instrument(services.CONTENT / "instrument_2024.yml")
    return OrganisationFactory(name="清泉饮料有限公司", region=RegionFactory(code="330681"))


@pytest.fixture
def admin(member: Member, place: Organisation) -> User:
    return member("admin", organisation=place)


@pytest.fixture
def office(signed_in: SignedIn, admin: User) -> Client:
    return signed_in(admin)


def url(name: str, *args: object) -> str:
    return reverse(f"maturity:{name}", args=args)


def text(response: object) -> str:
    return response.content.decode()


def posted(key: str) -> dict[str, object]:
    return {"answer": DEMO[key]}


def test_whole_assessment_by_clicking(office: Client, place: Organisation) -> None:
    assert "开始自评" in text(office.get(url("home")))
    page = office.post(url("start"))
    assert page.url == url("question", 1)
    keys = Assessment.objects.get().instrument.questions()

    for number, key in enumerate(keys, 1):
        assert office.get(url("question", number)).status_code == 200
        page = office.post(url("question", number), posted(key))
        assert page.url == (url("question", number + 1) if number < len(keys) else url("check"))
    checked = text(office.get(url("check")))
    done = office.post(url("check"), {"pledge": "on"})

    assert "未回答" not in checked
    assessment = Assessment.objects.get()
    assert done.url == url("result", assessment.pk)
    assert (assessment.answers, assessment.level_name) == (DEMO, "规范级")
    result = text(office.get(done.url))
    assert re.search(r"<strong>41\.08</strong> / 100", result)
    assert "离<strong>集成级</strong>还差" in result
    assert "18.93 分" in result
    assert "还要 8 个场景达标，其中约束性场景 5 个" in result
    plan = text(office.get(url("plan")))
    assert f"升级所需 0 / {PlanRow.objects.filter(needed=True).count()} 项已完成" in plan


def test_leaving_keeps_the_answer_and_home_leads_back_to_the_first_open_question(office: Client) -> None:
    office.post(url("start"))

    left = office.post(url("question", 1), {"answer": ["ics_network"], "leave": "1"})
    back = office.post(url("start"))

    assert (left.url, back.url) == (url("home"), url("question", 2))
    assert "已回答 1 / 31 题" in text(office.get(url("home")))
    assert re.search(r'value="ics_network" checked', text(office.get(url("question", 1))))


def test_question_with_counts_works_out_the_band(office: Client) -> None:
    office.post(url("start"))

    wrong = office.post(url("question", 2), {"field_total": "10", "field_digital": "11"})
    right = office.post(url("question", 2), {"field_total": "40", "field_digital": "14"})

    assert (wrong.status_code, "总数应大于 0" in text(wrong)) == (422, True)
    assert re.search(r'name="field_digital"[^>]* value="11"', text(wrong))
    assert right.url == url("question", 3)
    assert Assessment.objects.get().answers == {"equipment_digital": "b20_40"}


def test_submitting_too_early_says_what_is_open(office: Client) -> None:
    office.post(url("start"))

    response = office.post(url("check"), {"pledge": "on"})

    assert response.status_code == 422
    assert "还有 31 题没有回答" in text(response)


@pytest.mark.parametrize("number", [0, 32, 999])
def test_questions_beyond_the_instrument_do_not_exist(office: Client, number: int) -> None:
    office.post(url("start"))

    assert office.get(url("question", number)).status_code == 404


@pytest.mark.parametrize(("name", "args"), [("question", [1]), ("check", [])])
def test_without_a_draft_everything_leads_home(office: Client, name: str, args: list[int]) -> None:
    assert office.get(url(name, *args)).url == url("home")
    assert office.get(url("start")).url == url("home")


def test_start_without_an_instrument_says_so(member: Member, signed_in: SignedIn) -> None:
    client = signed_in(member("admin"))

    assert "还没有装入自评指标" in text(client.get(url("home")))
    assert "请联系平台管理员" in text(client.post(url("start"), follow=True))


@pytest.mark.parametrize("name", ["home", "start", "check"])
def test_answering_is_the_enterprise_admin_s(
    member: Member, signed_in: SignedIn, place: Organisation, name: str
) -> None:
    provider = OrganisationFactory(kind="provider")
    for person in (member("learner", organisation=place), member("officer"), member("admin", organisation=provider)):
        response = signed_in(person).get(url(name))
        assert (response.status_code, "企业管理员" in text(response)) == (403, True)
    assert Client().get(url(name)).url.startswith("/accounts/login/")


def test_result_is_for_the_enterprise_and_its_bureau(
    place: Organisation, admin: User, member: Member, signed_in: SignedIn
) -> None:
    done = submitted(place, admin)

    def status(person: User) -> int:
        return signed_in(person).get(url("result", done.pk)).status_code

    above = OrganisationFactory(kind="bureau", region=RegionFactory(code="330000"))
    beside = OrganisationFactory(kind="bureau", region=RegionFactory(code="330602"))
    assert [
        status(admin),
        status(member("learner", organisation=place)),
        status(member("officer", organisation=above)),
        status(member("officer", organisation=beside)),
        status(member("admin")),
    ] == [200, 200, 200, 404, 404]


def test_draft_has_no_result_page(office: Client, place: Organisation, admin: User) -> None:
    draft = services.start_assessment(place, by=admin)

    assert office.get(url("result", draft.pk)).status_code == 404


def test_plan_is_read_by_everyone_of_the_enterprise_and_changed_by_its_admin(
    place: Organisation, admin: User, member: Member, signed_in: SignedIn
) -> None:
    submitted(place, admin)
    row = PlanRow.objects.filter(needed=True).first()
    colleague, stranger = signed_in(member("learner", organisation=place)), signed_in(member("admin"))
    edit = url("plan_row", row.pk)

    assert edit in text(signed_in(admin).get(url("plan")))
    seen = colleague.get(url("plan"))
    assert (seen.status_code, row.action in text(seen), edit in text(seen)) == (200, True, False)
    assert row.action not in text(stranger.get(url("plan")))
    assert [client.post(edit, {"state": "done"}).status_code for client in (colleague, stranger)] == [403, 404]
    assert (
        signed_in(member("officer", organisation=OrganisationFactory(kind="bureau"))).get(url("plan")).status_code
        == 403
    )


def test_plan_row_is_changed_with_owner_day_and_state(
    office: Client, place: Organisation, admin: User, member: Member
) -> None:
    submitted(place, admin)
    row = PlanRow.objects.filter(needed=True).first()
    worker, stranger = member(organisation=place), member()
    values = {"owner": worker.pk, "due_on": "2027-03-01", "state": "doing", "evidence_note": ""}

    foreign = office.post(url("plan_row", row.pk), {**values, "owner": stranger.pk})
    unproven = office.post(url("plan_row", row.pk), {**values, "state": "done"})
    right = office.post(url("plan_row", row.pk), values)

    assert (foreign.status_code, unproven.status_code, right.url) == (422, 422, url("plan"))
    assert "请写明完成的证据" in text(unproven)
    row.refresh_from_db()
    assert (row.owner, str(row.due_on), row.state) == (worker, "2027-03-01", "doing")
    assert 'value="2027-03-01"' in text(office.get(url("plan_row", row.pk)))


def test_plan_says_the_days_left(office: Client, place: Organisation, admin: User) -> None:
    submitted(place, admin)
    today = timezone.localdate()
    rows = PlanRow.objects.filter(needed=True)
    for row, days in zip(rows, (3, 0, -2), strict=False):
        PlanRow.objects.filter(pk=row.pk).update(due_on=today + timedelta(days=days))

    page = text(office.get(url("plan")))

    assert [word in page for word in ("还有 3 天", "今天到期", "已过期 2 天")] == [True] * 3


def test_plan_shows_courses_that_apps_offer_for_its_tags(office: Client, place: Organisation, admin: User) -> None:
    submitted(place, admin)
    row = PlanRow.objects.filter(needed=True).first()
    asked: list[set[str]] = []

    def offer(request: HttpRequest, tags: set[str]) -> dict[str, list[tuple[str, str]]]:
        asked.append(tags)
        return {row.tags[0]: [("工控安全入门", "/learn/ics/")]}

    with hooks.register_temporarily("courses_for_tags", offer):
        page = text(office.get(url("plan")))

    assert len(asked) == 1
    assert row.tags[0] in asked[0]
    assert '<a class="lb-chip" href="/learn/ics/">' in page


def test_pages_cost_the_same_for_one_and_three_assessments(office: Client, place: Organisation, admin: User) -> None:
    def queries(name: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert office.get(url(name)).status_code == 200
        return len(seen)

    submitted(place, admin)
    queries("home")
    one = {name: queries(name) for name in ("home", "plan")}
    submitted(place, admin)
    submitted(place, admin)

    assert {name: queries(name) for name in ("home", "plan")} == one


def test_dossier_shows_level_deficits_and_plan(office: Client, place: Organisation, admin: User) -> None:
    before = text(office.get(reverse("accounts:dossier")))
    submitted(place, admin)
    after = text(office.get(reverse("accounts:dossier")))

    assert "还没有做过自评" in before
    assert [word in after for word in ("规范级", "18.93 分", "升级所需 0 /")] == [True] * 3
