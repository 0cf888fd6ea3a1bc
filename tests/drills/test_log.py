"""The log: gapless under threads, never changed, seen by each seat with its own numbers."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, connections, transaction

from drills import log, services
from drills.domain import events as ev
from drills.domain.visibility import Viewer
from drills.models import Drill, DrillEvent, EventText
from lms.accounts.models import User

from .conftest import fresh, seat

WHITE = Viewer("white", "white", "w")
BLUE = Viewer("blue", "blue", "b", frozenset(("office",)))


@pytest.mark.django_db
def test_rows_are_neither_changed_nor_cut(seated: Drill) -> None:
    for work in (
        lambda: DrillEvent.objects.filter(drill=seated).update(actor="x"),
        lambda: DrillEvent.objects.filter(drill=seated).delete(),
    ):
        with pytest.raises(TypeError, match="log is never"):
            work()


@pytest.mark.django_db
def test_a_number_is_given_once(seated: Drill) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        DrillEvent.objects.create(drill=seated, seq=1, kind="drill.paused", at=seated.created_at, payload={})


@pytest.mark.django_db
def test_nothing_of_a_failed_verb_is_left(seated: Drill) -> None:
    before = fresh(seated).last_seq

    with pytest.raises(RuntimeError), log.writing(seated.pk) as book:  # noqa: PT012  the verb fails after its append
        book.append(ev.NoteAdded(scope="all", cell="blue"), texts={"text": "x"})
        raise RuntimeError

    assert (fresh(seated).last_seq, EventText.objects.count()) == (before, 0)
    assert log.full_state(fresh(seated)).seq == before


@pytest.mark.django_db
def test_a_seats_numbers_do_not_tell_of_hidden_events(seated: Drill, people: dict[str, User]) -> None:
    services.note(drill=seated, seat=seat(seated, people["white"]), text="只给导调组", scope="white")
    services.note(drill=seated, seat=seat(seated, people["blue"]), text="蓝队的", scope="team")

    drill = fresh(seated)
    white, newest_white, _ = log.read(drill, WHITE)
    blue, newest_blue, _ = log.read(drill, BLUE)
    assert [e.n for e in blue] == list(range(1, newest_blue + 1))
    assert (newest_white, newest_blue) == (drill.last_seq, drill.last_seq - 1)
    assert [e.texts.get("text") for e in blue if e.kind == "note.added"] == ["蓝队的"]
    assert [e.n for e in log.read(drill, BLUE, after=newest_blue - 1)[0]] == [newest_blue]
    script = next(e for e in blue if e.kind == "script.set")
    assert (script.payload["injects"], script.payload["steps"]) == ([], [])
    assert len(next(e for e in white if e.kind == "script.set").payload["injects"]) == 3


@pytest.mark.django_db
def test_what_options_are_worth_is_told_by_choosing(seated: Drill) -> None:
    with log.writing(seated.pk) as book:
        spec = book.state.spec_of_inject("call")
        services.running.append_inject(book, spec, how="white")

    told = {v.cell: log.read(fresh(seated), v)[0][-1].payload["spec"]["options"] for v in (WHITE, BLUE)}
    assert [o["points"] for o in told["white"]] == [0, 6]
    assert [o["points"] for o in told["blue"]] == [0, 0]


@pytest.mark.django_db
def test_erased_words_are_gone_and_the_event_stays(seated: Drill, people: dict[str, User]) -> None:
    services.note(drill=seated, seat=seat(seated, people["blue"]), text="私人的话")
    log.read(fresh(seated), WHITE)

    assert services.erase_words(user=people["blue"], by=people["white"]) == 1

    last = log.read(fresh(seated), WHITE)[0][-1]
    assert (last.kind, last.texts) == ("note.added", {"text": None})


@pytest.mark.django_db(transaction=True)
def test_numbers_are_gapless_when_many_write_at_once(
    seated: Drill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor == "sqlite":
        # SQLite's shared memory database has no busy timeout; the product's is a file.
        with sqlite3.connect(tmp_path / "drills.sqlite3") as file:
            connection.connection.backup(file)
        monkeypatch.setitem(connections.settings["default"], "NAME", str(tmp_path / "drills.sqlite3"))
    before, threads, each = fresh(seated).last_seq, 6, 8
    faults: list[BaseException] = []
    found: dict[str, object] = {}

    def write() -> None:
        for _ in range(each):
            with log.writing(seated.pk) as book:
                book.append(ev.NoteAdded(scope="all", cell="blue"))

    def look() -> None:
        found["seqs"] = list(DrillEvent.objects.filter(drill=seated).order_by("seq").values_list("seq", flat=True))
        found["last"] = fresh(seated).last_seq
        found["same"] = log.full_state(fresh(seated)) == log.fold_rows(fresh(seated))

    def in_thread(work) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as fault:
                faults.append(fault)
            finally:
                connection.close()

        worker = threading.Thread(target=run)
        worker.start()
        return worker

    for worker in [in_thread(write) for _ in range(threads)]:
        worker.join(60)
    in_thread(look).join(60)

    assert faults == []
    total = before + threads * each
    assert found == {"seqs": list(range(1, total + 1)), "last": total, "same": True}
