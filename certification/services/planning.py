"""Targets and workforce figures: entered by an officer of the region, kept with who and whence, every change in the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification import rules
from certification.models import Standard, Target, Workforce
from certification.services.refusal import Refusal
from lms.accounts import audit
from lms.accounts.models import Region, User

YEARS_AHEAD = 5  # targets come with five-year plans


@dataclass(frozen=True, slots=True)
class WorkforceLine:
    """`industry` "" = all industries together."""

    region: str
    industry: str
    employees: int


@transaction.atomic
def set_target(
    *, region: Region, standard: str, year: int, holders: int, by: User, source: str = "", now: datetime | None = None
) -> Target | None:
    """Writes or changes the number; 0 takes it away. The old number goes to the audit log."""
    now = now or timezone.now()
    if not rules.may_set_target(by, region):
        raise Refusal(_("只能为本地区及下级地区填写目标。"))
    if not Standard.objects.filter(code=standard).exists():
        raise Refusal(_("没有这个标准。"))
    this_year = timezone.localdate(now).year
    if not this_year <= year <= this_year + YEARS_AHEAD:
        raise Refusal(
            _("只能填写 %(first)s 至 %(last)s 年的目标，过去年度的目标不再改动。")
            % {"first": this_year, "last": this_year + YEARS_AHEAD}
        )
    row = Target.objects.select_for_update().filter(region=region, standard_code=standard, year=year).first()
    before = row.holders if row else 0
    if not holders:
        if row:
            row.delete()
            audit.record("target.removed", region, by=by, standard=standard, year=year, before=before)
        return None
    values = {"holders": holders, "source": source.strip(), "set_by": by, "set_at": now}
    target, _made = Target.objects.update_or_create(region=region, standard_code=standard, year=year, defaults=values)
    audit.record("target.set", region, by=by, standard=standard, year=year, before=before, after=holders)
    return target


@transaction.atomic
def enter_workforce(
    *, lines: Sequence[WorkforceLine], as_of: date, source: str, by: User, now: datetime | None = None
) -> int:
    """All lines or none; a figure of the same place, industry and day is replaced. How many were written."""
    now = now or timezone.now()
    if not source.strip():
        raise Refusal(_("请写明数据来源，例如统计年鉴的名称和年份。"))
    if as_of > timezone.localdate(now):
        raise Refusal(_("数据日期不能晚于今天。"))
    for line in lines:
        if not rules.may_see_prefix(by, Region(code=line.region).prefix):
            raise Refusal(_("%(region)s 不在本地区，不能填写。") % {"region": line.region})
        Workforce.objects.update_or_create(
            region_id=line.region,
            industry_id=line.industry or None,
            as_of=as_of,
            defaults={"employees": line.employees, "source": source.strip(), "entered_by": by, "entered_at": now},
        )
    if lines:
        place = Region.objects.get(code=lines[0].region)
        audit.record(
            "workforce.entered", place, by=by, lines=len(lines), as_of=as_of.isoformat(), source=source.strip()
        )
    return len(lines)
