"""Writing questions: every change of words, key or place in the standard is a new version."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.db import transaction

from courses.models import Question, QuestionBank, QuestionVersion
from lms.accounts import audit
from lms.accounts.models import User


@transaction.atomic
def revise_question(
    *,
    bank: QuestionBank,
    code: str,
    kind: str,
    stem: str,
    content: dict[str, Any],
    key: Any,
    by: User | None,
    explanation: str = "",
    function: str = "",
    requirements: list[str] | None = None,
    difficulty: str = "medium",
    use: str = Question.Use.EXAM,
    state: str = Question.State.LIVE,
) -> Question:
    """Makes the question or adds a version to it; the same words again add nothing."""
    question, made = Question.objects.select_for_update().get_or_create(
        bank=bank, code=code, defaults={"use": use, "state": state}
    )
    values = {
        "kind": str(kind),
        "stem": stem.strip(),
        "content": content,
        "key": key,
        "explanation": explanation.strip(),
        "function": function,
        "requirements": list(requirements or []),
        "difficulty": difficulty,
    }
    digest = hashlib.sha256(json.dumps(values, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    current = question.current
    changed = (question.use, question.state) != (use, state)
    question.use, question.state = use, state
    if current is None or current.digest != digest:
        number = (question.versions.order_by("-number").values_list("number", flat=True).first() or 0) + 1
        question.current = QuestionVersion.objects.create(
            question=question, number=number, digest=digest, created_by=by, **values
        )
        audit.record("question.made" if made else "question.revised", question, by=by, version=number)
    elif changed:
        audit.record("question.state", question, by=by, state=state, use=use)
    if changed or question.current != current:
        question.save(update_fields=["current", "use", "state"])
    return question
