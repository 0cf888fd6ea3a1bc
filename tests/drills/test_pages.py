"""Pages and verbs: what changed, who may, and how many questions a list asks of the database."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta

import pypdf
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from drills import log, services
from drills.domain import events as ev
from drills.models import Drill
from lms.accounts.models import AuditEntry, User

from .conftest import fresh, seat

pytestmark = pytest.mark.django_db
Enter = Callable[[User], Client]


def begin(drill: Drill) -> Drill:
    with log.writing(drill.pk) as book:
        book.append(ev.Started(), at=timezone.now() - timedelta(minutes=1))
    return fresh(drill)


def act(client: Client, drill: Drill, verb: str, **values: object) -> tuple[int, dict]:
    answer = client.post(reverse("drills:act", args=[drill.pk, verb]), values)
    return answer.status_code, json.loads(answer.content)


@pytest.fixture
def ended(seated: Drill, people: dict[str, User]) -> Drill:
    drill = begin(seated)
    services.note(drill=drill, seat=seat(drill, people["white"]), text="只给导调组", scope="white")
    services.end(drill=drill, by=people["white"])
    return fresh(drill)


def test_home_asks_the_same_for_one_and_three_drills(planned: Drill, people: dict[str, User], signed_in: Enter) -> None:
    client = signed_in(people["white"])
    client.get(reverse("drills:home"))
    with CaptureQueriesContext(
        connection,
    ) as one:
        client.get(reverse("drills:home"))
    for number in range(2):
        services.plan_drill(
            title=f"再练 {number}", organisation=planned.organisation, by=people["white"], scenario="mini",
            scheduled_at=timezone.now(), scope="x", seats=[(people["white"], "white")],
        )  # fmt: skip

    with CaptureQueriesContext(connection) as three:
        page = client.get(reverse("drills:home"))

    assert len(three) == len(one)
    assert page.content.decode().count("再练") >= 2


def test_planning_makes_a_drill_and_leads_to_its_lobby(people: dict[str, User], signed_in: Enter) -> None:
    client = signed_in(people["white"])
    organisation = people["white"].memberships.get().organisation

    answer = client.post(
        reverse("drills:plan"),
        {
            "organisation": organisation.pk, "scenario": "mini", "title": "夜班演练", "form": "practical", "type": "special",
            "scope": "车间", "incident_class": "NAEXPLOIT", "data_class": "general", "duration_minutes": 20,
            "report_minutes": 10, "scheduled_at": (timezone.localtime() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M"),
        },
    )  # fmt: skip

    drill = Drill.objects.get()
    assert answer.url == reverse("drills:lobby", args=[drill.pk])
    assert (drill.title, drill.organisation, drill.phase) == ("夜班演练", organisation, "planned")


@pytest.mark.parametrize(
    ("field", "value"), [("duration_minutes", 2), ("incident_class", "WRONG"), ("scenario", "none")]
)
def test_a_wrong_plan_says_where(people: dict[str, User], signed_in: Enter, field: str, value: object) -> None:
    data = {
        "organisation": people["white"].memberships.get().organisation_id, "scenario": "mini", "title": "x",
        "form": "practical", "type": "special", "scope": "x", "incident_class": "NAEXPLOIT", "data_class": "general",
        "duration_minutes": 20, "report_minutes": 10, "scheduled_at": "2099-01-01T08:00", field: value,
    }  # fmt: skip

    page = signed_in(people["white"]).post(reverse("drills:plan"), data)

    assert (page.status_code, list(page.context["form"].errors)) == (200, [field])


def test_a_learner_cannot_plan(people: dict[str, User], signed_in: Enter) -> None:
    assert signed_in(people["blue"]).get(reverse("drills:plan")).status_code == 403


@pytest.mark.parametrize(
    "name", ["lobby", "room", "feed", "review", "timeline", "report", "report_pdf", "event_log", "moment"]
)
def test_a_stranger_knows_nothing_of_a_drill(
    seated: Drill, people: dict[str, User], signed_in: Enter, name: str
) -> None:
    assert signed_in(people["stranger"]).get(reverse(f"drills:{name}", args=[seated.pk])).status_code == 404


def test_before_the_end_nobody_reviews(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    for name in ("review", "timeline", "event_log", "report", "report_pdf"):
        assert signed_in(people["white"]).get(reverse(f"drills:{name}", args=[seated.pk])).status_code == 403


def test_the_lobby_shows_its_buttons_to_those_who_may(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    url = reverse("drills:lobby", args=[seated.pk])

    assert reverse("drills:launch", args=[seated.pk]) in signed_in(people["white"]).get(url).content.decode()
    assert reverse("drills:launch", args=[seated.pk]) not in signed_in(people["blue"]).get(url).content.decode()
    assert signed_in(people["blue"]).post(reverse("drills:launch", args=[seated.pk])).status_code == 403


def test_the_room_allows_styles_inline_and_no_scripts(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    page = signed_in(people["blue"]).get(reverse("drills:room", args=[seated.pk]))

    policy = dict(
        part.strip().split(" ", 1) for part in page["Content-Security-Policy"].split(";") if " " in part.strip()
    )
    assert "'unsafe-inline'" in policy["style-src"]
    assert "'unsafe-inline'" not in policy["script-src"]
    lobby = signed_in(people["blue"]).get(reverse("drills:lobby", args=[seated.pk]))
    assert "unsafe-inline" not in lobby["Content-Security-Policy"]


def test_the_room_lists_the_seats_own_consoles(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    found = {}
    for name in ("white", "blue", "observer"):
        page = signed_in(people[name]).get(reverse("drills:room", args=[seated.pk]))
        found[name] = [one["node"] for one in page.context["config"]["consoles"]]

    assert found == {"white": [], "blue": ["fw", "ws"], "observer": []}
    blue = signed_in(people["blue"]).get(reverse("drills:room", args=[seated.pk])).context["config"]["map"]
    assert "plant" not in {node["name"] for node in blue["nodes"]}


def test_the_feed_gives_each_seat_its_own(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    drill = begin(seated)
    services.note(drill=drill, seat=seat(drill, people["white"]), text="geheim", scope="white")
    url = reverse("drills:feed", args=[drill.pk])

    white, blue, observer = (signed_in(people[n]).get(url).json() for n in ("white", "blue", "observer"))

    assert [e["n"] for e in blue["events"]] == list(range(1, blue["newest"] + 1))
    assert white["newest"] == blue["newest"] + 1 == observer["newest"] + 1
    assert "geheim" in json.dumps(white)
    assert "geheim" not in json.dumps([blue, observer])
    assert "due" in white["state"]
    assert "due" not in blue["state"]
    assert signed_in(people["blue"]).get(url, {"after": blue["newest"]}).json()["events"] == []
    assert signed_in(people["blue2"]).get(url).status_code == 403


def test_the_feed_costs_the_same_for_few_and_many_events(
    seated: Drill, people: dict[str, User], signed_in: Enter
) -> None:
    client, url = signed_in(people["blue"]), reverse("drills:feed", args=[seated.pk])
    client.get(url)
    with CaptureQueriesContext(connection) as few:
        client.get(url)
    for number in range(30):
        services.note(drill=seated, seat=seat(seated, people["blue"]), text=f"Notiz {number}")
    client.get(url)

    with CaptureQueriesContext(connection) as many:
        client.get(url)

    assert len(many) <= len(few) + 1  # the words, once there are any


@pytest.mark.parametrize(
    ("verb", "allowed"),
    [
        ("pause", {"white"}), ("end", {"white"}), ("fire", {"white"}), ("rate", {"white"}), ("extend", {"white"}),
        ("campaign", {"white"}), ("relaunch", {"white"}), ("adhoc", {"white"}),
        ("submit", {"blue"}), ("hint", {"blue"}), ("decide", {"blue"}), ("report", {"blue"}),
        ("note", {"white", "blue"}), ("read", {"white", "blue"}), ("alarm", {"white", "blue"}),
    ],
)  # fmt: skip
def test_verbs_are_for_their_seats(
    seated: Drill, people: dict[str, User], signed_in: Enter, verb: str, allowed: set[str]
) -> None:
    drill = begin(seated)
    before = fresh(drill).last_seq

    refused = {
        name for name in ("white", "blue", "observer", "blue2") if act(signed_in(people[name]), drill, verb)[0] == 403
    }

    assert refused == {"white", "blue", "observer", "blue2"} - allowed
    assert signed_in(people["stranger"]).post(reverse("drills:act", args=[drill.pk, verb])).status_code == 404
    assert fresh(drill).last_seq - before <= (verb in ("pause", "relaunch"))


def test_verbs_are_not_taken_without_a_token(seated: Drill, people: dict[str, User]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["blue"], backend="django.contrib.auth.backends.ModelBackend")

    assert client.post(reverse("drills:act", args=[seated.pk, "note"]), {"text": "x"}).status_code == 403


def test_a_note_of_markup_stays_words(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    code, said = act(signed_in(people["blue"]), seated, "note", text="<img src=x onerror=alert(1)>")

    feed = signed_in(people["blue"]).get(reverse("drills:feed", args=[seated.pk]))
    assert (code, said["ok"], feed["Content-Type"]) == (200, True, "application/json")
    assert feed.json()["events"][-1]["texts"] == {"text": "<img src=x onerror=alert(1)>"}


def test_ending_wants_the_word(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    drill = begin(seated)
    client = signed_in(people["white"])

    assert act(client, drill, "end", confirm="ja")[0] == 409
    assert fresh(drill).phase == "running"
    assert act(client, drill, "end", confirm="结束演练")[0] == 200
    assert fresh(drill).phase == "ended"


def test_a_ticket_is_for_a_console_of_ones_own_seat(seated: Drill, people: dict[str, User], signed_in: Enter) -> None:
    url = reverse("drills:ticket", args=[seated.pk])

    answers = {
        (name, node): signed_in(people[name]).post(url, {"node": node}).status_code
        for name, node in (("blue", "ws"), ("blue", "plc"), ("white", "ws"), ("observer", "ws"), ("blue2", "ws"))
    }

    assert answers == {
        ("blue", "ws"): 409,
        ("blue", "plc"): 403,
        ("white", "ws"): 403,
        ("observer", "ws"): 403,
        ("blue2", "ws"): 403,
    }  # fmt: skip  409: allowed, and there is no range


def test_after_the_end_everyone_who_took_part_sees_everything(
    ended: Drill, people: dict[str, User], signed_in: Enter
) -> None:
    page = signed_in(people["blue"]).get(reverse("drills:timeline", args=[ended.pk])).json()

    assert "只给导调组" in json.dumps(page, ensure_ascii=False)
    assert [event["n"] for event in page["events"]] == list(range(1, ended.last_seq + 1))
    for name in ("review", "report"):
        assert signed_in(people["blue"]).get(reverse(f"drills:{name}", args=[ended.pk])).status_code == 200


def test_the_slider_shows_the_state_of_that_second(ended: Drill, people: dict[str, User], signed_in: Enter) -> None:
    client, url = signed_in(people["blue"]), reverse("drills:moment", args=[ended.pk])

    assert client.get(url, {"at": 1}).json()["phase"] == "running"
    assert client.get(url, {"at": 9999}).json()["phase"] == "ended"


def test_findings_are_for_those_who_lead(ended: Drill, people: dict[str, User], signed_in: Enter) -> None:
    url = reverse("drills:add_finding", args=[ended.pk])
    data = {
        "title": "口令未改", "severity": "high", "measure": "改", "owner": people["blue"].pk,
        "due": (timezone.localdate() + timedelta(days=3)).isoformat(),
    }  # fmt: skip

    assert signed_in(people["blue"]).post(url, data).status_code == 403
    signed_in(people["white"]).post(url, data)

    finding = ended.findings.get()
    assert (finding.title, finding.owner) == ("口令未改", people["blue"])
    done = reverse("drills:finish_finding", args=[ended.pk, finding.pk])
    assert signed_in(people["blue2"]).post(done, {"evidence": "x"}).status_code == 403
    signed_in(people["blue"]).post(done, {"evidence": "已改"})
    close = reverse("drills:close_finding", args=[ended.pk, finding.pk])
    assert signed_in(people["blue"]).post(close, {"accept": "yes"}).status_code == 403
    signed_in(people["white"]).post(close, {"accept": "yes"})
    finding.refresh_from_db()
    assert (finding.state, finding.evidence, finding.closed_by) == ("closed", "已改", people["white"])


def test_captures_are_attachments_of_that_drill_alone(
    ended: Drill, people: dict[str, User], signed_in: Enter, settings, tmp_path
) -> None:
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    from drills.files import path_of
    from drills.models import DrillEvent

    settings.MEDIA_ROOT = str(tmp_path)
    DrillEvent(
        drill=ended, seq=ended.last_seq + 1, kind="lab.captured", at=timezone.now(), payload={
            "version": 1, "range_id": "0123456789ab", "captures": [{"name": "office.pcapng", "sha256": "0" * 64, "bytes": 3}],
        },
    ).save(force_insert=True)  # fmt: skip
    Drill.objects.filter(pk=ended.pk).update(last_seq=ended.last_seq + 1)
    default_storage.save(path_of(ended, "0123456789ab", "office.pcapng"), ContentFile(b"abc"))
    client = signed_in(people["blue"])

    def url(name: str) -> str:
        return f"/drills/{ended.pk}/review/captures/0123456789ab/{name}"

    answer = client.get(url("office.pcapng"))
    assert b"".join(answer.streaming_content) == b"abc"
    assert answer["Content-Disposition"].startswith("attachment")
    assert [client.get(url(name)).status_code for name in ("secret.key", "..%2f..%2fsecret_key", ".hidden")] == [
        404
    ] * 3
    assert signed_in(people["stranger"]).get(url("office.pcapng")).status_code == 404


def test_the_report_comes_as_a_pdf_with_chinese_type(ended: Drill, people: dict[str, User], signed_in: Enter) -> None:
    Drill.objects.filter(pk=ended.pk).update(lessons="先看急停，再看画面。\n䶮与𬭎也要印得出来。")

    answer = signed_in(people["white"]).get(reverse("drills:report_pdf", args=[ended.pk]))

    document = pypdf.PdfReader(io.BytesIO(answer.content))
    text = "".join(page.extract_text() for page in document.pages)
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("application/pdf", "no-store")
    assert "attachment" in answer["Content-Disposition"]
    assert document.metadata is not None
    assert document.metadata.title == ended.title
    for part in ("概况", "过程", "评估结果", "问题清单与整改措施", "经验教训", ended.organisation.name, "先看急停"):
        assert part in "".join(text.split())  # typst sets a quarter space between Chinese and figures
    assert AuditEntry.objects.filter(action="drill.report_downloaded", actor=people["white"]).count() == 1
