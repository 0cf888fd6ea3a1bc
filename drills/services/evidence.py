"""What a drill proves about a person, counted from the log alone; certification asks for it."""

from __future__ import annotations

from typing import Any

from drills import log
from drills.domain.scoring import SHARE_NEEDED, held_share, own_actions, score, seat_counts
from drills.models import Drill
from lms.accounts.models import User


def seat_evidence(user: User, drill: Drill) -> dict[str, Any]:
    """Held share, own verified actions with (drill, seq), score, objectives, hashes. JSON-able; a fold over the log, so two
    calls after the end give the same. Seqs are numbers of DrillEvent rows of this drill."""
    state = log.full_state(drill)
    who = str(user.pseudonym)
    counted = score(state)
    intervals = state.held.get(who, ())
    objectives = []
    for spec in state.script.objectives if state.script else ():
        found = state.objectives.get(spec.id)
        objectives.append(
            {
                "id": spec.id,
                "title": spec.title.get("zh", spec.id),
                "kind": spec.what,
                "points": spec.points,
                "requirements": list(spec.requirements),
                "verified": bool(found and found.verified_at is not None),
                "seq": found.verified_seq if found else None,
                "evidence": list(found.evidence) if found else [],
            }
        )
    return {
        "drill": drill.pk,
        "title": drill.title,
        "scenario": drill.scenario,
        "scenario_version": state.lab.scenario_version or drill.scenario_version,
        "ended": state.ended_at is not None and state.ended_by != "cancelled",
        "ended_at": state.ended_at,
        "practical": drill.form != Drill.Form.TABLETOP,
        "driver": state.lab.driver,
        "who": who,
        "seats": [
            {"seat": held.seat, "cell": held.cell, "from": round(held.since, 1), "until": None if held.until is None
             else round(held.until, 1), "seq": held.seq}
            for held in intervals
        ],
        "held_share": round(held_share(state, who), 4),
        "held_share_needed": SHARE_NEEDED,
        "actions": [
            {"drill": drill.pk, "seq": action.seq, "what": action.what, "ref": action.ref, "at": round(action.at, 1)}
            for action in own_actions(state, who)
        ],
        "seat_counts": seat_counts(state, who),
        "score": counted.percent,
        "points": counted.points,
        "possible": counted.possible,
        "hints": counted.hints,
        "objectives": objectives,
        "range": drill_range_evidence(drill),
        "log": {"last_seq": drill.last_seq},
    }  # fmt: skip


def drill_range_evidence(drill: Drill) -> dict[str, Any]:
    """Which range it was and what it recorded."""
    lab = log.full_state(drill).lab
    return {
        "range_id": lab.range_id,
        "earlier": list(lab.earlier),
        "host": lab.host,
        "driver": lab.driver,
        "scenario_digest": lab.digest,
        "seed": lab.seed,
        "captures": [dict(one) for one in lab.captures],
    }
