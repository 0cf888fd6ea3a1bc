"""Staff lists as .xlsx, the way bureaus and factories keep them: template, dry run with differences, apply, export.

Rows are matched by user name. A dry run writes nothing and says for every row what would happen; one faulty row keeps
the whole file from being applied. Text is written as text, so that phone numbers do not become 1.3E+10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO
from zipfile import ZipFile

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Lower
from django.utils.translation import gettext as _
from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font, PatternFill
from openpyxl.worksheet.datavalidation import DataValidation

from lms.accounts import services
from lms.accounts.forms import PersonForm
from lms.accounts.models import Organisation, User
from lms.accounts.rules import Role, grantable_roles

COLUMNS = ("用户名", "姓名", "岗位", "手机号", "角色")
FIELDS = ("username", "name", "job_title", "phone", "roles")
MOST_ROWS = 2000
MOST_COLUMNS = 30  # a cell in column XFD would make every line 16384 wide
MOST_UNPACKED = 40 * 1024 * 1024  # a few kilobytes can unpack to gigabytes


@dataclass(slots=True)
class Row:
    """One line of the file and what becomes of it. `verdict`: new, changed, same, wrong."""

    number: int
    values: dict[str, str]
    verdict: str = "wrong"
    errors: list[str] = field(default_factory=list)
    changes: list[tuple[str, str, str]] = field(default_factory=list)  # (column, before, after)
    user: User | None = None
    roles: list[str] = field(default_factory=list)


def template(organisation: Organisation) -> bytes:
    """An empty sheet with a line of explanation, headings and drop-downs."""
    return sheet(organisation, [], explain=True)


def export(organisation: Organisation, people: list[User]) -> bytes:
    rows = []
    for person in people:
        words = "、".join(str(Role(role).label) for role in roles_in(person, organisation))
        rows.append([person.username, person.name, person.job_title, person.phone, words])
    return sheet(organisation, rows, explain=False)


def roles_in(person: User, organisation: Organisation) -> list[str]:
    """Present roles here that a sheet may name, in the order the screen shows them; memberships are prefetched."""
    held = {m.role for m in person.memberships.all() if m.organisation_id == organisation.pk and not m.ended_at}
    return [role.value for role in grantable_roles(organisation) if role in held]


def sheet(organisation: Organisation, rows: list[list[str]], *, explain: bool) -> bytes:
    book = Workbook()
    page = book.active
    page.title = "员工"
    labels = [str(role.label) for role in grantable_roles(organisation)]
    if explain:
        page.append(
            [f"填写说明：每人一行；角色可填 {'、'.join(labels)}，多个用顿号分开；已有的用户名会更新，没有的会新建。"]
        )
        page.merge_cells(start_row=1, start_column=1, end_row=1, end_column=len(COLUMNS))
    page.append(list(COLUMNS))
    for cell in page[page.max_row]:
        cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="E0F1EF")
    for row in rows:
        page.append([harmless(text) for text in row])
    for column, width in zip("ABCDE", (18, 14, 20, 18, 24), strict=True):
        page.column_dimensions[column].width = width
        for cell in page[column]:
            cell.number_format = "@"
    choice = DataValidation(
        type="list", formula1='"' + ",".join(labels) + '"', allow_blank=True, showErrorMessage=False
    )
    page.add_data_validation(choice)
    choice.add(f"E{page.max_row + 1}:E{MOST_ROWS}")
    out = BytesIO()
    book.save(out)
    return out.getvalue()


def harmless(text: str) -> str:
    """A cell that a spreadsheet would run as a formula is quoted (and so is a quote, to be read back as one); what
    xlsx cannot hold is left out."""
    text = ILLEGAL_CHARACTERS_RE.sub("", text)
    return "'" + text if text and text[0] in "=+-@'\t\r" else text


def read(file: BinaryIO, organisation: Organisation) -> list[Row]:
    """Every filled row with its verdict. Raises ValidationError for a file that is no such sheet."""
    lines = unpack(file)
    head = next((n for n, line in enumerate(lines) if "用户名" in line and "姓名" in line), None)
    if head is None:
        raise ValidationError(_("没有找到表头“用户名、姓名…”；请用本页的模板填写。"))
    if len(lines) > MOST_ROWS + head + 1:
        raise ValidationError(_("一次最多导入 %(n)s 人；请分批。") % {"n": MOST_ROWS})
    places = {name: lines[head].index(name) for name in COLUMNS if name in lines[head]}
    rows = []
    for number, line in enumerate(lines[head + 1 :], start=head + 2):
        values = {
            f: line[places[c]] if c in places and places[c] < len(line) else ""
            for c, f in zip(COLUMNS, FIELDS, strict=True)
        }
        if any(values.values()):
            rows.append(Row(number, values))
    judge(rows, organisation)
    return rows


def unpack(file: BinaryIO) -> list[list[str]]:
    """The first sheet's cells as texts. Whatever a broken or hostile file makes the libraries raise (a dozen kinds in
    zipfile, expat and openpyxl) is one answer to the person: not a sheet we can read."""
    try:
        size = sum(part.file_size for part in ZipFile(file).infolist())
        if size <= MOST_UNPACKED:
            file.seek(0)
            page = load_workbook(file, read_only=True, data_only=True).worksheets[0]
            cells = page.iter_rows(max_row=MOST_ROWS + 3, max_col=MOST_COLUMNS, values_only=True)
            return [[cell_text(cell) for cell in line] for line in cells]
    except Exception as error:
        raise ValidationError(_("文件打不开；请用本页的模板填写，并另存为 .xlsx。")) from error
    raise ValidationError(_("文件内容过大；请分批导入。"))


def cell_text(value: object) -> str:
    """Numbers as they were typed: 13800000000.0 is a phone number."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().removeprefix("'")


def judge(rows: list[Row], organisation: Organisation) -> None:
    """Fills in verdict, errors and changes of every row; writes nothing."""
    words = {str(role.label): role.value for role in Role}
    asked = {row.values["username"].lower() for row in rows}
    known = {
        user.username.lower(): user
        for user in User.objects.annotate(key=Lower("username")).filter(key__in=asked).prefetch_related("memberships")
    }
    seen: dict[str, int] = {}
    for row in rows:
        key = row.values["username"].lower()
        row.user = known.get(key)
        standing = roles_in(row.user, organisation) if row.user else []
        parts = [part.strip() for part in re.split("[、,,;;]", row.values["roles"])]
        # An empty cell says nothing about roles: who is here keeps his, who is new learns.
        row.roles = [words.get(part, part) for part in parts if part] or standing or [Role.LEARNER.value]
        form = PersonForm({**row.values, "roles": row.roles}, organisation=organisation, user=row.user)
        row.errors = [f"{form.fields[name].label}: {' '.join(errors)}" for name, errors in form.errors.items()]
        if key in seen:
            row.errors.append(_("与第 %(n)s 行用户名相同。") % {"n": seen[key]})
        seen.setdefault(key, row.number)
        if row.user and not standing:
            row.errors.append(_("用户名已属于其他单位的人员，请换一个。"))
        if row.errors:
            row.verdict = "wrong"
        elif row.user is None:
            row.verdict = "new"
        else:
            row.changes = list(differences(row, standing))
            row.verdict = "changed" if row.changes else "same"


def differences(row: Row, standing: list[str]) -> Iterator[tuple[str, str, str]]:
    for name, label in (("name", "姓名"), ("job_title", "岗位"), ("phone", "手机号")):
        before, after = getattr(row.user, name), row.values[name]
        if before != after:
            yield label, before, after
    if set(standing) != set(row.roles):
        yield "角色", "、".join(str(Role(r).label) for r in standing), "、".join(str(Role(r).label) for r in row.roles)


@transaction.atomic
def apply(rows: list[Row], organisation: Organisation, *, by: User) -> list[tuple[User, str]]:
    """Writes new and changed rows, all or none. Returns (person, code) of the new ones; codes are shown once."""
    if any(row.errors for row in rows):
        raise ValidationError(_("有错误的行，整份文件都没有导入。"))
    made = []
    for row in rows:
        values = {name: row.values[name] for name in ("name", "job_title", "phone")}
        if row.user is None:
            made.append(
                services.invite(organisation, username=row.values["username"], roles=row.roles, by=by, **values)
            )
        elif row.changes:
            services.update_person(row.user, organisation=organisation, by=by, roles=row.roles, **values)
    return made
