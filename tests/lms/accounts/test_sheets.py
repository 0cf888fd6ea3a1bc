"""Staff lists as .xlsx: round trip, dry run, and files that mean harm."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from lms.accounts import sheets
from lms.accounts.models import AuditEntry, Membership, Organisation, User
from tests.factories.accounts import OrganisationFactory

pytestmark = pytest.mark.django_db
Member = Callable[..., User]


@pytest.fixture
def place() -> Organisation:
    return OrganisationFactory()


@pytest.fixture
def admin(member: Member, place: Organisation) -> User:
    return member("admin", organisation=place, username="boss", name="王建国")


def book(*rows: list[object], head: list[str] | None = None) -> BytesIO:
    made = Workbook()
    made.active.append(head or list(sheets.COLUMNS))
    for row in rows:
        made.active.append(row)
    out = BytesIO()
    made.save(out)
    out.seek(0)
    return out


def verdicts(rows: list[sheets.Row]) -> list[tuple[str, str]]:
    return [(row.values["username"], row.verdict) for row in rows]


def people(place: Organisation) -> list[User]:
    return list(User.objects.filter(memberships__organisation=place).distinct().prefetch_related("memberships"))


def state() -> tuple[int, int, int]:
    return User.objects.count(), Membership.objects.count(), AuditEntry.objects.count()


def test_export_read_again_changes_nothing(place: Organisation, admin: User, member: Member) -> None:
    member("learner", "security", organisation=place, username="li", name="蒋䶮", phone="+86 138-0000-0000")
    member(organisation=place, username="zhang", name="=HYPERLINK(1)", job_title="-1+1", phone="13800000000")

    rows = sheets.read(BytesIO(sheets.export(place, people(place))), place)

    assert sorted(verdicts(rows)) == [("boss", "same"), ("li", "same"), ("zhang", "same")]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20),
    title=st.text("=+-@'中文 a1", max_size=12),
)
def test_export_read_again_gives_any_text_back(place: Organisation, member: Member, name: str, title: str) -> None:
    User.objects.filter(username="anyone").delete()
    title = title.strip()
    member(organisation=place, username="anyone", name=name, job_title=title)
    exported = sheets.export(place, people(place))

    (row,) = (row for row in sheets.read(BytesIO(exported), place) if row.values["username"] == "anyone")

    assert (row.values["name"], row.values["job_title"]) == (name.strip(), title)


def test_export_holds_no_formula(place: Organisation, member: Member) -> None:
    for number, name in enumerate(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"]):
        member(organisation=place, username=f"user-{number}", name=name)

    page = load_workbook(BytesIO(sheets.export(place, people(place)))).active

    cells = [cell for line in page.iter_rows(min_row=2) for cell in line if cell.value]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [cell.value for cell in cells if str(cell.value)[0] in "=+-@\t"] == []


def test_export_leaves_out_what_a_sheet_cannot_hold(place: Organisation, member: Member) -> None:
    member(organisation=place, username="li3", name="李\x0b四")

    (row,) = sheets.read(BytesIO(sheets.export(place, people(place))), place)

    assert row.values["name"] == "李四"


def test_template_is_read_as_empty_and_names_what_may_be_filled_in(place: Organisation) -> None:
    content = sheets.template(place)

    assert sheets.read(BytesIO(content), place) == []
    page = load_workbook(BytesIO(content)).active
    assert "企业管理员" in page["A1"].value
    assert [cell.value for cell in page[2]] == list(sheets.COLUMNS)
    assert "主管部门" not in page.data_validations.dataValidation[0].formula1


def test_read_says_for_every_row_what_would_happen_and_writes_nothing(
    place: Organisation, admin: User, member: Member
) -> None:
    member(organisation=place, username="li", name="李四", job_title="质检员")
    member(username="elsewhere")
    before = state()

    rows = sheets.read(
        book(
            ["li", "李四", "质检员", "", "员工"],
            ["LI2", "新人", "电工", 13800000000.0, ""],
            ["boss", "王建国", "厂长", "", ""],
            ["elsewhere", "某人", "", "", ""],
            ["li2", "重复", "", "", ""],
            ["x", "", "", "手机", "局长"],
        ),
        place,
    )

    assert [row.verdict for row in rows] == ["same", "new", "changed", "wrong", "wrong", "wrong"]
    assert rows[1].values["phone"] == "13800000000"
    assert rows[1].roles == ["learner"]
    assert rows[2].changes == [("岗位", "", "厂长")]
    assert rows[3].errors == ["用户名已属于其他单位的人员，请换一个。"]
    assert rows[4].errors == ["与第 3 行用户名相同。"]
    assert len(rows[5].errors) == 4
    assert state() == before


def test_read_matches_user_names_in_any_case(place: Organisation, member: Member) -> None:
    member(organisation=place, username="Li.Lei", name="李雷")

    (row,) = sheets.read(book(["li.lei", "李雷", "", "", "员工"]), place)

    assert row.verdict == "same"


def test_empty_role_cell_takes_no_role_away(place: Organisation, admin: User) -> None:
    (row,) = sheets.read(book(["boss", "王建国", "", "", ""]), place)

    assert (row.verdict, row.roles) == ("same", ["admin"])


def test_read_asks_as_little_for_many_rows_as_for_one(place: Organisation, member: Member) -> None:
    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as seen:
            sheets.read(book(*[[f"new{n}", f"新{n}", "", "", "员工"] for n in range(count)]), place)
        return len(seen)

    assert queries(1) == queries(30)


def test_apply_writes_new_and_changed_rows(place: Organisation, admin: User, member: Member) -> None:
    member(organisation=place, username="li", name="李四")
    rows = sheets.read(book(["li", "李四光", "工艺员", "", "员工、安全人员"], ["new1", "新人", "", "", ""]), place)

    made = sheets.apply(rows, place, by=admin)

    assert [(user.username, len(code)) for user, code in made] == [("new1", 14)]
    changed = User.objects.get(username="li")
    assert (changed.name, changed.job_title) == ("李四光", "工艺员")
    assert set(changed.memberships.active().values_list("role", flat=True)) == {"learner", "security"}
    again = sheets.read(book(["li", "李四光", "工艺员", "", "员工、安全人员"], ["new1", "新人", "", "", ""]), place)
    assert {row.verdict for row in again} == {"same"}


def test_apply_keeps_the_whole_file_out_for_one_wrong_row(place: Organisation, admin: User) -> None:
    rows = sheets.read(book(["good1", "好人", "", "", ""], ["b", "坏行", "", "", ""]), place)
    before = state()

    with pytest.raises(ValidationError, match="整份文件都没有导入"):
        sheets.apply(rows, place, by=admin)
    assert state() == before


def test_apply_keeps_the_whole_file_out_when_a_service_refuses(place: Organisation, admin: User) -> None:
    rows = sheets.read(book(["good1", "好人", "", "", ""], ["boss", "王建国", "", "", "员工"]), place)
    before = state()

    with pytest.raises(ValidationError, match="至少要留一名"):
        sheets.apply(rows, place, by=admin)
    assert state() == before


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"<html>", b"\xd0\xcf\x11\xe0" * 40]
)
def test_read_refuses_what_is_no_sheet(place: Organisation, content: bytes) -> None:
    with pytest.raises(ValidationError, match="打不开"):
        sheets.read(BytesIO(content), place)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place_of=st.integers(0, 6000), byte=st.integers(0, 255))
def test_read_answers_broken_files_with_a_refusal(place: Organisation, place_of: int, byte: int) -> None:
    whole = bytearray(book(["li", "李四", "", "", "员工"]).getvalue())
    whole[place_of % len(whole)] = byte

    try:
        rows = sheets.read(BytesIO(bytes(whole)), place)
    except ValidationError:
        return
    assert all(row.verdict in ("new", "wrong") for row in rows)


def test_read_refuses_a_file_that_unpacks_to_too_much(place: Organisation) -> None:
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/worksheets/sheet1.xml", b"0" * (sheets.MOST_UNPACKED + 1))
    assert len(out.getvalue()) < 100_000

    with pytest.raises(ValidationError, match="过大"):
        sheets.read(out, place)


def test_read_does_not_widen_lines_for_a_far_cell(place: Organisation) -> None:
    made = Workbook()
    made.active.append(list(sheets.COLUMNS))
    for number in range(2, 60):
        made.active[f"A{number}"] = f"user{number}"
        made.active[f"XFD{number}"] = "x"
    out = BytesIO()
    made.save(out)

    lines = sheets.unpack(out)

    assert {len(line) for line in lines} == {sheets.MOST_COLUMNS}


def test_read_refuses_too_many_rows_and_a_sheet_without_headings(place: Organisation) -> None:
    with pytest.raises(ValidationError, match="2000"):
        sheets.read(book(*[[f"u{n}", "名"] for n in range(sheets.MOST_ROWS + 1)]), place)
    with pytest.raises(ValidationError, match="表头"):
        sheets.read(book(["li", "李四"], head=["工号", "名字"]), place)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (13800000000.0, "13800000000"),
        (13800000000, "13800000000"),
        (1.5, "1.5"),
        (" a ", "a"),
        ("'=1", "=1"),
    ],
)
def test_cells_are_read_as_they_were_typed(value: object, text: str) -> None:
    assert sheets.cell_text(value) == text
