"""What every page shows around its content: who is signed in and the ways that are his."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import Organisation, User
from lms.accounts.rules import Role, organisation_ids, roles_of

CHOSEN = "organisation"  # in the session: which of several organisations the person works for now


@dataclass(frozen=True, slots=True)
class Way:
    """One entry of the left rail or the phone's bottom bar."""

    label: str
    url: str
    icon: str
    active: bool
    phone: bool = False


# (label, url name, icon, roles that see it, shown in the phone's bottom bar)
EVERYONE = frozenset(Role.values)
ENTRIES = (
    (_("学习"), "courses:home", "book", EVERYONE - {Role.OFFICER}, True),
    (_("考试"), "courses:exams", "pencil", EVERYONE - {Role.OFFICER}, True),
    (_("演练"), "drills:home", "shield", EVERYONE - {Role.OFFICER}, True),
    (_("我的证书"), "certification:mine", "certificate", EVERYONE - {Role.OFFICER}, False),
    (_("企业档案"), "accounts:dossier", "building", {Role.ADMIN}, False),
    (_("员工"), "accounts:staff", "users", {Role.ADMIN}, False),
    (_("数字化自评"), "maturity:home", "gauge", {Role.ADMIN}, False),
    (_("教学"), "courses:teaching", "school", {Role.TRAINER}, False),
    (_("靶场"), "cyber_range:home", "server", {Role.TRAINER, Role.SECURITY}, False),
    (_("评价工作台"), "certification:desk", "checklist", {Role.ASSESSOR}, False),
    (_("人才与演练"), "certification:bureau", "map", {Role.OFFICER}, True),
    (_("任务"), "jobs:list", "clock", EVERYONE, False),
    (_("我的"), "accounts:me", "user", EVERYONE, True),
)


def navigation(request: HttpRequest) -> dict[str, object]:
    """`ways`: the entries this person's roles open, in the order of his work."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"ways": []}
    held = {role for _organisation, role in roles_of(user)} or {Role.LEARNER}
    open_to_him = []
    for label, name, icon, roles, phone in ENTRIES:
        if held & set(roles):
            try:
                open_to_him.append((label, reverse(name), icon, phone))
            except NoReverseMatch:  # an app may be left out of an installation
                continue
    places = organisation_ids(user)
    # The nearest entry above this page: /learn/exams/ belongs to 考试 although it also begins with /learn/.
    here = max((url for _label, url, _icon, _phone in open_to_him if request.path.startswith(url)), key=len, default="")
    return {
        "ways": [Way(label, url, icon, url == here, phone) for label, url, icon, phone in open_to_him],
        "places": list(Organisation.objects.filter(pk__in=places).order_by("pk")) if len(places) > 1 else [],
        "place": chosen(request, places),
    }


def chosen(request: HttpRequest, among: set[int]) -> int | None:
    """Of the organisations in question the one the person has chosen, else the oldest. What may be done there is not decided
    here: `among` comes from the rules, and a choice that is not in it does not count."""
    session = getattr(request, "session", None)
    wanted = session.get(CHOSEN) if session is not None else None
    return wanted if wanted in among else min(among, default=None)


def display_name(user: User) -> str:
    return user.name or user.username
