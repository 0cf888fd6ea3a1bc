"""Planning a drill: what is rehearsed, with whom, when."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import catalogue
from cyber_range.engine.scenario.model import Scenario
from drills import log
from drills.domain import events as ev
from drills.models import Drill
from drills.services.refusal import Refused
from drills.services.seats import invite
from lms.accounts import audit
from lms.accounts.models import Organisation, User

REFERENCE = re.compile(r"\$\{[^{}]+\}")


def plan_drill(
    *,
    title: str,
    organisation: Organisation,
    by: User | None,
    scenario: str,
    scheduled_at: datetime,
    scope: str,
    purpose: str = "",
    form: str = Drill.Form.PRACTICAL,
    type: str = Drill.Type.SPECIAL,
    incident_class: str = "",
    data_class: str = Drill.DataClass.GENERAL,
    plan_item: str = "",
    duration_minutes: int | None = None,
    report_minutes: int | None = None,
    seed: str = "",
    speed: float = 1.0,
    attack: str = Drill.Attack.SCRIPT,
    seats: Sequence[tuple[User, str]] = (),
) -> Drill:
    """Writes the plan, its script and the invitations. `seats`: (person, seat id of the scenario)."""
    try:
        entry = catalogue.entry(scenario, organisation)
    except LookupError as error:
        raise Refused(_("没有场景“%(name)s”。请从场景目录中选择。") % {"name": scenario}) from error
    if attack == Drill.Attack.BOTH and not any(seat.cell == "red" for seat in entry.scenario.seats):
        raise Refused(_("这个场景没有红队席位。攻击方式请选“脚本自动”，或选“人工”由导调逐步执行。"))
    length = duration_minutes or round(entry.scenario.duration)
    with transaction.atomic():
        drill = Drill.objects.create(
            title=title,
            organisation=organisation,
            purpose=purpose,
            form=form,
            type=type,
            scope=scope,
            incident_class=incident_class or entry.scenario.incident_class,
            data_class=data_class,
            plan_item=plan_item,
            scheduled_at=scheduled_at,
            scenario=entry.key,
            scenario_version=entry.scenario.version,
            seed=seed or secrets.token_hex(8),
            team=f"org{organisation.pk}",
            duration_minutes=length,
            report_minutes=report_minutes or max(5, round(length / 3)),
            speed=speed,
            attack=attack,
            created_by=by,
        )
        with log.writing(drill.pk) as book:
            book.append(_planned(drill), actor=_who(by))
            book.append(script_of(entry.scenario), actor=_who(by))
        for person, seat in seats:
            invite(drill=drill, user=person, seat=seat, by=by)
        audit.record("drill.planned", drill, by=by, organisation=organisation, scenario=scenario)
    drill.refresh_from_db()
    return drill


def change_plan(*, drill: Drill, by: User | None, **values: Any) -> Drill:
    """New values for what may still change before the start: title, time, scope, length."""
    allowed = {"title", "purpose", "scope", "scheduled_at", "duration_minutes", "report_minutes", "plan_item"}
    if unknown := set(values) - allowed:
        raise TypeError(f"change_plan cannot change {', '.join(sorted(unknown))}")
    with log.writing(drill.pk) as book:
        if book.state.phase not in ("planned", "ready"):
            raise Refused(_("演练已经开始，计划不能再改。时间不够请用“延长”。"))
        for name, value in values.items():
            setattr(book.drill, name, value)
        book.drill.save(update_fields=list(values))
        book.append(_planned(book.drill), actor=_who(by))
        audit.record("drill.changed", book.drill, by=by, organisation=drill.organisation, fields=sorted(values))
    return book.drill


def _who(user: User | None) -> str:
    return str(user.pseudonym) if user else ""


def _planned(drill: Drill) -> ev.Planned:
    return ev.Planned(
        title=drill.title,
        scenario=drill.scenario,
        form=drill.form,
        scope=drill.scope,
        type=drill.type,
        incident_class=drill.incident_class,
        duration_s=drill.duration_minutes * 60,
        report_limit_s=drill.report_minutes * 60,
        scheduled_at=drill.scheduled_at.timestamp() if timezone.is_aware(drill.scheduled_at) else None,
        attack=drill.attack,
    )


def _text(text: Any) -> dict[str, str] | None:
    """A scenario's text before the team's values are drawn: what is not known yet reads as a gap."""
    if text is None:
        return None
    values = text if isinstance(text, dict) else text.model_dump()
    return {language: REFERENCE.sub("……", words) for language, words in values.items()}


def script_of(scenario: Scenario, told: dict[str, Any] | None = None) -> ev.ScriptSet:
    """The script of a scenario; with range-host's `script` the team's own values stand in it."""
    told = told or {}
    raw_injects = told.get("injects") or [inject.model_dump() for inject in scenario.injects]
    objectives = {one["id"]: one for one in told.get("objectives", [])}
    return ev.ScriptSet(
        story=_text(told.get("story") or scenario.story),
        seats=tuple(
            ev.SeatSpec(id=s.id, cell=s.cell, title=s.title.model_dump(), max=s.max, consoles=s.consoles, sees=s.sees)
            for s in scenario.seats
        ),
        objectives=tuple(
            ev.ObjectiveSpec(
                id=o.id,
                title=_text(objectives.get(o.id, {}).get("title") or o.title) or {},
                text=_text(objectives.get(o.id, {}).get("text") or o.text),
                what=o.kind,
                points=o.points,
                credit=o.credit,
                requirements=o.requirements,
                par_minutes=o.par_minutes,
                submission=_submission(o, objectives.get(o.id)),
            )
            for o in scenario.objectives
        ),
        hints=tuple(ev.HintSpec(id=h.id, objective=h.objective, cost=h.cost) for h in scenario.hints),
        injects=tuple(
            ev.InjectSpec(
                id=i["id"],
                at_s=i["at"] * 60,
                title=_text(i["title"]) or {},
                body=_text(i["body"]) or {},
                to=tuple(i["to"]),
                sender=_text(i.get("sender")),
                after_step=i.get("after_step"),
                expects=i.get("expects", "nothing"),
                options=tuple(
                    ev.OptionSpec(id=o["id"], text=_text(o["text"]) or {}, points=o.get("points", 0))
                    for o in i.get("options", ())
                ),
                points=max([i.get("points", 0), *(o.get("points", 0) for o in i.get("options", ()))]),
                deadline_s=i["deadline"] * 60 if i.get("deadline") else None,
            )
            for i in raw_injects
        ),
        steps=tuple(
            ev.StepSpec(id=s.id, technique=s.technique, title=s.title.model_dump(), node=s.node)
            for s in scenario.campaign
        ),
    )


def _submission(objective: Any, told: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is asked for, without the answer."""
    if told is not None:
        submission: dict[str, Any] | None = told.get("submission")
        return submission
    for check in objective.checks:
        if check.kind == "submission":
            return {
                "prompt": _text(check.prompt), "match": check.match, "choices": [_text(one) for one in check.choices]
            }  # fmt: skip
    return None
