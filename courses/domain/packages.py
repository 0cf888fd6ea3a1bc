"""A course as a folder of data: course.yml, lessons/*.yml, figures/*.svg, questions.yml, paper.yml.

Raw YAML becomes checked forms here, once; after that nobody checks again. An unknown key or a wrong value is an error that
names the file, the line and the keys that are allowed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from courses.domain import notation
from courses.domain.figures import Drawing, FigureError, clean_svg
from courses.domain.grading import Kind

FORM = 2  # part of the content's hash: counted up when the same folder should be imported anew
TIERS = {"入门": "intro", "基础": "basic", "进阶": "advanced", "专项": "special"}
DIFFICULTIES = {
    "1": "easy", "2": "medium", "3": "hard", "易": "easy", "中": "medium", "难": "hard",
    "easy": "easy", "medium": "medium", "hard": "hard",
}  # fmt: skip
BLOCKS = ("heading", "text", "figure", "callout", "checklist", "question")
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=80)]


class PackageError(Exception):
    """Every fault found in a course folder, each with its file and line."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(faults))

    def as_dict(self) -> dict[str, str]:
        return {"code": "package", "what": ";".join(self.faults[:5]), "remedy": "请按提示修改课程文件后重新导入。"}


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuestionForm(Form):
    """A question as authors write it; answers are places in the list (0 is the first), or words of the list."""

    kind: Kind
    stem: str
    options: list[str] = []
    pairs: list[Any] = []
    left: list[str] = []
    right: list[str] = []
    items: list[str] = []
    answer: Any = None
    tolerance: Decimal | float | int = 0
    unit: str = ""
    explanation: str = ""
    code: str = ""
    function: str = ""
    requirement: str = ""
    requirements: list[str] = []
    difficulty: Any = Field(default="medium", validate_default=True)
    lesson: str = ""

    @field_validator("options", "items", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """Options that YAML reads as numbers are words to a learner."""
        return [str(one) if isinstance(one, (int, float)) and not isinstance(one, bool) else one for one in value or []]

    @field_validator("difficulty", mode="before")
    @classmethod
    def _difficulty(cls, value: Any) -> str:
        if str(value) not in DIFFICULTIES:
            raise ValueError(f"难度只能是 1、2、3(易、中、难)，现在是“{value}”")
        return DIFFICULTIES[str(value)]

    @model_validator(mode="after")
    def _answerable(self) -> QuestionForm:
        self.asked()
        return self

    def requirement_list(self) -> list[str]:
        return list(dict.fromkeys([*self.requirements, *([self.requirement] if self.requirement else [])]))

    def function_code(self) -> str:
        """Its function of the standard; read from the requirement ("L1.F2.3.A1" → F2) when not said."""
        if self.function:
            return self.function
        parts = (self.requirement_list() or [""])[0].split(".")
        return parts[1] if len(parts) > 1 else ""

    def asked(self) -> notation.Asked:
        """Content and key; raises ValueError in the author's words."""
        match self.kind:
            case Kind.SINGLE:
                return notation.parse("single", self._marked([self._place(self.answer)]))
            case Kind.MULTIPLE:
                if not isinstance(self.answer, list) or not self.answer:
                    raise ValueError("多选题的 answer 要写成列表，例如 [0, 2]")
                return notation.parse("multiple", self._marked([self._place(one) for one in self.answer]))
            case Kind.TRUEFALSE:
                if not isinstance(self.answer, bool):
                    raise ValueError("判断题的 answer 只能是 true 或 false")
                return notation.Asked({}, self.answer)
            case Kind.NUMERIC:
                if isinstance(self.answer, bool) or not isinstance(self.answer, (int, float, str)):
                    raise ValueError("数值题的 answer 要写一个数")
                return notation.numeric(str(self.answer), str(self.tolerance), self.unit)
            case Kind.MATCHING:
                return notation.matching(self._pairs())
            case Kind.ORDERING:
                return self._ordered()

    def _place(self, answer: Any) -> int:
        if isinstance(answer, str) and answer in self.options:
            return self.options.index(answer)
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(self.options):
            raise ValueError(f"answer 要是选项的序号（0 到 {len(self.options) - 1}），现在是 {answer!r}")
        return answer

    def _marked(self, right: list[int]) -> str:
        return "\n".join(
            f"{'+' if place in right else '-'} {' '.join(option.split())}" for place, option in enumerate(self.options)
        )

    def _pairs(self) -> list[tuple[str, str]]:
        if self.pairs:
            found = []
            for pair in self.pairs:
                values = list(pair.values()) if isinstance(pair, dict) else pair
                if isinstance(pair, dict) and len(pair) == 1:
                    values = next(iter(pair.items()))
                if not isinstance(values, (list, tuple)) or len(values) != 2:
                    raise ValueError(f"pairs 每一项要有左右两边，现在是 {pair!r}")
                found.append((str(values[0]), str(values[1])))
            return found
        if not self.left or not isinstance(self.answer, list) or len(self.answer) != len(self.left):
            raise ValueError("配对题要写 pairs，或者 left、right 和同样长的 answer")
        if any(not isinstance(place, int) or not 0 <= place < len(self.right) for place in self.answer):
            raise ValueError("answer 要是 right 的序号")
        return [(left, self.right[place]) for left, place in zip(self.left, self.answer, strict=True)]

    def _ordered(self) -> notation.Asked:
        texts = self.items or self.options
        if self.answer is None:
            return notation.ordering(texts)
        if not isinstance(self.answer, list) or sorted(self.answer) != list(range(len(texts))):
            raise ValueError("排序题的 answer 要把每一项的序号各写一次")
        return notation.ordering([texts[place] for place in self.answer])


class FigureForm(Form):
    file: str
    alt: str
    caption: str = ""


class CalloutForm(Form):
    style: Literal["info", "tip", "case", "warning", "danger"] = "info"
    title: str
    text: str


class ChecklistForm(Form):
    title: str
    items: list[str]


class BlockForm(Form):
    """Exactly one of its keys."""

    heading: str | None = None
    text: str | None = None
    figure: FigureForm | None = None
    callout: CalloutForm | None = None
    checklist: ChecklistForm | None = None
    question: QuestionForm | None = None

    @model_validator(mode="after")
    def _one(self) -> BlockForm:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"每个内容块只写一种：{'、'.join(BLOCKS)}")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def value(self) -> Any:
        return getattr(self, self.kind)


class LessonForm(Form):
    slug: Slug
    title: str
    minutes: int = Field(gt=0, le=600)
    summary: str = ""
    functions: list[str] = []
    requirement_codes: list[str] = []
    blocks: list[BlockForm] = Field(min_length=1)

    def function_codes(self) -> list[str]:
        """Functions of the standard that the lesson teaches."""
        named = [code.split(".")[1] for code in self.requirement_codes if code.count(".") > 1]
        return list(dict.fromkeys([*self.functions, *named]))


class CourseForm(Form):
    slug: Slug
    title: str
    subtitle: str = ""
    tier: str
    layers: list[str] = []
    roles: list[str] = []
    industries: list[str] = []
    scenes: list[str] = []
    hours: Decimal = Field(gt=0, le=1000)
    intro: list[str] | str = ""
    objectives: list[str] = []
    audience: str = ""
    requirement_codes: list[str] = []
    item_tags: list[str] = []
    plan_tags: list[str] = []
    lessons: list[str] = Field(min_length=1)

    @field_validator("tier")
    @classmethod
    def _tier(cls, value: str) -> str:
        if value not in TIERS and value not in TIERS.values():
            raise ValueError(f"层级只能是 {'、'.join(TIERS)}，现在是“{value}”")
        return TIERS.get(value, value)

    @property
    def intro_text(self) -> str:
        return self.intro if isinstance(self.intro, str) else "\n\n".join(self.intro)


class StandardForm(Form):
    """Whose functions and requirements the codes are; kept for readers, the codes decide."""

    code: str
    version: str
    level: str = ""


class CellForm(Form):
    function: str
    difficulty: str = ""
    count: int = Field(gt=0)
    points: int | None = Field(default=None, gt=0)

    @field_validator("difficulty", mode="before")
    @classmethod
    def _difficulty(cls, value: Any) -> str:
        if value in (None, "", "any", "不限"):
            return ""
        if str(value) not in DIFFICULTIES:
            raise ValueError(f"难度只能是 1、2、3(易、中、难)或不写，现在是“{value}”")
        return DIFFICULTIES[str(value)]


class PaperForm(Form):
    slug: Slug
    title: str
    course: str = ""
    standard: StandardForm | None = None
    intro: str = ""
    minutes: int = Field(gt=0, le=600)
    grace_seconds: int = Field(default=30, ge=0, le=600)
    pass_mark: int = Field(default=60, ge=0, le=100, alias="pass")
    total: int | None = None
    points_each: int = Field(default=1, gt=0)
    max_attempts: int = Field(default=3, ge=0)
    wait_hours: int = Field(default=24, ge=0)
    after_course: bool = True
    shuffle_options: bool = True
    function_names: dict[str, str] = {}
    draw: list[CellForm] = Field(min_length=1)

    @model_validator(mode="after")
    def _adds_up(self) -> PaperForm:
        points = sum(cell.count * self.points_of(cell) for cell in self.draw)
        if self.total is not None and points != self.total:
            raise ValueError(f"各题分值合计 {points}，与 total {self.total} 不符")
        return self

    def points_of(self, cell: CellForm) -> int:
        return cell.points or self.points_each


class BankForm(Form):
    course: str = ""
    standard: StandardForm | None = None
    questions: list[Any]


@dataclass(frozen=True, slots=True)
class Package:
    """A course folder, checked. `digest` changes when any of its files does."""

    course: CourseForm
    lessons: list[LessonForm]
    figures: dict[str, Drawing]
    questions: list[QuestionForm]
    paper: PaperForm | None
    digest: str


def read_package(folder: Path) -> Package:
    """Raises PackageError with every fault at once."""
    faults: list[str] = []
    if not (folder / "course.yml").is_file():
        raise PackageError([f"{folder}：这里没有 course.yml，不是课程文件夹"])
    course = _read(folder, "course.yml", CourseForm, faults)
    lessons, figures = [], {}
    for name in course.lessons if course else []:
        lesson = _read(folder, f"lessons/{name}", LessonForm, faults)
        if lesson is None:
            continue
        lessons.append(lesson)
        for block in lesson.blocks:
            if block.kind == "figure" and block.value.file not in figures:
                drawing = _figure(folder, block.value.file, f"lessons/{name}", faults)
                if drawing:
                    figures[block.value.file] = drawing
    questions = _questions(folder, faults)
    paper = None
    if (folder / "paper.yml").is_file():
        paper = _read(folder, "paper.yml", PaperForm, faults)
    known = {lesson.slug for lesson in lessons}
    faults += [
        f"questions.yml：试题 {q.code} 的 lesson “{q.lesson}”不是本课程的课时"
        for q in questions
        if q.lesson and q.lesson not in known
    ]
    slugs = [lesson.slug for lesson in lessons]
    faults += [f"lessons：课时代码 {slug} 重复" for slug in sorted({s for s in slugs if slugs.count(s) > 1})]
    if faults or course is None:
        raise PackageError(faults)
    return Package(course, lessons, figures, questions, paper, _digest(folder))


def _digest(folder: Path) -> str:
    total = hashlib.sha256(str(FORM).encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".yml", ".svg"):
            total.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def _questions(folder: Path, faults: list[str]) -> list[QuestionForm]:
    if not (folder / "questions.yml").is_file():
        return []
    loaded = _load(folder, "questions.yml", faults)
    if loaded is None:
        return []
    bank = _check(loaded[0], BankForm, "questions.yml", loaded[1], faults, ())
    found: list[QuestionForm] = []
    codes: set[str] = set()
    for place, raw in enumerate(bank.questions if bank else []):
        form = _check(raw, QuestionForm, "questions.yml", loaded[1], faults, ("questions", place))
        if form is None:
            continue
        line = loaded[1].get(("questions", place), 0)
        if not form.code:
            faults.append(f"questions.yml 第 {line} 行：试题没有 code")
        elif form.code in codes:
            faults.append(f"questions.yml 第 {line} 行：题号 {form.code} 重复")
        codes.add(form.code)
        found.append(form)
    return found


def _figure(folder: Path, name: str, used_in: str, faults: list[str]) -> Drawing | None:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        faults.append(f"{used_in}：没有插图文件 {name}")
        return None
    try:
        return clean_svg(path.read_bytes())
    except FigureError as fault:
        faults.append(f"{name}:{fault}")
        return None


Lines = dict[tuple[Any, ...], int]


def _load(folder: Path, name: str, faults: list[str]) -> tuple[Any, Lines] | None:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        faults.append(f"{name}：没有这个文件")
        return None
    try:
        text = path.read_text(encoding="utf-8")
        lines: Lines = {}
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _lines(node, (), lines)
        return yaml.safe_load(text), lines
    except UnicodeDecodeError:
        faults.append(f"{name}：请用 UTF-8 编码保存")
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        where = f" 第 {mark.line + 1} 行" if mark else ""
        faults.append(f"{name}{where}:YAML 写法有误({getattr(fault, 'problem', fault)})")
    return None


def _lines(node: yaml.Node | None, path: tuple[Any, ...], lines: Lines) -> None:
    if node is None:
        return
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _lines(value, (*path, key.value), lines)
            lines[(*path, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _lines(value, (*path, place), lines)


def _read(folder: Path, name: str, form: type[Any], faults: list[str]) -> Any:
    loaded = _load(folder, name, faults)
    if loaded is None:
        return None
    data, lines = loaded
    return _check(data, form, name, lines, faults, ())


def _check(data: Any, form: type[Any], name: str, lines: Lines, faults: list[str], start: tuple[Any, ...]) -> Any:
    try:
        return form.model_validate(data)
    except ValidationError as found:
        for error in found.errors():
            path = (*start, *error["loc"])
            known = path
            while known and known not in lines:
                known = known[:-1]
            faults.append(f"{name} 第 {lines.get(known, 1)} 行：{_say(error, form, path)}")
        return None


def _say(error: Any, form: type[Any], path: tuple[Any, ...]) -> str:
    where = ".".join(str(part) for part in path) or "最外层"
    match error["type"]:
        case "extra_forbidden":
            return f"不认识的键 {path[-1]}({where})；可用的键见 courses/content/README.md"
        case "missing":
            return f"缺少 {where}"
        case "value_error":
            return f"{where}:{error['ctx']['error']}"
        case _:
            return f"{where}:{error['msg']}"
