"""What writing scenarios adds to other screens."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from wagtail import hooks

from cyber_range.written import WrittenScenario
from lms.accounts import audit
from lms.accounts.models import User
from lms.accounts.rules import Role, has_role

audit.WORDS |= {
    "scenario.created": _("新建自编场景"),
    "scenario.changed": _("修改自编场景"),
    "scenario.published": _("发布场景版本"),
    "scenario.tried": _("试运行场景草稿"),
    "scenario.archived": _("归档自编场景"),
    "scenario.restored": _("取消归档自编场景"),
}


@hooks.register("slot:range_home")
def way_to_writing(request: HttpRequest, context: dict[str, Any]) -> str:
    if not has_role(request.user, Role.TRAINER):
        return ""
    return render_to_string("cyber_range/authoring/_way.html", request=request)


@hooks.register("slot:range_scenario")
def way_to_preview(request: HttpRequest, context: dict[str, Any]) -> str:
    entry = context.get("entry")
    if entry is None or not has_role(request.user, Role.TRAINER):
        return ""
    return render_to_string("cyber_range/authoring/_look.html", {"key": entry.key}, request=request)


@hooks.register("personal_data")
def personal_data(user: User) -> dict[str, Any]:
    """For "download my data": scenarios the person began."""
    rows = WrittenScenario.objects.filter(created_by=user).defer("files")
    return {"written_scenarios": [{"title": row.title, "created": row.created_at.isoformat()} for row in rows]}
