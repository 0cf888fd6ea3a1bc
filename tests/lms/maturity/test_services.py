"""Versions, drafts, submitting and the plan that carries on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lms.accounts.models import AuditEntry, Organisation, User
from lms.maturity import services
from lms.maturity.demo import ANSWERS, GRADES
from lms.maturity.domain.instrument import is_answered
from lms.maturity.models import Assessment, InstrumentVersion, PlanRow
from tests.factories.accounts import OrganisationFactory, RegionFactory
from tests.lms.maturity.strategies import DATA, complete_answers

pytestmark = pytest.mark.django_db
Member = Callable[..., User]
DEMO: dict[str, Any] = {**ANSWERS} | {
    f"scene:{scene['code']}": GRADES.get(scene["code"], 0) for scene in DATA["scenes"]
}


@pytest.fixture
def version() -> InstrumentVersion:
    return services.load_instrument(services.CONTENT / "instrument_2024.yml")


@pytest.fixture
def place(version: InstrumentVersion) -> Organisation:
    return OrganisationFactory()


@pytest.fixture
def admin(member: Member, place: Organisation) -> User:
    return member("admin", organisation=place)


def submitted(place: Organisation, admin: User, answers: dict[str, Any] = DEMO) -> Assessment:
    draft = services.start_assessment(place, by=admin)
    Assessment.objects.filter(pk=draft.pk).update(answers=answers)
    return services.submit_assessment(draft, by=admin, pledged=True)


def file(folder: Path, **changes: Any) -> Path:
    path = folder / "instrument.yml"
    path.write_text(yaml.safe_dump({**deepcopy(DATA), **changes}, allow_unicode=True), encoding="utf-8")
    return path


def test_load_takes_the_same_data_once_and_other_data_as_a_revision(version: InstrumentVersion, tmp_path: Path) -> None:
    same = services.load_instrument(services.CONTENT / "instrument_2024.yml")
    corrected = services.load_instrument(file(tmp_path, note="更正过的说明"))
    newer = services.load_instrument(file(tmp_path, version="2027"))

    assert same == version
    assert [(v.version, v.revision) for v in (version, corrected, newer)] == [("2024", 1), ("2024", 2), ("2027", 1)]
    assert services.current_instrument() == newer


def test_load_refuses_a_file_with_faults_and_says_them_all(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as refusal:
        services.load_instrument(file(tmp_path, plan={"items": [], "scenes": []}))

    assert len(refusal.value.messages) > 60
    assert InstrumentVersion.objects.count() == 0


def test_start_gives_the_one_draft_and_begins_with_last_time_s_answers(
    place: Organisation, admin: User, member: Member
) -> None:
    first = services.start_assessment(place, by=admin)
    same = services.start_assessment(place, by=member("admin", organisation=place))
    services.save_answer(first, key="it_systems", answer="most", by=admin)
    Assessment.objects.update(state="submitted")
    second = services.start_assessment(place, by=admin)

    assert (same, second.pk == first.pk, second.answers) == (first, False, {"it_systems": "most"})


def test_start_without_an_instrument_says_who_can_help(member: Member) -> None:
    admin = member("admin")

    with pytest.raises(ValidationError, match="平台管理员"):
        services.start_assessment(admin.memberships.get().organisation, by=admin)


def test_start_under_a_newer_version_keeps_the_answers_it_knows(
    place: Organisation, admin: User, tmp_path: Path
) -> None:
    submitted(place, admin)
    data = deepcopy(DATA)
    item = data["dimensions"][0]["subs"][2]["items"][0]
    item["options"] = [o | {"code": "quite_a_few"} if o["code"] == "several" else o for o in item["options"]]
    advice = next(r for r in data["plan"]["items"] if (r["item"], r["option"]) == ("it_systems", "several"))
    advice["option"] = "quite_a_few"
    services.load_instrument(file(tmp_path, **data))

    draft = services.start_assessment(place, by=admin)

    assert draft.instrument_version.revision == 2
    assert draft.answers == {k: v for k, v in DEMO.items() if k != "it_systems"}


def test_save_answer_keeps_clears_and_refuses(place: Organisation, admin: User) -> None:
    draft = services.start_assessment(place, by=admin)

    kept = services.save_answer(draft, key="network", answer=["ics_network"], by=admin).answers
    cleared = services.save_answer(draft, key="network", answer=[], by=admin).answers
    zero = services.save_answer(draft, key="scene:hr", answer=0, by=admin).answers
    with pytest.raises(ValidationError):
        services.save_answer(draft, key="network", answer=["wifi"], by=admin)

    assert (kept, cleared, zero) == ({"network": ["ics_network"]}, {}, {"scene:hr": 0})
    assert Assessment.objects.get().answers == {"scene:hr": 0}


def test_submit_needs_every_answer_and_the_pledge(place: Organisation, admin: User) -> None:
    draft = services.start_assessment(place, by=admin)
    services.save_answer(draft, key="scene:hr", answer=0, by=admin)
    with pytest.raises(ValidationError) as unanswered:
        services.submit_assessment(draft, by=admin, pledged=True)
    Assessment.objects.update(answers=DEMO)
    with pytest.raises(ValidationError) as pledge:
        services.submit_assessment(draft, by=admin, pledged=False)

    assert (unanswered.value.messages, pledge.value.code) == (["还有 30 题没有回答。"], "pledge")
    assert (Assessment.objects.get().state, PlanRow.objects.count()) == ("draft", 0)


def test_submit_fixes_the_result_once(place: Organisation, admin: User) -> None:
    done = submitted(place, admin)
    again = services.submit_assessment(done, by=admin, pledged=True)

    assert (done.level, done.level_name, str(done.score)) == (2, "规范级", "41.075")
    assert again.submitted_at == done.submitted_at
    assert AuditEntry.objects.filter(action="assessment.submitted").count() == 1
    with pytest.raises(ValidationError, match="已经提交"):
        services.save_answer(done, key="scene:hr", answer=4, by=admin)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(answers=complete_answers)
def test_old_answers_come_out_the_same_under_their_own_version(
    place: Organisation, admin: User, tmp_path: Path, answers: dict[str, Any]
) -> None:
    Assessment.objects.all().delete()
    done = submitted(place, admin, answers)
    stricter = deepcopy(DATA["level_rules"])
    for level in stricter["levels"]:
        level["min_score"] = 99
    services.load_instrument(file(tmp_path, level_rules=stricter))

    later = Assessment.objects.get(pk=done.pk)

    assert (later.result.score, later.result.level, later.result.level_name) == (
        done.score,
        done.level,
        done.level_name,
    )


def test_plan_follows_the_newest_and_keeps_what_people_decided(
    place: Organisation, admin: User, member: Member
) -> None:
    worker = member(organisation=place)
    submitted(place, admin)
    first, second = [row for row in services.plan_of(place) if row.needed][:2]
    services.update_plan_row(first, by=admin, state="doing", owner=worker, due_on=date(2027, 3, 1), evidence_note="")
    services.update_plan_row(second, by=admin, state="done", owner=None, due_on=None, evidence_note="台账在共享盘")
    submitted(place, admin)

    rows = {row.key: row for row in services.plan_of(place)}

    assert {row.assessment_id for row in rows.values()} == {Assessment.objects.first().pk}
    carried, afresh = rows[first.key], rows[second.key]
    assert (carried.state, carried.owner, carried.due_on) == ("doing", worker, date(2027, 3, 1))
    assert (afresh.state, afresh.done_at) == ("open", None)
    assert PlanRow.objects.get(pk=second.pk).state == "done"


def test_plan_is_written_with_as_many_queries_for_any_history(place: Organisation, admin: User, member: Member) -> None:
    def queries() -> int:
        draft = services.start_assessment(place, by=admin)
        Assessment.objects.filter(pk=draft.pk).update(answers=DEMO)
        with CaptureQueriesContext(connection) as seen:
            services.submit_assessment(draft, by=admin, pledged=True)
        return len(seen)

    one = queries()
    PlanRow.objects.update(owner=member(organisation=place), state="doing")

    assert queries() == one


def test_plan_row_done_needs_evidence_and_keeps_its_day(place: Organisation, admin: User) -> None:
    submitted(place, admin)
    row = services.plan_of(place)[0]
    with pytest.raises(ValidationError) as refusal:
        services.update_plan_row(row, by=admin, state="done", owner=None, due_on=None, evidence_note="  ")
    done = services.update_plan_row(row, by=admin, state="done", owner=None, due_on=None, evidence_note="见台账")
    later = services.update_plan_row(row, by=admin, state="done", owner=None, due_on=None, evidence_note="见新台账")
    opened = services.update_plan_row(row, by=admin, state="open", owner=None, due_on=None, evidence_note="")

    assert list(refusal.value.message_dict) == ["evidence_note"]
    assert (later.done_at == done.done_at is not None, opened.done_at) == (True, None)
    assert AuditEntry.objects.filter(action="plan.updated").count() == 3


def form(**values: Any) -> QueryDict:
    data = QueryDict(mutable=True)
    for name, value in values.items():
        data.setlist(name, value if isinstance(value, list) else [value])
    return data


@pytest.mark.parametrize(
    ("key", "values", "answer"),
    [
        ("scene:hr", {"answer": "0"}, 0),
        ("scene:hr", {"answer": "4"}, 4),
        ("scene:hr", {"answer": "²"}, None),
        ("scene:hr", {"answer": "9" * 5000}, None),
        ("scene:hr", {}, None),
        ("network", {"answer": ["ics_network", "ics_network"]}, ["ics_network"]),
        ("network", {}, []),
        ("it_systems", {"answer": "one"}, "one"),
        ("equipment_digital", {"answer": "b10_20"}, "b10_20"),
        ("equipment_digital", {"field_total": "40", "field_digital": "14"}, "b20_40"),
        ("equipment_digital", {"field_total": "1,000", "field_digital": "0", "answer": "b60_100"}, "b0_10"),
        ("funding", {"field_spend": "12.5", "field_revenue": "4800"}, "b0_10"),
    ],
)
def test_form_becomes_an_answer(place: Organisation, admin: User, key: str, values: dict, answer: Any) -> None:
    draft = services.start_assessment(place, by=admin)

    assert services.answer_from_form(draft, key, form(**values)) == answer


@pytest.mark.parametrize(
    "counts",
    [
        {"field_total": "40", "field_digital": "41"},
        {"field_total": "0", "field_digital": "0"},
        {"field_total": "-4", "field_digital": "-5"},
        {"field_total": "40", "field_digital": ""},
        {"field_total": "四十", "field_digital": "3"},
        {"field_total": "NaN", "field_digital": "3"},
        {"field_total": "Infinity", "field_digital": "3"},
        {"field_total": "1e999999", "field_digital": "1e999998"},
    ],
)
def test_counts_that_cannot_be_are_refused(place: Organisation, admin: User, counts: dict[str, str]) -> None:
    draft = services.start_assessment(place, by=admin)

    with pytest.raises(ValidationError, match="设备数字化率"):
        services.answer_from_form(draft, "equipment_digital", form(**counts))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    key=st.sampled_from(["scene:hr", "network", "it_systems", "funding"]),
    text=st.text(max_size=8),
    more=st.text(max_size=8),
)
def test_any_posted_text_is_an_answer_or_a_refusal(
    place: Organisation, admin: User, key: str, text: str, more: str
) -> None:
    draft = services.start_assessment(place, by=admin)
    try:
        answer = services.answer_from_form(draft, key, form(answer=[text, more], field_spend=text, field_revenue=more))
        saved = services.save_answer(draft, key=key, answer=answer, by=admin)
    except ValidationError:
        return
    assert saved.answers.get(key) == (answer if is_answered(answer) else None)


def test_assessments_are_visible_to_the_enterprise_and_once_submitted_to_its_bureau(
    place: Organisation, admin: User, member: Member
) -> None:
    def seen(person: User) -> list[Assessment]:
        return list(Assessment.objects.visible_to(person))

    office = OrganisationFactory(kind="bureau", region=RegionFactory(code="330600"))
    officer = member("officer", organisation=office)
    elsewhere = member("officer", organisation=OrganisationFactory(kind="bureau", region=RegionFactory(code="440000")))
    draft = services.start_assessment(place, by=admin)
    before = [seen(admin), seen(officer), seen(member("admin"))]
    Assessment.objects.update(state="submitted")

    assert before == [[draft], [], []]
    assert [seen(officer), seen(elsewhere), seen(member("learner"))] == [[draft], [], []]
