"""Where drills meet the editor and the bureau's screen."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import unquote
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from wagtail import hooks
from wagtail.admin.menu import MenuItem
from wagtail.permission_policies import ModelPermissionPolicy
from wagtail.permissions import register_permission_policy
from wagtail.snippets.models import register_snippet
from wagtail.snippets.views.snippets import InspectView, SnippetViewSet

from cyber_range.models import RangeHost
from drills import figures, services
from drills.models import Drill
from drills.services import personal
from lms.accounts.models import Region, User
from lms.accounts.rules import Role, organisation_ids


class LookOnly(ModelPermissionPolicy):
    """Drills are planned, run and reviewed on their own screens; the editor lists them for trainers, who write courses around
    them. A trainer sees those of the organisations he trains for, a superuser all; nobody changes one here."""

    def user_has_permission(self, user: User, action: str) -> bool:
        return action == "view" and user.is_active and (user.is_superuser or bool(organisation_ids(user, Role.TRAINER)))

    def user_has_any_permission(self, user: User, actions: Iterable[str]) -> bool:
        return any(self.user_has_permission(user, action) for action in actions)

    def user_has_permission_for_instance(self, user: User, action: str, instance: Model) -> bool:
        return self.user_has_permission(user, action) and seen_by(user).filter(pk=instance.pk).exists()

    def instances_user_has_any_permission_for(self, user: User, actions: Iterable[str]) -> QuerySet[Drill]:
        return seen_by(user) if self.user_has_any_permission(user, actions) else Drill.objects.none()


def seen_by(user: User) -> QuerySet[Drill]:
    if user.is_superuser:
        return Drill.objects.all()
    return Drill.objects.filter(organisation__in=organisation_ids(user, Role.TRAINER))


class OwnDrill(InspectView):
    def get_object(self, queryset: QuerySet[Drill] | None = None) -> Drill:
        return get_object_or_404(seen_by(self.request.user), pk=unquote(str(self.kwargs["pk"])))


class DrillViewSet(SnippetViewSet):
    model = Drill
    icon = "warning"
    menu_label = _("演练记录")
    menu_order = 321
    add_to_admin_menu = True
    list_display = ("title", "organisation", "scenario", "phase", "scheduled_at", "score")
    list_filter = ("phase", "form")
    search_fields = ("title", "scenario")
    inspect_view_enabled = True
    inspect_view_class = OwnDrill
    inspect_view_fields = (
        "title", "organisation", "purpose", "form", "type", "scope", "scenario", "scenario_version", "phase",
        "scheduled_at", "started_at", "ended_at", "score", "lessons",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Drill]:
        return seen_by(request.user)


register_permission_policy(Drill, LookOnly(Drill))
register_snippet(DrillViewSet)


@hooks.register("register_admin_menu_item")
def drills_menu() -> MenuItem:
    """The way from the editor to the drills' own screens."""
    return MenuItem(_("演练"), reverse("drills:home"), icon_name="warning", order=320)


@hooks.register("range_host_tick")
def follow_drills_here(host: RangeHost, now: datetime) -> None:
    """In the worker beside a host that the follower cannot reach: what its ranges say gets into the log from there."""
    for drill in Drill.objects.to_follow().filter(instance__host=host).select_related("instance__host", "created_by"):
        services.follow_range(drill=drill, now=now)


@hooks.register("slot:bureau_figures", order=20)
def bureau_figures(request: HttpRequest, context: dict[str, Any]) -> str:
    """Drills of the region on the page; the page has checked that the officer may see it, and is asked again."""
    region: Region = context["region"]
    if not any(region.code.startswith(prefix) for prefix in context["prefixes"]):
        return ""
    rows = figures.held(prefix=region.prefix, since=context["since"], as_of=context["as_of"])
    places = figures.by_place(rows, region.prefix)
    names = dict(Region.objects.filter(code__in=[place.ljust(6, "0") for place in places]).values_list("code", "name"))
    return render_to_string(
        "drills/slots/bureau_figures.html",
        {
            "total": figures.total(rows),
            "places": [(names.get(place.ljust(6, "0"), place), figure) for place, figure in places.items()],
            "months": figures.by_month(rows),
        },
        request,
    )


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data"."""
    return {"drills": personal.personal_data(user)}


@hooks.register("erase_personal_data")
def erase_personal_data(user: User, by: User) -> None:
    """When the consent to the service was withdrawn."""
    personal.erase_personal_data(user=user, by=by)
