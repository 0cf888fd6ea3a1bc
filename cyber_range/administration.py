"""靶场 in Wagtail's admin, for those who look after machines, quotas and everybody's ranges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from wagtail.admin.menu import MenuItem
from wagtail.admin.views.generic import DeleteView, IndexView
from wagtail.admin.viewsets.base import ViewSet, ViewSetGroup
from wagtail.admin.viewsets.model import ModelViewSet

from cyber_range import catalogue, drawing, hosting, quotas, services, views
from cyber_range.engine.errors import RangeError
from cyber_range.forms import WarmPoolForm
from cyber_range.models import Instance, Quota, RangeHost, WarmPool
from cyber_range.rules import may_administer_ranges

View = Callable[..., HttpResponse]
PER_PAGE = 25


def administrators_only(view: View) -> View:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not may_administer_ranges(request.user):
            raise PermissionDenied(_("靶场管理由平台的靶场管理员进行。"))
        return view(request, *args, **kwargs)

    return guarded


def page(request: HttpRequest, template: str, title: Any, icon: str, **context: Any) -> HttpResponse:
    """A page in Wagtail's shell."""
    trail = [{"url": reverse("wagtailadmin_home"), "label": _("首页")}, *context.pop("trail", [])]
    context |= {
        "page_title": title,
        "header_title": title,
        "header_icon": icon,
        "breadcrumbs_items": [*trail, {"url": "", "label": title}],
    }
    return render(request, f"cyber_range/admin/{template}.html", context)


# ---------------------------------------------------------------- scenarios


@administrators_only
@require_GET
def scenarios(request: HttpRequest) -> HttpResponse:
    """Every scenario with its map, what it asks of people, and what it is for; narrowed by difficulty and requirement."""
    found = [_facts(entry) for entry in catalogue.entries()]
    difficulty, requirement = request.GET.get("difficulty", ""), request.GET.get("requirement", "")
    shown = [
        one
        for one in found
        if difficulty in ("", one["scenario"].difficulty) and (not requirement or requirement in one["requirements"])
    ]
    running = dict(
        Instance.objects.living().values_list("scenario").annotate(n=Count("pk")).values_list("scenario", "n")
    )
    for one in shown:
        one["running"] = running.get(one["scenario"].id, 0)
    return page(
        request, "scenarios", _("场景"), "doc-full-inverse",
        scenarios=shown, total=len(found), faults=catalogue.faults(), difficulty=difficulty, requirement=requirement,
        difficulties=sorted({one["scenario"].difficulty for one in found}),
        requirements=sorted({code for one in found for code in one["requirements"]}),
    )  # fmt: skip


def _facts(entry: catalogue.Entry) -> dict[str, Any]:
    scenario = entry.scenario
    asked = set(scenario.requirements).union(*(objective.requirements for objective in scenario.objectives))
    return {
        "scenario": scenario,
        "digest": entry.digest,
        "drawing": drawing.draw(scenario, everything=True),
        "requirements": sorted(asked),
        "techniques": sorted({step.technique for step in scenario.campaign}),
        "consoles": sorted({node for seat in scenario.seats for node in seat.consoles}),
    }


# ---------------------------------------------------------------- hosts


@administrators_only
@require_GET
def host_list(request: HttpRequest) -> HttpResponse:
    """Machines: heard or not, what they lack and the remedy, how full, and what the administrator wants of them."""
    living = Count("instances", filter=~Q(instances__state__in=Instance.OVER))
    rows = list(RangeHost.objects.annotate(placed=living))
    most = quotas.of_hosts()
    for host in rows:
        host.limit = min(host.capacity, most.get(host.pk, host.capacity))
        host.quota = most.get(host.pk)
        host.room = max(0, host.limit - host.placed - host.foreign)
    return page(request, "hosts", _("主机"), "desktop", hosts=rows, duties=RangeHost.Duty)


@administrators_only
@require_POST
def host_duty(request: HttpRequest, pk: int, duty: str) -> HttpResponse:
    host = get_object_or_404(RangeHost, pk=pk)
    if duty not in RangeHost.Duty:
        raise Http404
    try:
        host = hosting.set_duty(host=host, duty=duty, by=request.user)
    except services.RangeRefused as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, f"{host.name}：{host.get_duty_display()}")
    return redirect("range_admin_hosts:index")


# ---------------------------------------------------------------- instances


def _instances(request: HttpRequest) -> QuerySet[Instance]:
    rows = Instance.objects.select_related("host", "organisation", "requested_by")
    return rows if request.GET.get("all") else rows.living()


@administrators_only
@require_GET
def instance_list(request: HttpRequest) -> HttpResponse:
    """Everybody's ranges, with live health: which node is ill and why."""
    shown = Paginator(_instances(request), PER_PAGE).get_page(request.GET.get("p"))
    everything = bool(request.GET.get("all"))
    return page(request, "instances", _("实例"), "view", page_of=shown, everything=everything)


@administrators_only
@require_GET
@never_cache
def instance_rows(request: HttpRequest) -> HttpResponse:
    """The same table alone, asked for every few seconds by the page that shows it."""
    shown = Paginator(_instances(request), PER_PAGE).get_page(request.GET.get("p"))
    context = {"page_of": shown, "everything": bool(request.GET.get("all"))}
    return render(request, "cyber_range/admin/_instances.html", context)


@administrators_only
@require_POST
def instance_verb(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """end, extend; and of practice ranges pause, resume, reset, relaunch. A drill's are its white cell's."""
    one = get_object_or_404(Instance.objects.select_related("host", "organisation"), pk=pk)
    if one.purpose == Instance.Purpose.DRILL and verb not in ("destroy", "extend"):
        raise PermissionDenied(_("演练的靶场在演练室里由导调组操作。"))
    try:
        said, _goal = views.carry_out(one, verb, request)
    except (RangeError, services.RangeRefused) as error:
        messages.error(request, _("没有成功：%(error)s") % {"error": error})
    else:
        messages.success(request, f"{one.title}：{said}")
    return redirect("range_admin_instances:index")


# ---------------------------------------------------------------- captures


@administrators_only
@require_GET
def capture_list(request: HttpRequest) -> HttpResponse:
    """Ranges whose captures can be had now. Those of ended drills are in their review."""
    rows = Instance.objects.living().exclude(state__in=(Instance.State.WAITING, Instance.State.LAUNCHING))
    shown = Paginator(rows.select_related("host", "organisation"), PER_PAGE).get_page(request.GET.get("p"))
    return page(request, "captures", _("抓包"), "download", page_of=shown)


@administrators_only
@require_GET
def capture_files(request: HttpRequest, pk: int) -> HttpResponse:
    one = get_object_or_404(Instance.objects.select_related("host", "organisation"), pk=pk)
    trail = [{"url": reverse("range_admin_captures:index"), "label": _("抓包")}]
    found = views.what_the_host_says(one, captures=True) if one.living else {}
    return page(request, "capture_files", str(one), "download", trail=trail, instance=one, **found)


@administrators_only
@require_GET
def capture_file(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    one = get_object_or_404(Instance.objects.select_related("host"), pk=pk)
    if not views.CAPTURE_NAME.match(name):
        raise Http404
    return views.attach(one, name)


@administrators_only
@require_POST
def capture_slice(request: HttpRequest, pk: int) -> HttpResponse:
    one = get_object_or_404(Instance.objects.select_related("host"), pk=pk)
    return views.cut_out(request, one, back=redirect("range_admin_captures:files", pk))


# ---------------------------------------------------------------- what Wagtail is told


class ForAdministrators(MenuItem):
    def is_shown(self, request: HttpRequest) -> bool:
        return may_administer_ranges(request.user)


class Screens(ViewSet):
    """A few views under one menu item."""

    routes: ClassVar[Iterable[tuple[str, View, str]]] = ()
    menu_item_class = ForAdministrators

    def get_urlpatterns(self) -> list[URLPattern]:
        return [path(route, view, name=name) for route, view, name in self.routes]


class ScenarioScreens(Screens):
    name = "range_admin_scenarios"
    url_prefix = "range/scenarios"
    icon = "doc-full-inverse"
    menu_label = gettext_lazy("场景")
    routes = (("", scenarios, "index"),)


class HostScreens(Screens):
    name = "range_admin_hosts"
    url_prefix = "range/hosts"
    icon = "desktop"
    menu_label = gettext_lazy("主机")
    routes = (("", host_list, "index"), ("<int:pk>/<slug:duty>/", host_duty, "duty"))


class InstanceScreens(Screens):
    name = "range_admin_instances"
    url_prefix = "range/instances"
    icon = "view"
    menu_label = gettext_lazy("实例")
    routes = (
        ("", instance_list, "index"),
        ("rows/", instance_rows, "rows"),
        ("<int:pk>/<slug:verb>/", instance_verb, "verb"),
    )


class CaptureScreens(Screens):
    name = "range_admin_captures"
    url_prefix = "range/captures"
    icon = "download"
    menu_label = gettext_lazy("抓包")
    routes = (
        ("", capture_list, "index"),
        ("<int:pk>/", capture_files, "files"),
        ("<int:pk>/slice/", capture_slice, "slice"),
        ("<int:pk>/<str:name>", capture_file, "file"),
    )


class WithOwners(IndexView):
    """The list names organisation and host of every row: fetched with it, not one by one."""

    def get_base_queryset(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_base_queryset()
        return rows.select_related(*{"organisation", "host"} & {field.name for field in rows.model._meta.fields})


class QuotaViewSet(ModelViewSet):
    index_view_class = WithOwners
    model = Quota
    name = "range_quotas"
    url_prefix = "range/quotas"
    icon = "lock"
    menu_label = gettext_lazy("额度")
    list_display = ("__str__", "organisation", "host", "purpose", "most", "note")
    list_filter = ("purpose",)
    form_fields = ("organisation", "host", "purpose", "most", "note")
    search_fields = ("organisation__name", "host__name", "note")
    search_backend_name = None


class WarmPoolViewSet(ModelViewSet):
    index_view_class = WithOwners
    model = WarmPool
    name = "range_pools"
    url_prefix = "range/pools"
    icon = "time"
    menu_label = gettext_lazy("预热池")
    list_display = ("__str__", "minimum", "maximum", "ready", "making", "claimed", "missed", "trouble")
    list_filter = ("host",)

    def get_form_class(self, for_update: bool = False) -> type[WarmPoolForm]:
        return WarmPoolForm


class DeleteUnused(DeleteView):
    """A machine that ever held a range stays for its history: it is retired, not deleted."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if self.object.instances.exists():
            messages.error(
                request, _("%(host)s 上有过靶场，记录要保留。不再使用时请停用它。") % {"host": self.object.name}
            )
            return redirect("range_admin_hosts:index")
        answer: HttpResponse = super().dispatch(request, *args, **kwargs)
        return answer


class RangeHostViewSet(ModelViewSet):
    """Name and socket of a machine; the rest it says itself. Reached from the screen of hosts."""

    model = RangeHost
    name = "range_hosts"
    url_prefix = "range-hosts"
    icon = "desktop"
    menu_label = gettext_lazy("靶场主机")
    list_display = ("name", "driver", "state", "duty", "capacity", "free", "last_seen")
    form_fields = ("name", "socket", "queue")
    delete_view_class = DeleteUnused
    inspect_view_enabled = True


class RangeGroup(ViewSetGroup):
    menu_label = gettext_lazy("靶场")
    menu_name = "range"
    menu_icon = "desktop"
    menu_order = 330
    items = (ScenarioScreens, HostScreens, InstanceScreens, QuotaViewSet, WarmPoolViewSet, CaptureScreens)
