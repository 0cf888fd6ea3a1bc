"""Course folders: read with every fault named, imported whole, twice without a change."""

from pathlib import Path

import pytest
import yaml

from courses.domain.packages import PackageError, read_package
from courses.models import CoursePage, LessonPage, Paper, Question, QuestionVersion
from courses.services import import_course
from tests.factories.accounts import UserFactory

CONTENT = Path(__file__).parents[2] / "courses" / "content"
COURSE = {
    "slug": "mini", "title": "小课", "tier": "入门", "hours": 1, "lessons": ["one.yml", "two.yml"], "layers": ["技术"],
    "item_tags": ["item:network:ics_network"], "objectives": ["能够做事"],
}  # fmt: skip
ONE = {
    "slug": "one", "title": "第一课", "minutes": 20,
    "blocks": [
        {"heading": "数据从哪里来"},
        {"text": "**数字化**不是换电脑。"},
        {"figure": {"file": "figures/a.svg", "alt": "一个方块"}},
        {"question": {"kind": "single", "stem": "选哪个？", "options": ["甲", "乙"], "answer": 1, "explanation": "因为乙"}},
    ],
}  # fmt: skip
TWO = {
    "slug": "two",
    "title": "第二课",
    "minutes": 25,
    "blocks": [{"checklist": {"title": "作业", "items": ["走一圈"]}}],
}
QUESTIONS = {
    "questions": [
        {
            "code": "A",
            "kind": "truefalse",
            "stem": "对吗",
            "answer": True,
            "requirement": "L1.F1.1.K1",
            "difficulty": 1,
            "lesson": "one",
        },
        {"code": "B", "kind": "ordering", "stem": "排", "items": ["一", "二", "三"], "function": "F2", "difficulty": 3},
    ]
}
PAPER = {"slug": "mini-exam", "title": "小考", "minutes": 10, "pass": 60, "points_each": 50, "total": 100,
         "draw": [{"function": "F1", "difficulty": 1, "count": 1}, {"function": "F2", "count": 1}]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A small course; `write(name, data)` replaces a file of it."""

    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
        return tmp_path

    write("course.yml", COURSE)
    write("lessons/one.yml", ONE)
    write("lessons/two.yml", TWO)
    write("questions.yml", QUESTIONS)
    write("paper.yml", PAPER)
    write(
        "figures/a.svg",
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><script/><rect width="9" height="9"/></svg>',
    )
    write.folder = tmp_path
    return write


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("course.yml", {**COURSE, "colour": "red"}, "course.yml 第 1 行：不认识的键 colour"),
        ("course.yml", {**COURSE, "tier": "初级"}, "层级只能是"),
        ("course.yml", {**COURSE, "lessons": ["three.yml"]}, "lessons/three.yml：没有这个文件"),
        ("lessons/one.yml", {**ONE, "blocks": [{"heading": "a", "text": "b"}]}, "只写一种"),
        ("lessons/one.yml", "slug: one\ntitle: [", "YAML"),
        ("lessons/two.yml", {**TWO, "slug": "one"}, "课时代码 one 重复"),
        ("lessons/two.yml", {**TWO, "blocks": [{"figure": {"file": "../../etc/passwd", "alt": "x"}}]}, "没有插图文件"),
        (
            "questions.yml",
            {"questions": [{"code": "A", "kind": "single", "stem": "?", "options": ["a", "b"], "answer": 2}]},
            "0 到 1",
        ),
        ("questions.yml", {"questions": [*QUESTIONS["questions"], QUESTIONS["questions"][0]]}, "题号 A 重复"),
        ("questions.yml", {"questions": [{**QUESTIONS["questions"][0], "lesson": "nine"}]}, "不是本课程的课时"),
        ("paper.yml", {**PAPER, "total": 90}, "与 total 90 不符"),
        ("figures/a.svg", "<svg", "有效的 SVG"),
    ],
)
def test_read_package_names_file_and_fault(folder, name, data, says):
    folder(name, data)

    with pytest.raises(PackageError) as fault:
        read_package(folder.folder)

    assert any(says in line for line in fault.value.faults), fault.value.faults


def test_read_package_tells_all_faults_with_their_lines(folder):
    folder("course.yml", "slug: mini\ntitle: 小课\nhours: 1\ntier: 高级\nlessons: [one.yml]\nfoo: 1\n")
    folder("paper.yml", {**PAPER, "minutes": 0})

    with pytest.raises(PackageError) as fault:
        read_package(folder.folder)

    lines = fault.value.faults
    assert [
        any(part in line for line in lines) for part in ("course.yml 第 4 行", "course.yml 第 6 行", "paper.yml")
    ] == [True, True, True]


@pytest.mark.django_db
def test_import_course_writes_pages_questions_and_paper(folder):
    trainer = UserFactory()

    done = import_course(folder.folder, by=trainer)

    course = CoursePage.objects.get(slug="mini")
    assert (done.changed, done.lessons, done.questions) == (True, 2, 2)
    assert (course.live, course.owner, course.tier, str(course.hours)) == (True, trainer, "intro", "1.0")
    assert [(f.kind, f.code) for f in course.facets.all()] == [("layer", "技术"), ("plan", "item:network:ics_network")]
    assert [(lesson.title, lesson.minutes, lesson.functions, lesson.live) for lesson in course.lessons()] == [
        ("第一课", 20, "F1", True), ("第二课", 25, "", True),
    ]  # fmt: skip
    assert list(Question.objects.order_by("code").values_list("use", "current__kind", "current__difficulty")) == [
        ("exam", "truefalse", "easy"), ("exam", "ordering", "hard"), ("lesson", "single", "medium"),
    ]  # fmt: skip
    paper = Paper.objects.get()
    assert (paper.minutes, paper.pass_mark, paper.is_open, paper.question_count) == (10, 60, True, 2)


@pytest.mark.django_db
def test_import_course_twice_changes_nothing(folder):
    first = import_course(folder.folder, by=None)
    revisions = LessonPage.objects.first().revisions.count()

    second = import_course(folder.folder, by=None)

    assert (second.changed, second.course, second.paper) == (False, first.course, first.paper)
    assert LessonPage.objects.first().revisions.count() == revisions
    assert QuestionVersion.objects.count() == 3


@pytest.mark.django_db
def test_import_course_again_keeps_pages_versions_and_order(folder):
    course = import_course(folder.folder, by=None).course
    ids = {lesson.slug: lesson.pk for lesson in course.lessons()}
    blocks = [str(b.id) for b in LessonPage.objects.get(slug="one").question_blocks()]
    folder("course.yml", {**COURSE, "lessons": ["two.yml", "one.yml"]})
    folder("lessons/one.yml", {**ONE, "title": "新的第一课", "blocks": ONE["blocks"][::-1]})
    folder(
        "questions.yml", {"questions": [{**QUESTIONS["questions"][0], "stem": "真的对吗"}, QUESTIONS["questions"][1]]}
    )

    import_course(folder.folder, by=None)

    assert [(lesson.pk, lesson.title) for lesson in course.lessons()] == [
        (ids["two"], "第二课"),
        (ids["one"], "新的第一课"),
    ]
    assert [str(b.id) for b in LessonPage.objects.get(slug="one").question_blocks()] == blocks
    assert list(Question.objects.filter(use="exam").order_by("code").values_list("current__number", flat=True)) == [
        2,
        1,
    ]


@pytest.mark.django_db
def test_import_course_unpublishes_lessons_that_are_gone(folder):
    course = import_course(folder.folder, by=None).course
    folder("course.yml", {**COURSE, "lessons": ["one.yml"]})

    done = import_course(folder.folder, by=None)

    assert done.removed == ["第二课"]
    assert list(course.lessons().values_list("slug", flat=True)) == ["one"]
    assert LessonPage.objects.filter(slug="two", live=False).exists()


@pytest.mark.django_db
def test_import_course_writes_nothing_when_a_file_is_wrong(folder):
    folder("paper.yml", {**PAPER, "minutes": -1})

    with pytest.raises(PackageError):
        import_course(folder.folder, by=None)

    assert CoursePage.objects.count() == 0


@pytest.mark.parametrize("path", sorted(CONTENT.glob("*/course.yml")), ids=lambda path: path.parent.name)
def test_shipped_courses_have_substance(path):
    package = read_package(path.parent)

    assert len(package.lessons) >= 6
    for lesson in package.lessons:
        words = sum(
            len(b.value if isinstance(b.value, str) else "".join(str(v) for v in b.value.model_dump().values()))
            for b in lesson.blocks
        )
        assert words >= 1000, lesson.slug
        assert any(b.kind == "figure" for b in lesson.blocks), lesson.slug
    assert len(package.questions) >= 30
    assert len({q.kind for q in package.questions}) >= 4
    assert package.paper is not None
