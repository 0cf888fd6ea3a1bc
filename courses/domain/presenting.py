"""A question as a browser may see it: shuffled, under opaque names, with nothing that tells right from wrong.

The names come from a seed that stays on the server; what comes back is translated to the bank's own ids and checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from courses.domain import selection
from courses.domain.grading import Kind

LONGEST_NUMBER = 40  # characters
SHAPES: dict[Kind, type[Any]] = {
    Kind.SINGLE: str,
    Kind.MULTIPLE: list,
    Kind.TRUEFALSE: bool,
    Kind.NUMERIC: str,
    Kind.MATCHING: dict,
    Kind.ORDERING: list,
}


class BadAnswer(ValueError):
    """The answer does not belong to the question."""


@dataclass(frozen=True, slots=True)
class Choice:
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Presented:
    """`seq` and `flagged` matter in exams; `answer` is under the names of the options here."""

    number: int
    kind: str
    stem: str
    unit: str = ""
    options: list[Choice] = dataclasses.field(default_factory=list)
    left: list[Choice] = dataclasses.field(default_factory=list)
    points: int = 1
    answer: Any = None
    seq: int = 0
    flagged: bool = False

    @property
    def answered(self) -> bool:
        return not is_empty(self.answer)

    @property
    def field(self) -> str:
        """The form field's name in an exam."""
        return f"q{self.number}"

    @property
    def places(self) -> range:
        return range(1, len(self.options) + 1)

    @property
    def in_answer_order(self) -> list[Choice]:
        """Items of an ordering question as the learner has put them."""
        if not isinstance(self.answer, list):
            return self.options
        by_id = {option.id: option for option in self.options}
        return [by_id[id_] for id_ in self.answer if id_ in by_id]

    @property
    def pairs(self) -> list[tuple[Choice, str]]:
        """Left sides of a matching question with the right side chosen so far ("" for none)."""
        chosen = self.answer if isinstance(self.answer, Mapping) else {}
        return [(left, chosen.get(left.id, "")) for left in self.left]


def is_empty(answer: Any) -> bool:
    return answer is None or answer in ("", [], {})


def own_ids(content: Mapping[str, Any]) -> list[str]:
    return [option["id"] for part in ("options", "items", "left", "right") for option in content.get(part, [])]


def names(content: Mapping[str, Any], seed: str, question: str) -> dict[str, str]:
    """The bank's ids → the browser's names."""
    return {id_: selection.opaque(seed, question, id_) for id_ in own_ids(content)}


def translate(kind: str, answer: Any, to: Mapping[str, str]) -> Any:
    """The answer under other names; KeyError, TypeError or AttributeError for what is none."""
    if is_empty(answer):
        return None
    match Kind(kind):
        case Kind.SINGLE:
            return to[answer]
        case Kind.MULTIPLE | Kind.ORDERING:
            return [to[id_] for id_ in answer]
        case Kind.MATCHING:
            return {to[left]: to[right] for left, right in answer.items()}
        case _:
            return answer


def read(kind: str, content: Mapping[str, Any], seed: str, question: str, answer: Any) -> Any:
    """What a browser sent, under the bank's ids; BadAnswer when it does not belong to this question."""
    own = {name: id_ for id_, name in names(content, seed, question).items()}
    try:
        if answer is not None and not isinstance(answer, SHAPES[Kind(kind)]):
            raise BadAnswer(kind)
        if isinstance(answer, str) and len(answer) > LONGEST_NUMBER:
            raise BadAnswer(kind)
        found = translate(kind, answer, own)
        if isinstance(found, list) and len(set(found)) < len(found):
            raise BadAnswer(kind)
    except (KeyError, TypeError, AttributeError) as fault:
        raise BadAnswer(kind) from fault
    return sorted(found) if kind == Kind.MULTIPLE and found is not None else found


def present(
    *,
    kind: str,
    stem: str,
    content: Mapping[str, Any],
    seed: str,
    question: str,
    shuffle: bool,
    number: int = 1,
    points: int = 1,
    answer: Any = None,
    seq: int = 0,
    flagged: bool = False,
) -> Presented:
    """`question` names the version; `answer` is under the bank's ids. What stands in its right order in the bank (items to
    order, right sides to match) is shuffled always."""
    as_shown = names(content, seed, question)

    def choices(part: str, shuffled: bool) -> list[Choice]:
        texts = {option["id"]: option["text"] for option in content.get(part, [])}
        order = selection.shuffled(seed, f"{part} of {question}", texts) if shuffled else list(texts)
        return [Choice(as_shown[id_], texts[id_]) for id_ in order]

    match Kind(kind):
        case Kind.ORDERING:
            options = choices("items", True)
        case Kind.MATCHING:
            options = choices("right", True)
        case _:
            options = choices("options", shuffle)
    return Presented(
        number=number,
        kind=str(kind),
        stem=stem,
        unit=content.get("unit", ""),
        options=options,
        left=choices("left", shuffle),
        points=points,
        answer=translate(kind, answer, as_shown),
        seq=seq,
        flagged=flagged,
    )
