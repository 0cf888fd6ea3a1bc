"""Where certification meets the shared screens, the editor's menu and the follower."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from wagtail import hooks
from wagtail.permission_policies import ModelPermissionPolicy
from wagtail.permissions import register_permission_policy
from wagtail.snippets.models import register_snippet
from wagtail.snippets.views.snippets import SnippetViewSet

from certification import services
from certification.models import AwardRule, Credential, Standard, StandardLevel
from certification.services import personal
from certification.services.credentials import days_left
from certification.views.mine import offers
from lms.accounts.models import User
from lms.accounts.rules import Role, has_role


class LookOnly(ModelPermissionPolicy):
    """Rules and standards are looked at in the editor. A new version of a rule comes through services.set_rule and a new
    version of a standard from its file, because decisions cite the old ones."""

    def user_has_permission(self, user: User, action: str) -> bool:
        may = super().user_has_permission  # the inherited user_has_any_permission would come back here for ever
        return action == "view" and (may(user, "view") or may(user, "change"))

    def user_has_any_permission(self, user: User, actions: Iterable[str]) -> bool:
        return any(self.user_has_permission(user, action) for action in actions)

    def user_has_permission_for_instance(self, user: User, action: str, instance: Model) -> bool:
        return self.user_has_permission(user, action)


class StandardViewSet(SnippetViewSet):
    model = Standard
    menu_label = _("岗位标准")
    menu_order = 330
    icon = "clipboard-list"
    list_display = ("title", "code", "version", "credential_type", "effective_from", "superseded_by")
    inspect_view_enabled = True
    add_to_admin_menu = True


class AwardRuleViewSet(SnippetViewSet):
    model = AwardRule
    menu_label = _("授予规则")
    menu_order = 331
    icon = "tasks"
    list_display = ("level", "version", "active", "effective_from", "assessed_by")
    inspect_view_enabled = True
    add_to_admin_menu = True


for viewset in (StandardViewSet, AwardRuleViewSet):
    register_permission_policy(viewset.model, LookOnly(viewset.model))
    register_snippet(viewset)


@hooks.register("slot:learner_home", order=40)
def learner_home(request: HttpRequest, context: dict[str, Any]) -> str:
    """Certificates with days to expiry, and how far the next one is."""
    today = timezone.localdate()
    held = (
        Credential.objects.held_by(request.user).filter(state=Credential.State.ACTIVE).select_related("level__standard")
    )
    cards = [
        {"credential": row, "status": row.status_on(today).value, "left": days_left(row, today)} for row in held[:3]
    ]
    open_offers = offers(request.user)[:1]
    if not cards and not open_offers:
        return ""
    return render_to_string("certification/slots/learner_home.html", {"cards": cards, "offers": open_offers}, request)


@hooks.register("slot:course_page", order=40)
def course_page(request: HttpRequest, context: dict[str, Any]) -> str:
    """Which certificates this course counts toward."""
    course = context.get("course")
    if course is None:
        return ""
    levels = StandardLevel.objects.filter(
        rules__active=True, rules__data__course=course.slug, standard__superseded_by=""
    ).select_related("standard")
    if not levels:
        return ""
    return render_to_string("certification/slots/course_page.html", {"levels": levels}, request)


@hooks.register("slot:learner_me", order=40)
def learner_me(request: HttpRequest, context: dict[str, Any]) -> str:
    """For people who hold something; the list of ways leads the others."""
    count = Credential.objects.held_by(request.user).count()
    if not count or has_role(request.user, Role.OFFICER):
        return ""
    return render_to_string("certification/slots/learner_me.html", {"count": count}, request)


LOOK_EVERY = timedelta(seconds=20)  # the follower beats every second; nothing here is in such a hurry
_looked_at: datetime | None = None


@hooks.register("follower_tick")
def tick(now: datetime) -> None:
    """Terms that ended, days without books, applications due for a look."""
    global _looked_at
    if _looked_at is not None and now - _looked_at < LOOK_EVERY:
        return
    _looked_at = now
    services.expire_due(today=timezone.localdate(now))
    services.roll_up_due(now=now)
    services.recheck_open(now=now)


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data"."""
    return {"certification": personal.personal_data(user)}
