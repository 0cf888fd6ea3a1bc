"""Daily books, and the log of who looked at named records."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import Count, Max
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification import rules
from certification.counting import Scope
from certification.models import BureauAccess, Credential, DailyRollup
from certification.services.refusal import Refusal
from lms.accounts import audit
from lms.accounts.models import User
from lms.jobs.services import enqueue

KEYS = ("credential_type", "standard_code", "level_code", "region_id", "industry_id", "size", "is_demo")
BACKLOG = 31  # days made up for at most after the follower was away; older ones on demand


@transaction.atomic
def build_rollup(*, day: date) -> int:
    """Writes the cells of one day anew from the certificates; how many. The day must be over or today: what enters the
    books later never changes a past day, so building it twice gives the same rows."""
    if day > timezone.localdate():
        raise Refusal(_("不能统计还没有到的日子。"))
    cells: dict[tuple[object, ...], dict[str, int]] = {}
    rows = Credential.objects.counting_on(day).values(*KEYS).annotate(h=Count("person", distinct=True), v=Count("pk"))
    for row in rows.order_by():
        cells[tuple(row[key] for key in KEYS)] = {"holders": row["h"], "valid": row["v"], "issued": 0}
    for row in Credential.objects.entered(day, day).values(*KEYS).annotate(n=Count("pk")).order_by():
        cells.setdefault(tuple(row[key] for key in KEYS), {"holders": 0, "valid": 0, "issued": 0})["issued"] = row["n"]
    DailyRollup.objects.filter(day=day).delete()
    DailyRollup.objects.bulk_create(
        (
            DailyRollup(
                day=day,
                credential_type=kind,
                standard_code=standard,
                level_code=level,
                region_code=region,
                industry_code=industry or "",
                size=size,
                is_demo=demo,
                **counts,
            )
            for (kind, standard, level, region, industry, size, demo), counts in cells.items()
        ),
        batch_size=500,
    )
    return len(cells)


def roll_up_due(*, now: datetime | None = None) -> int:
    """Asks for the books of each finished day that has none yet; how many were asked for. Called by the follower."""
    now = now or timezone.now()
    yesterday = timezone.localdate(now) - timedelta(days=1)
    last = DailyRollup.objects.aggregate(last=Max("day"))["last"]
    day = max(last + timedelta(days=1), yesterday - timedelta(days=BACKLOG - 1)) if last else yesterday
    asked = 0
    while day <= yesterday:
        with transaction.atomic():
            enqueue(
                "certification.rollup",
                title=str(_("统计 %(day)s 的证书") % {"day": day.isoformat()}),
                by=None,
                args={"day": day.isoformat()},
                key=f"certification.rollup:{day.isoformat()}",
            )
        asked += 1
        day += timedelta(days=1)
    return asked


@transaction.atomic
def open_records(*, by: User, purpose: str, scope: Scope, now: datetime | None = None) -> BureauAccess:
    """Writes down who looks at the named records of a scope and why, before anything is shown."""
    now = now or timezone.now()
    purpose = purpose.strip()
    if len(purpose) < 4:
        raise Refusal(_("请写明查看名单的用途。"), _("例如：核对 2026 年四季度培训补贴名单。"))
    if not rules.may_see_prefix(by, scope.prefix):
        raise Refusal(_("只能查看本地区及下级地区的名单。"))
    shown = scope.rows().count()
    access = BureauAccess.objects.create(user=by, at=now, purpose=purpose, scope=scope.as_data(), shown=shown)
    audit.record("bureau.records_opened", access, by=by, purpose=purpose, scope=scope.as_data(), shown=shown)
    return access
