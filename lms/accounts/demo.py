"""The demo's organisations and people. Every app adds its own part in its `demo` module, called in ORDER."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone

from lms.accounts.models import Consent, Membership, Organisation, User
from lms.accounts.regions import load_places
from lms.accounts.rules import Role
from lms.accounts.uscc import check_character

ORDER = 0
# Told apart at a glance, without 0/O and 1/l, spoken over a telephone without trouble.
SPOKEN_CHARACTERS = "abcdefghjkmnpqrstuvwxyz23456789"

ORGANISATIONS = {
    # key: (kind, name, short name, region, industry, uscc body or None)
    "factory": ("enterprise", "诸暨清泉饮料有限公司（演示）", "清泉饮料", "330681", "15", "91330681MA2D0001Q"),
    "provider": ("provider", "绍兴匠心数字技能培训中心（演示）", "匠心培训", "330602", None, "52330602MJ8D0002Q"),
    "assessment": ("assessment", "浙江工控安全评价中心（演示）", "工控评价中心", "330108", None, "52330108MJ8D0003Q"),
    "bureau": ("bureau", "诸暨市经济和信息化局（演示）", "诸暨经信局", "330681", None, None),
}
PEOPLE = {
    # key: (name, job title, organisation key, roles)
    "learner": ("陈晓燕", "灌装线班长", "factory", [Role.LEARNER, Role.SECURITY]),
    "admin": ("王建国", "行政与信息化主管", "factory", [Role.ADMIN, Role.LEARNER]),
    "trainer": ("李文博", "工控安全培训师", "provider", [Role.TRAINER]),
    "security": ("赵磊", "设备与网络工程师", "factory", [Role.SECURITY, Role.LEARNER]),
    "assessor": ("周敏", "考评员", "assessment", [Role.ASSESSOR]),
    "officer": ("孙立群", "中小企业科科长", "bureau", [Role.OFFICER]),
}
# More hands at the factory, without sign-in: staff lists and counts look like a factory's.
STAFF = [
    ("吴海峰", "设备主管"),
    ("郑丽娟", "质检员"),
    ("冯国强", "维修电工"),
    ("蒋䶮", "仓储管理员"),
    ("沈𬭎", "生产计划员"),
    ("韩雪", "财务会计"),
    ("杨帆", "工艺员"),
    ("欧阳静", "采购员"),
]


@dataclass(slots=True)
class Demo:
    """What the apps' demo loaders share. `say` shows progress; `passwords` holds only those made in this run."""

    say: Callable[[str], None]
    organisations: dict[str, Organisation] = field(default_factory=dict)
    people: dict[str, User] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)


def password() -> str:
    return "-".join("".join(secrets.choice(SPOKEN_CHARACTERS) for _ in range(4)) for _ in range(3))


@transaction.atomic
def load(demo: Demo) -> None:
    """Makes what is missing; a second run changes nothing and prints no password it did not make."""
    load_places()
    for key, (kind, name, short, region, industry, body) in ORGANISATIONS.items():
        demo.organisations[key], _made = Organisation.objects.get_or_create(
            is_demo=True,
            kind=kind,
            short_name=short,
            defaults={
                "name": name,
                "region_id": region,
                "industry_id": industry,
                "uscc": body + check_character(body) if body else None,
                **({"size": "small", "staff_count": 62, "revenue_wan": 4800} if kind == "enterprise" else {}),
            },
        )
    for key, (name, title, where, roles) in PEOPLE.items():
        user = User.objects.filter(username=key).first()
        if user is None:
            demo.passwords[key] = password()
            user = User.objects.create_user(
                username=key, password=demo.passwords[key], name=name, job_title=title, is_demo=True
            )
            for role in roles:
                Membership.objects.create(user=user, organisation=demo.organisations[where], role=role)
            Consent.objects.create(user=user, purpose="service", version="2026-11", given_at=timezone.now())
        demo.people[key] = user
    for number, (name, title) in enumerate(STAFF, start=1):
        user, made = User.objects.get_or_create(
            username=f"staff{number:02}", defaults={"name": name, "job_title": title, "is_demo": True}
        )
        if made:
            user.set_unusable_password()
            user.save(update_fields=["password"])
            Membership.objects.create(user=user, organisation=demo.organisations["factory"], role=Role.LEARNER)
    demo.say(f"演示单位 {len(demo.organisations)} 个、人员 {len(PEOPLE) + len(STAFF)} 人")
