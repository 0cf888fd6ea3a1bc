"""The one way into a drill's log, and the way to read it.

Writing: `with writing(drill_id) as book: book.append(event, actor=…)`. One transaction; the drill's row is the lock (SQLite
takes the database's write lock with BEGIN IMMEDIATE, PostgreSQL locks the row), so numbers are gapless and the state that
was looked at is the state that is changed. On commit a bell goes out, without content.

Reading: every viewer has numbers of his own, counting only what that seat may see (`read`), so nobody can count what is
hidden. The log only grows, so what was folded once is kept per process and continued.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from drills.domain import events as ev
from drills.domain.state import Entry, State, apply, fold
from drills.domain.visibility import Viewer, project
from drills.models import Drill, DrillEvent, EventText

logger = logging.getLogger(__name__)
BELLS = "drill-bells"
KEPT = 256  # viewers whose fold this process remembers
PAGE = 1000


def as_entry(row: DrillEvent) -> Entry:
    return Entry(row.seq, row.at.timestamp(), row.actor, ev.parse(row.kind, row.payload))


class Book:
    """A drill opened for writing, inside its transaction."""

    def __init__(self, drill: Drill, state: State) -> None:
        self.drill = drill
        self.state = state
        self.appended: list[DrillEvent] = []

    def append(
        self,
        event: ev.Event,
        *,
        actor: str = "",
        at: datetime | None = None,
        texts: dict[str, str] | None = None,
        source: str = "",
        source_number: int | None = None,
    ) -> DrillEvent:
        row = DrillEvent(
            drill=self.drill,
            seq=self.drill.last_seq + 1,
            kind=event.kind,
            at=at or timezone.now(),
            actor=actor,
            payload=event.model_dump(mode="json"),
            source=source,
            source_number=source_number,
        )
        row.save(force_insert=True)
        if texts:
            EventText.objects.bulk_create(
                [EventText(event=row, name=name, text=text) for name, text in texts.items() if text]
            )
        self.drill.last_seq = row.seq
        self.state = apply(self.state, Entry(row.seq, row.at.timestamp(), actor, event))
        self.appended.append(row)
        return row


@contextmanager
def writing(drill_id: int) -> Iterator[Book]:
    """Locks the drill, gives its state, and keeps phase and newest number in step when the block ends well."""
    # Inside another transaction the newest rows may still be undone: fold anew instead of remembering them.
    nested = transaction.get_connection().in_atomic_block
    with transaction.atomic():
        drill = Drill.objects.select_for_update().get(pk=drill_id)
        book = Book(drill, fold_rows(drill) if nested else full_state(drill))
        yield book
        if not book.appended:
            return
        values: dict[str, Any] = {"last_seq": drill.last_seq, "phase": book.state.phase}
        for name in ("started_at", "ended_at"):
            moment = getattr(book.state, name)
            if moment is not None and getattr(drill, name) is None:
                values[name] = datetime.fromtimestamp(moment, tz=timezone.get_default_timezone())
        for name, value in values.items():
            setattr(drill, name, value)
        drill.save(update_fields=list(values))
        transaction.on_commit(lambda: ring(drill.pk), robust=True)


def ring(drill_id: int) -> None:
    """Tells other processes to look. Without Redis they look by themselves, four times a second."""
    if not settings.REDIS_URL:
        return
    layer = get_channel_layer()
    async_to_sync(layer.group_send)(BELLS, {"type": "bell", "drill": drill_id})


# ---------------------------------------------------------------- reading


@dataclass(slots=True)
class _Seen:
    """What one viewer may see of one drill, as far as it was read."""

    upto: int = 0  # log number
    seqs: list[int] = field(
        default_factory=list
    )  # log number of each visible event; its place + 1 is the viewer's number
    state: State = field(default_factory=State)
    lock: threading.Lock = field(default_factory=threading.Lock)


_seen: OrderedDict[tuple[int, datetime, Viewer], _Seen] = OrderedDict()
_seen_lock = threading.Lock()


def forget() -> None:
    """Drops everything remembered (tests that make and undo whole databases)."""
    with _seen_lock:
        _seen.clear()


def _remembered(drill: Drill, viewer: Viewer) -> _Seen:
    # created_at keeps a drill of a rolled-back transaction apart from the next one with the same number.
    key = (drill.pk, drill.created_at, viewer)
    with _seen_lock:
        found = _seen.get(key)
        if found is None:
            found = _seen[key] = _Seen()
            while len(_seen) > KEPT:
                _seen.popitem(last=False)
        _seen.move_to_end(key)
        return found


def _catch_up(drill: Drill, viewer: Viewer) -> _Seen:
    seen = _remembered(drill, viewer)
    with seen.lock:
        while True:
            rows = list(DrillEvent.objects.filter(drill_id=drill.pk, seq__gt=seen.upto).order_by("seq")[:PAGE])
            for row in rows:
                entry = as_entry(row)
                event = project(entry, viewer)
                if event is not None:
                    number = len(seen.seqs) + 1
                    seen.state = apply(seen.state, Entry(number, entry.at, entry.actor, event))
                    seen.seqs.append(row.seq)
                seen.upto = row.seq
            if len(rows) < PAGE:
                return seen


def full_state(drill: Drill) -> State:
    """The whole committed state. Not for use between an append and its commit: `book.state` is that."""
    return _catch_up(drill, Viewer.reviewing()).state


def fold_rows(drill: Drill) -> State:
    return fold(_entries(drill))


def _entries(drill: Drill) -> Iterator[Entry]:
    rows = DrillEvent.objects.filter(drill_id=drill.pk).order_by("seq").iterator(chunk_size=PAGE)
    return (as_entry(row) for row in rows)


def state_at_clock(drill: Drill, second: float) -> State:
    """What was, at that drill second: the fold of everything up to it (review)."""
    state = State()
    for entry in _entries(drill):
        after = apply(state, entry)
        if after.now(entry.at) > second and after.started_at is not None:
            break
        state = after
    return state


def clock_of(drill: Drill) -> dict[int, float]:
    """Drill second of every event by its number: the fold's own clock, so pauses are cut out."""
    state, found = State(), {}
    for entry in _entries(drill):
        state = apply(state, entry)
        found[entry.seq] = round(state.now(entry.at), 2)
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a viewer gets it. `n` counts only what he may see."""

    n: int
    kind: str
    at: float
    actor: str
    payload: dict[str, Any]
    texts: dict[str, str | None]

    def as_dict(self) -> dict[str, Any]:
        return {"n": self.n, "kind": self.kind, "at": self.at, "actor": self.actor, "payload": self.payload,
                "texts": self.texts}  # fmt: skip


def read(drill: Drill, viewer: Viewer, *, after: int = 0, limit: int = 500) -> tuple[list[Seen], int, State]:
    """Visible events after the viewer's number, his newest number, and the state folded from what he may see."""
    seen = _catch_up(drill, viewer)
    wanted = seen.seqs[after : after + limit]
    numbers = {seq: after + place + 1 for place, seq in enumerate(wanted)}
    rows = DrillEvent.objects.filter(drill_id=drill.pk, seq__in=wanted).order_by("seq").prefetch_related("texts")
    found = []
    for row in rows:
        event = project(as_entry(row), viewer)
        if event is None:  # pragma: no cover  the index and the rule are the same function
            continue
        found.append(
            Seen(
                numbers[row.seq],
                row.kind,
                row.at.timestamp(),
                row.actor,
                event.model_dump(mode="json", exclude={"version"}),
                {text.name: None if text.erased_at else text.text for text in row.texts.all()},
            )
        )
    return found, len(seen.seqs), seen.state


def newest(drill: Drill, viewer: Viewer) -> int:
    """The viewer's newest number."""
    return len(_catch_up(drill, viewer).seqs)


def seqs_of(drill: Drill, viewer: Viewer) -> list[int]:
    """Log numbers in the viewer's order: how evidence cites (drill, seq)."""
    return list(_catch_up(drill, viewer).seqs)
