"""The self-assessment instrument as a value, and the arithmetic of score, scene grades, level and deficits.

Nothing here knows a database or a page. Points are Decimals because the published points are fractions (7.5, 1.25).
Source of structure and rules: the 2024 instrument (工信厅企业〔2024〕56号), carried as versioned data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any, Literal

Answers = Mapping[str, Any]
"""item code -> list of option codes (multiple) or one option code; "scene:<code>" -> grade 0-4."""


class AnswerError(ValueError):
    """An answer that the instrument does not know; `args[0]` names question and value."""


@dataclass(frozen=True, slots=True)
class Option:
    code: str
    label: str
    share: Decimal  # per cent of the item's points
    exclusive: bool
    over: Decimal | None = None
    upto: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Item:
    code: str
    name: str
    points: Decimal
    type: Literal["single", "multiple", "bands"]
    question: str
    help: str
    example: str
    options: tuple[Option, ...]
    fields: tuple[tuple[str, str, str], ...]  # (code, label, unit): numbers from which a band is worked out
    dimension: str
    sub: str

    def score(self, answer: Any) -> Decimal:
        """Points for the answer. Raises AnswerError for an option the item does not have."""
        chosen = chosen_options(self, answer)
        if any(option.exclusive for option in chosen):
            if len(chosen) > 1:
                raise AnswerError(f"{self.name}: “{chosen[0].label}” 不能与其他选项同时选")
            return Decimal(0)
        share = min(sum((option.share for option in chosen), Decimal(0)), Decimal(100))
        return self.points * share / 100

    def band_for(self, percent: Decimal) -> Option:
        """The band (over, upto] that the percentage falls into; 0 belongs to the lowest."""
        for option in self.options:
            if (option.over is None or percent > option.over) and (option.upto is None or percent <= option.upto):
                return option
        raise AnswerError(f"{self.name}: {percent}% 不在 0–100% 之间")


@dataclass(frozen=True, slots=True)
class Scene:
    code: str
    stage: str
    title: str
    constrained: bool
    help: str
    levels: tuple[str, ...]  # what one does at grade 1..4


@dataclass(frozen=True, slots=True)
class LevelRule:
    level: int
    name: str
    min_score: Decimal
    scene_level: int
    min_scenes: int
    min_constrained: int
    meaning: str


@dataclass(frozen=True, slots=True)
class Deficit:
    """What is missing to the next level: points, scenes at its grade, constrained scenes at its grade."""

    level: int
    name: str
    points: Decimal
    scenes: int
    constrained: int

    @property
    def none(self) -> bool:
        return not (self.points or self.scenes or self.constrained)


@dataclass(frozen=True, slots=True)
class Result:
    score: Decimal
    by_dimension: tuple[tuple[str, Decimal, Decimal], ...]  # (name, reached, of)
    by_item: tuple[tuple[str, Decimal, Decimal], ...]  # (item code, reached, of)
    grades: tuple[tuple[str, int], ...]  # (scene code, 0-4)
    level: int
    level_name: str
    next: Deficit | None  # None at the highest level
    answered: int
    questions: int


@dataclass(frozen=True, slots=True)
class Instrument:
    code: str
    version: str
    title: str
    note: str
    pledge: str
    items: tuple[Item, ...]
    scenes: tuple[Scene, ...]
    stages: tuple[tuple[str, str], ...]
    rules: tuple[LevelRule, ...]
    below: str
    rules_to_verify: bool
    scene_help: str
    plan_items: tuple[Mapping[str, Any], ...]
    plan_scenes: tuple[Mapping[str, Any], ...]

    def questions(self) -> tuple[str, ...]:
        """Every question's key in the order it is asked: items, then scenes."""
        return (*(item.code for item in self.items), *(f"scene:{scene.code}" for scene in self.scenes))

    def item(self, code: str) -> Item:
        return next(item for item in self.items if item.code == code)

    def scene(self, code: str) -> Scene:
        return next(scene for scene in self.scenes if scene.code == code)


def chosen_options(item: Item, answer: Any) -> list[Option]:
    codes = answer if isinstance(answer, list) else [answer] if answer else []
    if any(not isinstance(code, str) for code in codes):
        raise AnswerError(f"{item.name}：选项应为文字代码")
    known = {option.code: option for option in item.options}
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise AnswerError(f"{item.name}：没有选项 {unknown[0]}")
    if item.type != "multiple" and len(codes) > 1:
        raise AnswerError(f"{item.name}：只能选一项")
    return [known[code] for code in dict.fromkeys(codes)]


def check_answer(instrument: Instrument, key: str, answer: Any) -> None:
    """Raises AnswerError when the key or the value is not the instrument's."""
    if key.startswith("scene:"):
        if key not in instrument.questions():
            raise AnswerError(f"没有场景 {key[6:]}")
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer <= 4:
            raise AnswerError(f"{instrument.scene(key[6:]).title}：等级应为 0 至 4")
        return
    if key not in instrument.questions():
        raise AnswerError(f"没有题目 {key}")
    instrument.item(key).score(answer)


def assess(instrument: Instrument, answers: Answers) -> Result:
    """The whole result for the answers given so far (an unanswered question counts nothing)."""
    by_item = tuple((item.code, item.score(answers.get(item.code)), item.points) for item in instrument.items)
    grades = tuple((scene.code, int(answers.get(f"scene:{scene.code}", 0))) for scene in instrument.scenes)
    score = sum((reached for _, reached, _ in by_item), Decimal(0))
    level = max((rule.level for rule in instrument.rules if deficit(instrument, rule, score, grades).none), default=0)
    following = next((rule for rule in instrument.rules if rule.level == level + 1), None)
    name = next((rule.name for rule in instrument.rules if rule.level == level), instrument.below)
    keys = instrument.questions()
    return Result(
        score=score,
        by_dimension=tuple(by_dimension(instrument, by_item)),
        by_item=by_item,
        grades=grades,
        level=level,
        level_name=name,
        next=deficit(instrument, following, score, grades) if following else None,
        answered=sum(1 for key in keys if is_answered(answers.get(key))),
        questions=len(keys),
    )


def is_answered(answer: Any) -> bool:
    return answer is not None and answer != [] and answer != ""


def by_dimension(
    instrument: Instrument, by_item: Sequence[tuple[str, Decimal, Decimal]]
) -> Iterator[tuple[str, Decimal, Decimal]]:
    of = {item.code: item.dimension for item in instrument.items}
    for name in dict.fromkeys(item.dimension for item in instrument.items):
        rows = [row for row in by_item if of[row[0]] == name]
        yield name, sum((r[1] for r in rows), Decimal(0)), sum((r[2] for r in rows), Decimal(0))


def deficit(instrument: Instrument, rule: LevelRule, score: Decimal, grades: Sequence[tuple[str, int]]) -> Deficit:
    """What the rule asks beyond what is there; all zero when the level is reached."""
    constrained = {scene.code for scene in instrument.scenes if scene.constrained}
    reached = [code for code, grade in grades if grade >= rule.scene_level]
    return Deficit(
        level=rule.level,
        name=rule.name,
        points=max(rule.min_score - score, Decimal(0)),
        scenes=max(rule.min_scenes - len(reached), 0),
        constrained=max(rule.min_constrained - len([code for code in reached if code in constrained]), 0),
    )


def parse(data: Mapping[str, Any]) -> Instrument:
    """The instrument from its data file. KeyError names the missing key; sums are checked by `faults`."""
    items = tuple(
        Item(
            code=row["code"],
            name=row["name"],
            points=Decimal(str(row["points"])),
            type=row["type"],
            question=row.get("question", row["name"]),
            help=row.get("help", ""),
            example=row.get("example", ""),
            options=tuple(
                Option(
                    code=o["code"],
                    label=o["label"],
                    share=Decimal(str(o["share"])),
                    exclusive=bool(o.get("exclusive")),
                    over=None if o.get("over") is None else Decimal(str(o["over"])),
                    upto=None if o.get("upto") is None else Decimal(str(o["upto"])),
                )
                for o in row["options"]
            ),
            fields=tuple((f["code"], f["label"], f.get("unit", "")) for f in row.get("fields", ())),
            dimension=dimension["name"],
            sub=sub["name"],
        )
        for dimension in data["dimensions"]
        for sub in dimension["subs"]
        for row in sub["items"]
    )
    rules = data["level_rules"]
    return Instrument(
        code=data["code"],
        version=data["version"],
        title=data["title"],
        note=data.get("note", ""),
        pledge=data.get("pledge", ""),
        items=items,
        scenes=tuple(
            Scene(
                code=s["code"],
                stage=s["stage"],
                title=s["title"],
                constrained=bool(s["constrained"]),
                help=s.get("help", ""),
                levels=tuple(level["text"] for level in sorted(s["levels"], key=lambda level: level["level"])),
            )
            for s in data["scenes"]
        ),
        stages=tuple((s["code"], s["name"]) for s in data["stages"]),
        rules=tuple(
            LevelRule(
                level=r["level"],
                name=r["name"],
                min_score=Decimal(str(r["min_score"])),
                scene_level=r["scene_level"],
                min_scenes=r["min_scenes"],
                min_constrained=r["min_constrained"],
                meaning=r.get("meaning", ""),
            )
            for r in rules["levels"]
        ),
        below=rules["below"]["name"],
        rules_to_verify=bool(rules.get("to_verify")),
        scene_help=data.get("scene_help", ""),
        plan_items=tuple(data["plan"]["items"]),
        plan_scenes=tuple(data["plan"]["scenes"]),
    )


def faults(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with an instrument file, in words; empty when it can be used."""
    try:
        return [*sum_faults(data), *option_faults(parse(data)), *plan_faults(parse(data))]
    except KeyError as missing:
        return [f"缺少键 {missing}"]
    except (TypeError, ArithmeticError) as error:
        return [f"结构不对：{error}"]


def sum_faults(data: Mapping[str, Any]) -> Iterator[str]:
    for dimension in data["dimensions"]:
        subs = sum((Decimal(str(sub["points"])) for sub in dimension["subs"]), Decimal(0))
        if subs != Decimal(str(dimension["points"])):
            yield f"{dimension['name']}：各子项合计 {subs}，应为 {dimension['points']}"
        for sub in dimension["subs"]:
            items = sum((Decimal(str(item["points"])) for item in sub["items"]), Decimal(0))
            if items != Decimal(str(sub["points"])):
                yield f"{sub['name']}：各条目合计 {items}，应为 {sub['points']}"


def option_faults(instrument: Instrument) -> Iterator[str]:
    for item in instrument.items:
        if len({option.code for option in item.options}) < len(item.options):
            yield f"{item.name}：选项代码重复"
        if item.type == "bands":
            edges = [(option.over, option.upto) for option in item.options]
            joined = all(upto == over for (_, upto), (over, _) in pairwise(edges))
            if not joined or edges[0][0] is not None or edges[-1][1] != 100:
                yield f"{item.name}：分段应从 0 到 100 首尾相接"
    for rule in instrument.rules:
        if rule.min_constrained > sum(scene.constrained for scene in instrument.scenes) or rule.min_scenes > len(
            instrument.scenes
        ):
            yield f"{rule.name}：要求的场景数超过指标中的场景数"


def plan_faults(instrument: Instrument) -> Iterator[str]:
    """Every better option and every step of every scene must have its advice: else a plan could lead nowhere."""
    codes = {item.code: {o.code for o in item.options} for item in instrument.items}
    advised = {(row["item"], row["option"]) for row in instrument.plan_items}
    for code, option in sorted(advised):
        if option not in codes.get(code, ()):
            yield f"建议 {code}:{option} 没有对应的选项"
    for item in instrument.items:
        for o in item.options:
            if o.share > 0 and (item.code, o.code) not in advised:
                yield f"{item.name}：选项 {o.code} 没有建议"
    scenes = {scene.code for scene in instrument.scenes}
    climbed = {(row["scene"], row["from"]) for row in instrument.plan_scenes}
    for code in sorted({code for code, _ in climbed} - scenes):
        yield f"建议 {code} 没有对应的场景"
    for code in sorted(scenes):
        for grade in range(4):
            if (code, grade) not in climbed:
                yield f"场景 {code}: {grade} 级到 {grade + 1} 级没有建议"


def rounded(points: Decimal) -> Decimal:
    """Two decimals at most, as the form prints them: 7.5, and 50 rather than 5E+1."""
    cut = points.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP).normalize()
    return cut.quantize(Decimal(1)) if cut == cut.to_integral_value() else cut
