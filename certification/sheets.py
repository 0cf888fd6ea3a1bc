"""The bureau's workbook: a cover to be stamped, one sheet per credential type, and how everything was counted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from certification.domain.cube import Cell
from lms.accounts.models import Region, User

HEAD = PatternFill("solid", fgColor="E0F1EF")
LINE = Border(*(Side(style="thin", color="B8C4CA") for _ in range(4)))
TEXT = "@"  # region codes keep their zeros and never turn into 3.3E+05
DEFINITIONS = [
    (
        "持证人数",
        "截至统计截止日持有效证书的人数。同一等级一人只计一次；“去重人数”为持该类任一等级的人数，等级之间不能相加。",
    ),
    ("有效", "已签发且在统计截止日未过期、未撤销、未被补发替代。当天到期的仍计入，当天撤销的不计入。"),
    ("本年新增", "本年 1 月 1 日至统计截止日登记入账的证书数（含其后失效的）。"),
    ("地区", "签发当日持证人所在单位的地区。以后调动不改变已有统计。"),
    (
        "证书类型",
        "培训合格证书、岗位能力证明、外部登记证书分表统计，任何表中均不相加。外部登记证书由其他机构颁发，本平台只核对登记。",
    ),
    ("涉密与公开", "本表为内部准确数，含小于 5 的单元格，不得直接公开；公开请用平台的“签名发布”。"),
]

Row = tuple[str, str, list[int], int, int]
Sheet = tuple[str, list[tuple[str, str]], list[Row], Cell, list[int]]


def workbook(*, region: Region, as_of: date, since: date, by: User, sheets: Sequence[Sheet]) -> bytes:
    book = Workbook()
    cover = book.active
    assert isinstance(cover, Worksheet)
    cover.title = "封面"
    cover["A1"] = f"{region.full_name}持证人才统计表"
    cover["A1"].font = Font(size=18, bold=True)
    chinese = f"{as_of.year}年{as_of.month}月{as_of.day}日"
    for number, (label, value) in enumerate(
        [
            ("填报单位（盖章）", ""),
            ("填报人", by.name),
            ("联系电话", by.phone),
            ("统计截止日期", chinese),
            ("审核人", ""),
        ],
        start=3,
    ):
        cover.cell(number, 1, label).font = Font(bold=True)
        cover.cell(number, 2, value).number_format = TEXT
    cover.column_dimensions["A"].width, cover.column_dimensions["B"].width = 22, 36
    for title, columns, rows, total, totals in sheets:
        _table(book.create_sheet(title), title, chinese, since, columns, rows, total, totals)
    notes = book.create_sheet("口径说明")
    for number, (word, meaning) in enumerate(DEFINITIONS, start=1):
        notes.cell(number, 1, word).font = Font(bold=True)
        notes.cell(number, 2, meaning).alignment = Alignment(wrap_text=True, vertical="top")
    notes.column_dimensions["A"].width, notes.column_dimensions["B"].width = 16, 90
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _table(
    sheet: Worksheet,
    title: str,
    as_of: str,
    since: date,
    columns: list[tuple[str, str]],
    rows: list[Row],
    total: Cell,
    totals: list[int],
) -> None:
    sheet["A1"] = f"{title}（单位：人；统计截止日期：{as_of}）"
    sheet["A1"].font = Font(size=13, bold=True)
    head = [
        "区划代码",
        "地区",
        *(f"{name}\n{standard}" for standard, name in columns),
        "去重人数",
        f"{since.year}年新增（张）",
    ]
    body: list[list[Any]] = [[code, name, *cells, people, issued] for code, name, cells, people, issued in rows]
    body.append(["", "合计", *totals, total.holders, total.issued])
    for number, values in enumerate([head, *body], start=3):
        for place, value in enumerate(values, start=1):
            cell = sheet.cell(number, place, value)
            cell.border = LINE
            if number == 3:
                cell.fill, cell.font = HEAD, Font(bold=True)
                cell.alignment = Alignment(wrap_text=True, horizontal="center", vertical="center")
            elif place == 1:
                cell.number_format = TEXT
            if number == len(body) + 3:
                cell.font = Font(bold=True)
    sheet.freeze_panes = "C4"
    for place in range(1, len(head) + 1):
        sheet.column_dimensions[get_column_letter(place)].width = 12 if place == 1 else 18
    sheet.row_dimensions[3].height = 48
