"""The drill room: one page, one feed, one door for verbs. The socket is a bell; everything shown comes from here."""

from __future__ import annotations

from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from cyber_range import catalogue, drawing
from drills import log, rules, services
from drills.domain import scoring
from drills.domain.script import due_at
from drills.domain.state import State
from drills.models import Drill, Seat
from drills.services import acting
from drills.sockets import sockets_url
from drills.views.doors import eyes, the_drill
from drills.views.mimics import mimics_of
from drills.views.words import room_words

PAGE = 500


# xterm.js writes its cell sizes and colours as <style> elements and style attributes; it cannot draw without. Scripts stay
# strict, and everything written by people on this page is set as text, never as markup.
@csp_update({"style-src": [SELF, UNSAFE_INLINE]})  # type: ignore[arg-type]
@login_required
@require_GET
@never_cache
def room(request: HttpRequest, pk: int) -> HttpResponse:
    drill = the_drill(request.user, pk)
    if drill.over:
        return redirect("drills:review", drill.pk)
    seat, viewer, state = eyes(request.user, drill)
    if viewer is None or seat is None:
        return redirect("drills:lobby", drill.pk)
    spec = state.spec_of_seat(seat.seat)
    return render(
        request,
        "drills/room.html",
        {
            "drill": drill,
            "seat": seat,
            "spec": spec,
            "direct": rules.may_direct(seat),
            "answer": rules.may_answer(seat),
            "operates": viewer.operates,
            "note": rules.may_note(seat),
            "criteria": scoring.CRITERIA,
            "rating_of": range(scoring.RATING_OF + 1),
            "seats": state.script.seats if state.script else (),
            "memory": state.lab.driver == "memory",
            "grades": acting.GRADES,
            "recipients": _recipients(),
            "report_fields": _report_fields(),
            "config": _config(drill, seat, spec) | {"sockets": sockets_url(request)},
            "words": room_words(),
            "mimics": mimics_of(drill.scenario),
        },
    )


def _recipients() -> list[tuple[str, str]]:
    return [
        ("leader", _("企业应急领导小组")), ("regulator", _("属地工业和信息化主管部门")),
        ("cyberspace", _("省级网信部门（12387）")), ("police", _("公安机关")),
    ]  # fmt: skip


def _report_fields() -> list[tuple[str, str, bool]]:
    """(name, label, asked for in the first report): the elements of the reporting rules."""
    return [
        ("unit", _("单位和涉事系统"), True), ("what", _("时间、类型、级别"), True), ("impact", _("影响和危害"), False),
        ("measures", _("已采取措施"), False), ("trend", _("事态发展趋势"), False), ("cause", _("初步原因"), False),
        ("clues", _("溯源线索"), False), ("next", _("下一步和需要的支持"), False),
    ]  # fmt: skip


def _config(drill: Drill, seat: Seat, spec: Any) -> dict[str, Any]:
    """What the page's script needs once."""
    figure = None
    try:
        scenario = catalogue.entry(drill.scenario).scenario
    except LookupError:
        pass
    else:
        white = seat.cell == "white"
        figure = drawing.draw(scenario, sees=spec.sees if spec else (), everything=white).as_dict()
    return {
        "drill": drill.pk,
        "me": str(seat.user.pseudonym),
        "cell": seat.cell,
        "seat": seat.seat,
        "consoles": [
            {"node": node, "title": next((n["title"] for n in (figure or {}).get("nodes", ()) if n["name"] == node), {"zh": node})}
            for node in (spec.consoles if spec and seat.cell != "observer" else ())
        ],
        "map": figure,
        "confirm": _("结束演练"),
    }  # fmt: skip


@login_required
@require_GET
@never_cache
def feed(request: HttpRequest, pk: int) -> JsonResponse:
    """Events after the seat's own number, and the state folded from what that seat may see."""
    drill = the_drill(request.user, pk)
    seat, viewer, _whole = eyes(request.user, drill)
    if viewer is None:
        return JsonResponse({"error": _("您没有在席。"), "lobby": True}, status=403)
    try:
        after = max(0, int(request.GET.get("after", "0")))
    except ValueError:
        after = 0
    events, newest, seen = log.read(drill, viewer, after=after, limit=PAGE)
    now = timezone.now().timestamp()
    return JsonResponse(
        {
            "events": [event.as_dict() for event in events],
            "newest": newest,
            "more": bool(events) and events[-1].n < newest,
            "now": now,
            "state": _state(seen, now, white=viewer.all),
            "people": _people(drill),
            "seat": seat.seat if seat else None,
            "phase": drill.phase,
        }
    )


def _state(state: State, now: float, *, white: bool) -> dict[str, Any]:
    counted = scoring.score(state)
    shown = state.as_dict()
    for private in ("script", "held", "consoles", "actions", "invited"):
        shown.pop(private)
    known = scoring.known_since(state) if white or state.detected_at is not None else _first_alarm(state)
    shown |= {
        "clock_now": state.now(now),
        "duration_s": state.duration_s,
        "score": {"points": counted.points, "possible": counted.possible, "hints": counted.hints},
        "report_limit_s": state.plan.report_limit_s if state.plan else None,
        "known_since": known,
        "seated": {who: held.seat for who in state.held if (held := state.seat_of(who)) is not None},
    }
    if white and state.script is not None:
        shown["due"] = {inject.id: due_at(state, inject) for inject in state.script.injects}
    return shown


def _first_alarm(state: State) -> float | None:
    """Blue does not see the attack begin: its clock starts with the first plant alarm or its own detection."""
    return min((alarm.at for alarm in state.alarms.values()), default=None) if state.started_at else None


def _people(drill: Drill) -> dict[str, dict[str, str]]:
    return {
        str(row.user.pseudonym): {"name": row.user.name, "cell": row.cell, "seat": row.seat}
        for row in drill.seats.select_related("user")
    }


@login_required
@require_POST
def ticket(request: HttpRequest, pk: int) -> JsonResponse:
    """A one-use ticket for one terminal, to be shown over the socket within 30 s."""
    drill = the_drill(request.user, pk)
    seat, _viewer, state = eyes(request.user, drill)
    node = request.POST.get("node", "")
    if not rules.may_open_terminal(seat, state.spec_of_seat(seat.seat) if seat else None, node):
        return JsonResponse({"error": _("您的席位没有这个节点的终端。")}, status=403)
    assert seat is not None
    seat.user = request.user
    try:
        return JsonResponse(services.open_terminal(drill=drill, seat=seat, node=node))
    except services.Refused as refused:
        return JsonResponse({"error": str(refused)}, status=409)


# ---------------------------------------------------------------- verbs


def _decide(drill: Drill, seat: Seat, verb: str, data: Any) -> Any:
    return services.decide(
        drill=drill,
        seat=seat,
        inject=data.get("inject", ""),
        option=data.get("option", ""),
        reason=data.get("reason", ""),
    )


def _answer(drill: Drill, seat: Seat, verb: str, data: Any) -> Any:
    match verb:
        case "submit":
            return services.submit_objective(
                drill=drill, seat=seat, objective=data.get("objective", ""), value=data.get("value", "")[:400]
            )
        case "hint":
            return services.take_hint(drill=drill, seat=seat, hint=data.get("hint", ""))
        case "report":
            return {
                "number": services.submit_report(
                    drill=drill,
                    seat=seat,
                    recipients=data.getlist("recipients"),
                    incident_class=data.get("incident_class", ""),
                    grade=data.get("grade", ""),
                    fields={name: data.get(name, "") for name in acting.REPORT_FIELDS},
                )
            }
    raise Http404


def _sit(drill: Drill, seat: Seat, verb: str, data: Any) -> Any:
    match verb:
        case "read":
            return services.mark_inject_read(drill=drill, seat=seat, inject=data.get("inject", ""))
        case "reply":
            return services.reply_inject(
                drill=drill, seat=seat, inject=data.get("inject", ""), text=data.get("text", "")
            )
        case "note":
            scope, topic = data.get("scope", "team"), data.get("topic", "note")
            return services.note(
                drill=drill,
                seat=seat,
                text=data.get("text", ""),
                scope=scope if scope in ("white", "team", "all") else "team",
                topic=topic if topic in ("note", "finding", "action", "observation") else "note",
            )
        case "alarm":
            return services.acknowledge_alarm(drill=drill, seat=seat, name=data.get("name", ""))
    raise Http404


def _number(data: Any, name: str) -> int:
    try:
        return int(data.get(name, ""))
    except ValueError:
        raise services.Refused(_("请填写数字。")) from None


def _direct(drill: Drill, seat: Seat, verb: str, data: Any) -> Any:
    by = seat.user
    match verb:
        case "start":
            return services.start(drill=drill, by=by)
        case "pause":
            return services.pause(drill=drill, by=by)
        case "resume":
            return services.resume(drill=drill, by=by)
        case "extend":
            return services.extend(drill=drill, by=by, minutes=_number(data, "minutes"))
        case "fire":
            return services.fire_inject(drill=drill, inject=data.get("inject", ""), by=by)
        case "adhoc":
            return services.send_adhoc(
                drill=drill,
                by=by,
                title=data.get("title", ""),
                body=data.get("body", ""),
                to=data.getlist("to"),
                expects="reply" if data.get("expects") == "reply" else "nothing",
            )
        case "mark":
            return services.mark_inject(
                drill=drill, by=by, inject=data.get("inject", ""), points=_number(data, "points")
            )
        case "rate":
            return services.rate(drill=drill, by=by, subject=data.get("subject", ""), points=_number(data, "points"))
        case "campaign":
            return services.steer_campaign(
                drill=drill, by=by, action=data.get("action", ""), step=data.get("step") or None
            )
        case "relaunch":
            return {"job": services.relaunch_range(drill=drill, by=by).pk}
        case "end":
            if data.get("confirm", "").strip() != _("结束演练"):
                raise services.Refused(_("请输入“结束演练”以确认。"))
            return services.end(drill=drill, by=by)
    raise Http404


PLAY = frozenset(("decide",))
ANSWER = frozenset(("submit", "hint", "report"))
SIT = frozenset(("read", "reply", "note", "alarm"))
DIRECT = frozenset(
    ("start", "pause", "resume", "extend", "fire", "adhoc", "mark", "rate", "campaign", "relaunch", "end")
)  # fmt: skip


@login_required
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> JsonResponse:
    """Every verb of the room. 403 when the seat may not, 409 with the reason when it is not possible now."""
    drill = the_drill(request.user, pk)
    seat = rules.seat_of(request.user, drill)
    if verb in PLAY:
        allowed, do = rules.may_play(seat), _decide
    elif verb in ANSWER:
        allowed, do = rules.may_answer(seat), _answer
    elif verb in SIT:
        allowed, do = rules.may_note(seat), _sit
    elif verb in DIRECT:
        allowed, do = rules.may_direct(seat), _direct
    else:
        raise Http404
    if not allowed or seat is None:
        return JsonResponse({"error": _("您的席位不能做这个操作。")}, status=403)
    seat.user = request.user
    try:
        result = do(drill, seat, verb, request.POST)
    except services.Refused as refused:
        return JsonResponse({"error": str(refused)}, status=409)
    return JsonResponse({"ok": True, "result": result if isinstance(result, dict) else None})
