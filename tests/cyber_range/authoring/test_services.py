"""Drafts, versions that never change, and who may do what with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cyber_range import catalogue
from cyber_range import services as ranges
from cyber_range.authoring import services, sources
from cyber_range.authoring.services import Conflict, Refused
from cyber_range.engine.lab.written import digest_of
from cyber_range.models import Instance
from cyber_range.written import DraftTrial, ImmutableError, ScenarioVersion, WrittenScenario
from drills.forms import PlanForm
from drills.services import Refused as DrillRefused
from drills.services import plan_drill
from lms.accounts.models import AuditEntry, Organisation, User

pytestmark = pytest.mark.django_db
Enter = Callable[[User], Client]


@pytest.fixture(autouse=True)
def small_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", Path(__file__).parents[2] / "drills" / "scenarios")


@pytest.fixture
def trainer(member: Callable[..., User]) -> User:
    return member("trainer")


def place(user: User) -> Organisation:
    return user.memberships.first().organisation


def begun(user: User, title: str = "我们的灌装线", source: str = sources.BLANK) -> WrittenScenario:
    return services.create(organisation=place(user), by=user, source=source, title=title)


def published(user: User, **values: Any) -> ScenarioVersion:
    row = begun(user, **values)
    return services.publish(scenario=row, revision=row.revision, note="第一次", by=user)


def post(client: Client, name: str, row: WrittenScenario, /, **body: Any) -> Any:
    return client.post(
        reverse(f"cyber_range:editor_{name}", args=[row.pk]), json.dumps(body), content_type="application/json"
    )


# ---------------------------------------------------------------- drafts


def test_a_draft_begins_with_a_blank_or_a_copy_under_its_own_name(trainer: User) -> None:
    blank, copy = begun(trainer), begun(trainer, "副本", "mini")

    assert [(row.title, row.based_on, row.problems, row.revision) for row in (blank, copy)] == [
        ("我们的灌装线", "", 0, 1), ("副本", "mini", 0, 1),
    ]  # fmt: skip
    form, _faults = services.judged(copy)
    assert form is not None
    assert (form.id, form.title.zh, form.version) == (f"own{copy.pk}", "副本", "1.0.0")
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "actor", "organisation"))[:1] == [
        ("scenario.created", trainer.pk, place(trainer).pk)
    ]


def test_every_step_is_saved_also_a_wrong_one_and_told_once_in_a_sitting(trainer: User) -> None:
    row = begun(trainer)

    row = services.change(
        scenario=row, revision=1, edit={"do": "zone.add", "title": "隔离区", "purdue": 3.5}, by=trainer
    )
    row = services.save_file(scenario=row, revision=2, name="story.yml", text="story: ${draw.nothing}\r\n", by=trainer)

    row = WrittenScenario.objects.get(pk=row.pk)
    assert (row.revision, row.problems, row.files["story.yml"]) == (3, 1, "story: ${draw.nothing}\n")
    assert AuditEntry.objects.filter(action="scenario.changed").count() == 1


def test_who_saw_an_older_draft_overwrites_nothing(trainer: User) -> None:
    row = begun(trainer)
    services.save_file(scenario=row, revision=1, name="README.md", text="# 新的\n", by=trainer)

    with pytest.raises(Conflict):
        services.save_file(scenario=row, revision=1, name="README.md", text="# 旧的\n", by=trainer)

    assert WrittenScenario.objects.get().files["README.md"] == "# 新的\n"


def test_the_form_waits_while_the_file_is_no_yaml(trainer: User) -> None:
    row = begun(trainer)
    row = services.save_file(scenario=row, revision=1, name="scenario.yml", text="zones: [\n", by=trainer)

    with pytest.raises(Refused, match="不是正确的 YAML"):
        services.change(scenario=row, revision=2, edit={"do": "node.remove", "node": "ws"}, by=trainer)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "nodes/../../x", "nodes/.git/config", "plug.py", ""])
def test_a_draft_holds_no_file_of_the_host(trainer: User, name: str) -> None:
    row = begun(trainer)

    with pytest.raises(Refused, match="不能用文件名"):
        services.save_file(scenario=row, revision=1, name=name, text="x", by=trainer)


def test_half_a_character_and_control_characters_reach_no_column(trainer: User, signed_in: Enter) -> None:
    row = begun(trainer)
    client = signed_in(trainer)
    text = row.files["scenario.yml"].replace("title: {zh: 我们的灌装线", 'title: {zh: "灌\\0装\\u0007线"', 1)

    half = post(client, "change", row, revision=1, edit={"do": "zone.add", "title": "\ud800", "purdue": 3})
    bell = post(client, "file", row, revision=1, name="scenario.yml", text=text)

    assert (half.status_code, bell.status_code) == (422, 200)
    assert WrittenScenario.objects.get().title == "灌装线"


# ---------------------------------------------------------------- versions


def test_a_version_is_named_by_the_hash_of_its_texts_and_never_changes(trainer: User) -> None:
    version = published(trainer)

    assert (version.number, version.version, version.digest, version.author) == (
        1,
        "1.0.0",
        digest_of(version.files),
        trainer,
    )
    version.note = "别的"
    with pytest.raises(ImmutableError):
        version.save()
    with pytest.raises(ImmutableError):
        version.delete()
    with pytest.raises(ImmutableError):
        ScenarioVersion.objects.filter(pk=version.pk).update(note="别的")
    with pytest.raises(ImmutableError):
        ScenarioVersion.objects.all().delete()
    assert ScenarioVersion.objects.get().note == "第一次"
    entry = AuditEntry.objects.get(action="scenario.published")
    assert entry.detail == {"number": 1, "digest": version.digest}


def test_a_second_version_says_something_new_under_a_number_of_its_own(trainer: User) -> None:
    first = published(trainer)
    row = first.scenario
    with pytest.raises(Refused, match="完全相同"):
        services.publish(scenario=row, revision=row.revision, note="", by=trainer)
    row = services.save_file(scenario=row, revision=row.revision, name="README.md", text="# 说明\n", by=trainer)

    second = services.publish(scenario=row, revision=row.revision, note="", by=trainer)

    assert (second.number, second.version, second.digest != first.digest) == (2, "1.0.1", True)
    with pytest.raises(Refused, match="完全相同"):
        services.publish(scenario=row, revision=WrittenScenario.objects.get().revision, note="", by=trainer)
    assert [row.pk for row in ScenarioVersion.objects.offered()] == [second.pk]


def test_what_has_faults_is_not_published(trainer: User) -> None:
    row = begun(trainer)
    row = services.change(scenario=row, revision=1, edit={"do": "node.remove", "node": "plc"}, by=trainer)

    with pytest.raises(Refused, match="处问题"):
        services.publish(scenario=row, revision=2, note="", by=trainer)

    assert not ScenarioVersion.objects.exists()


def test_an_archived_scenario_is_offered_to_nobody_and_stays_readable(trainer: User) -> None:
    version = published(trainer)

    services.archive(scenario=version.scenario, by=trainer)

    assert not ScenarioVersion.objects.offered().exists()
    assert catalogue.entry(version.key).scenario.title.zh == "我们的灌装线"
    with pytest.raises(Refused, match="已归档"):
        services.save_file(
            scenario=version.scenario, revision=version.scenario.revision, name="README.md", text="x", by=trainer
        )
    services.restore(scenario=version.scenario, by=trainer)
    assert ScenarioVersion.objects.offered().exists()


def test_the_catalogue_finds_a_version_by_its_key_and_only_for_its_organisation(
    trainer: User, member: Callable[..., User]
) -> None:
    version = published(trainer)

    entry = catalogue.entry(version.key, place(trainer))

    assert (entry.key, entry.written, entry.digest) == (version.key, version.digest, version.form)
    assert len(version.key) <= 60  # drills and instances keep it in a field of that length
    with pytest.raises(LookupError):
        catalogue.entry(version.key, place(member("trainer")))
    with pytest.raises(ranges.RangeRefused):
        ranges.request_range(scenario=version.key, organisation=place(member("security")), by=trainer)


def test_range_host_gets_the_texts_once(trainer: User) -> None:
    version = published(trainer)
    calls: list[tuple[str, dict[str, Any]]] = []

    class Host:
        def call(self, verb: str, **args: Any) -> dict[str, Any]:
            calls.append((verb, args))
            return {"known": len(calls) > 2}

    assert [catalogue.sent_to(Host(), version.key) for _ in range(2)] == [version.digest] * 2
    assert [(verb, sorted(args)) for verb, args in calls] == [
        ("scenario_put", ["digest"]), ("scenario_put", ["digest", "files"]), ("scenario_put", ["digest"]),
    ]  # fmt: skip
    assert catalogue.sent_to(Host(), "mini") == "mini"


def test_a_drill_may_be_planned_with_the_organisations_own_version(member: Callable[..., User]) -> None:
    chief = member("trainer", "security")
    version = published(chief)

    offered = dict(PlanForm(user=chief).fields["scenario"].choices)
    others = dict(PlanForm(user=member("security")).fields["scenario"].choices)

    assert (version.key in offered, version.key in others) == (True, False)
    assert "我们的灌装线 v1.0.0" in offered[version.key]


# ---------------------------------------------------------------- screens


def test_trying_a_version_asks_for_a_practice_range_of_it(trainer: User, signed_in: Enter) -> None:
    version = published(trainer)

    answer = signed_in(trainer).post(
        reverse("cyber_range:try_run", args=[version.key]), {"organisation": place(trainer).pk}
    )

    instance = Instance.objects.get()
    assert answer.headers["Location"] == reverse("cyber_range:instance", args=[instance.pk])
    assert (instance.scenario, instance.scenario_hash, instance.purpose) == (version.key, version.form, "practice")


def test_the_preview_shows_everything_but_answers_and_drawn_values(trainer: User, signed_in: Enter) -> None:
    page = signed_in(trainer).get(reverse("cyber_range:preview", args=[published(trainer).key])).content.decode()

    for word in (
        "我们的灌装线",
        "指出来源",
        "夜班发现灌装量异常",
        "值班电话",
        "R1.2",
        "蓝队工作站",
        "防火墙规则",
        "教员说明",
        "试运行",
    ):
        assert word in page
    assert "地址按队抽取" in page
    assert "${" not in page
    assert "lb-fw" not in page  # the scripted solution


def test_a_brief_is_markdown_and_no_markup(trainer: User, signed_in: Enter) -> None:
    row = begun(trainer)
    text = "# 目的\n\n<script>alert(1)</script> **要点** [x](javascript:alert(1)) ${draw.asset_tag}\n"
    services.save_file(scenario=row, revision=1, name="README.md", text=text, by=trainer)

    page = signed_in(trainer).get(reverse("cyber_range:preview_draft", args=[row.pk])).content.decode()

    assert "<h3>目的</h3>" in page
    assert "<strong>要点</strong>" in page
    assert "<script>alert" not in page
    assert 'href="javascript' not in page


def test_one_edit_answers_with_file_drawing_and_faults_of_one_revision(trainer: User, signed_in: Enter) -> None:
    row = begun(trainer)
    client = signed_in(trainer)

    good = post(
        client,
        "change",
        row,
        revision=1,
        edit={"do": "node.add", "role": "plc", "zone": "workshop", "title": "新控制器"},
    )
    bad = post(client, "change", row, revision=2, edit={"do": "node.remove", "node": "hmi"})
    late = post(client, "change", row, revision=1, edit={"do": "node.remove", "node": "ws"})
    wrong = post(client, "change", row, revision=3, edit={"do": "node.remove", "node": "nobody"})

    state = good.json()["state"]
    assert "title: 新控制器" in state["files"]["scenario.yml"]
    assert state["picture"]["zones"][1]["nodes"][-1]["title"]["zh"] == "新控制器"
    assert (state["revision"], state["valid"], state["faults"]) == (2, True, [])
    assert (bad.json()["state"]["valid"], bad.json()["state"]["faults"][0]["what"]) == (False, "没有节点“hmi”")
    assert (late.status_code, late.json()["state"]["revision"]) == (409, 3)
    assert (wrong.status_code, "没有“nobody”" in wrong.json()["error"]) == (422, True)


def test_undo_puts_all_texts_back(trainer: User, signed_in: Enter) -> None:
    row = begun(trainer)
    client = signed_in(trainer)
    before = row.files
    post(client, "change", row, revision=1, edit={"do": "node.remove", "node": "hmi"})

    answer = post(client, "undo", row, revision=2, files=before)

    assert (answer.status_code, WrittenScenario.objects.get().files) == (200, before)
    assert post(client, "undo", row, revision=3, files={"../x": "a"}).status_code == 422


def test_the_schema_is_published(trainer: User, signed_in: Enter) -> None:
    answer = signed_in(trainer).get(reverse("cyber_range:schema"))

    assert answer.json()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


PAGES: list[tuple[str, str]] = [
    ("get", "editor"), ("get", "editor_state"), ("post", "editor_change"), ("post", "editor_file"), ("post", "editor_undo"), ("post", "try_draft"),
    ("post", "editor_allowed"), ("get", "preview_draft"), ("post", "publish"), ("get", "versions"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name"), PAGES)
def test_another_organisations_scenario_does_not_exist_for_me(
    trainer: User, member: Callable[..., User], signed_in: Enter, method: str, name: str
) -> None:
    row = begun(trainer)
    address = reverse(f"cyber_range:{name}", args=[row.pk])

    stranger = signed_in(member("trainer"))

    assert getattr(stranger, method)(address).status_code == 404


def test_another_organisations_version_does_not_exist_for_me(
    trainer: User, member: Callable[..., User], signed_in: Enter
) -> None:
    version = published(trainer)
    other = member("trainer")
    stranger = signed_in(other)

    assert stranger.get(reverse("cyber_range:preview", args=[version.key])).status_code == 404
    assert stranger.get(reverse("cyber_range:scenario", args=[version.key])).status_code == 404
    assert signed_in(trainer).get(reverse("cyber_range:scenario", args=[version.key])).status_code == 200
    asked = stranger.post(reverse("cyber_range:try_run", args=[version.key]), {"organisation": place(other).pk})
    assert asked.status_code == 404
    assert stranger.post(reverse("cyber_range:archive", args=[version.scenario.pk, "archive"])).status_code == 404
    assert (
        stranger.post(
            reverse("cyber_range:write_new"), {"organisation": place(trainer).pk, "title": "x", "source": "blank"}
        ).status_code
        == 404
    )
    stranger.post(
        reverse("cyber_range:write_new"),
        {"organisation": place(other).pk, "title": "x", "source": f"version-{version.pk}"},
    )
    assert not WrittenScenario.objects.filter(organisation=place(other)).exists()


@pytest.mark.parametrize("role", ["learner", "security", "admin", "officer"])
def test_others_are_told_that_trainers_write(member: Callable[..., User], signed_in: Enter, role: str) -> None:
    answer = signed_in(member(role)).get(reverse("cyber_range:authoring"))

    assert answer.status_code == 403
    assert "培训师" in answer.content.decode()


def test_the_list_costs_the_same_for_one_and_for_three(trainer: User, signed_in: Enter) -> None:
    client = signed_in(trainer)
    published(trainer)
    client.get(reverse("cyber_range:authoring"))
    with CaptureQueriesContext(connection) as one:
        client.get(reverse("cyber_range:authoring"))
    for title in ("二", "三"):
        published(trainer, title=title)

    with CaptureQueriesContext(connection) as three:
        page = client.get(reverse("cyber_range:authoring")).content.decode()

    assert len(three) == len(one)
    assert all(title in page for title in ("我们的灌装线", "二", "三"))


def test_versions_are_compared_line_by_line(trainer: User, signed_in: Enter) -> None:
    row = published(trainer).scenario
    row = services.change(
        scenario=row,
        revision=row.revision,
        edit={"do": "zone.add", "name": "dmz", "title": "隔离区", "purdue": 3.5},
        by=trainer,
    )

    page = signed_in(trainer).get(reverse("cyber_range:versions", args=[row.pk])).content.decode()

    assert "<ins>" in page
    assert "{name: dmz, title: 隔离区, purdue: 3.5}" in page
    assert "<del>" not in page


# ---------------------------------------------------------------- a draft tried out


def tried(user: User, row: WrittenScenario) -> Instance:
    return services.try_draft(scenario=row, revision=row.revision, by=user)


def test_a_draft_is_tried_before_it_is_published_and_offered_to_nobody(
    member: Callable[..., User], signed_in: Enter
) -> None:
    chief = member("trainer", "security")
    row = begun(chief)

    answer = signed_in(chief).post(reverse("cyber_range:try_draft", args=[row.pk]), {"revision": row.revision})

    instance = Instance.objects.get()
    key = f"try-{digest_of(row.files)[:40]}"
    assert answer.headers["Location"] == reverse("cyber_range:instance", args=[instance.pk])
    assert (instance.scenario, instance.title, instance.purpose) == (key, "我们的灌装线（草稿试运行）", "practice")
    assert catalogue.entry(key).key == key
    assert not ScenarioVersion.objects.exists()
    assert [name for name, _title in PlanForm(user=chief).fields["scenario"].choices if "-" in name] == []
    assert AuditEntry.objects.filter(action="scenario.tried", actor=chief).count() == 1
    assert signed_in(chief).get(reverse("cyber_range:preview", args=[key])).status_code == 404


def test_a_trial_is_chosen_for_no_drill(trainer: User) -> None:
    key = tried(trainer, begun(trainer)).scenario

    with pytest.raises(LookupError, match="publish it first"):
        catalogue.entry(key, place(trainer))
    with pytest.raises(ranges.RangeRefused):
        ranges.request_range(scenario=key, organisation=place(trainer), by=trainer, purpose=Instance.Purpose.DRILL)
    with pytest.raises(DrillRefused):
        plan_drill(
            organisation=place(trainer), scenario=key, title="x", by=trainer, scheduled_at=timezone.now(), scope="x"
        )


def test_a_draft_with_mistakes_says_what_it_lacks(trainer: User, signed_in: Enter) -> None:
    row = begun(trainer)
    row = services.change(scenario=row, revision=1, edit={"do": "node.remove", "node": "plc"}, by=trainer)

    with pytest.raises(
        Refused,
        match=r"有 \d+ 处问题：scenario.yml 第 32 行 节点“plant” › 程序“plant” .*没有节点“plc”（是不是“plc2”？）",
    ):
        tried(trainer, row)
    page = signed_in(trainer).post(
        reverse("cyber_range:try_draft", args=[row.pk]), {"revision": row.revision}, follow=True
    )

    assert "草稿还不能试运行" in page.content.decode()
    assert (DraftTrial.objects.count(), Instance.objects.count()) == (0, 0)


def test_a_trial_goes_when_no_range_needs_it(trainer: User) -> None:
    row = begun(trainer)
    first = tried(trainer, row)
    row = services.save_file(scenario=row, revision=1, name="README.md", text="# 二\n", by=trainer)
    second = tried(trainer, row)
    assert DraftTrial.objects.count() == 2  # the first range still lives
    Instance.objects.filter(pk=first.pk).update(state=Instance.State.GONE)
    row = services.save_file(scenario=row, revision=2, name="README.md", text="# 三\n", by=trainer)

    third = tried(trainer, row)

    assert {one.key for one in DraftTrial.objects.all()} == {second.scenario, third.scenario}


def test_another_organisation_cannot_try_a_draft(trainer: User, member: Callable[..., User], signed_in: Enter) -> None:
    row = begun(trainer)
    key = tried(trainer, row).scenario
    other = member("trainer", "security")

    assert signed_in(other).post(reverse("cyber_range:try_draft", args=[row.pk]), {"revision": 1}).status_code == 404
    assert signed_in(member("learner")).post(reverse("cyber_range:try_draft", args=[row.pk])).status_code == 403
    assert signed_in(other).get(reverse("cyber_range:scenario", args=[key])).status_code == 404
    with pytest.raises(ranges.RangeRefused):
        ranges.request_range(scenario=key, organisation=place(other), by=other)


def test_a_refused_form_names_its_field_and_the_editor_costs_the_same_for_a_long_script(
    trainer: User, signed_in: Enter
) -> None:
    row = begun(trainer)
    client = signed_in(trainer)
    address = reverse("cyber_range:editor_state", args=[row.pk])

    wrong = post(client, "change", row, revision=1, edit={"do": "objective.set", "at": 0, "values": {"points": "x"}})
    client.get(address)
    with CaptureQueriesContext(connection) as short:
        client.get(address)
    for number in (1, 2, 3):
        values = {"title": {"zh": f"席位{number}"}, "cell": "blue", "max": "1"}
        post(client, "change", row, revision=number, edit={"do": "seat.add", "values": values})
    with CaptureQueriesContext(connection) as long:
        state = client.get(address).json()["state"]

    assert (wrong.status_code, wrong.json()["field"]) == (422, "points")
    assert [one["title"]["zh"] for one in state["script"]["seat"]][3:] == ["席位1", "席位2", "席位3"]
    assert len(long) == len(short)
