"""The one way into the audit log."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import AuditEntry, Organisation, User


def record(
    action: str,
    target: Model,
    *,
    by: User | None,
    organisation: Organisation | None = None,
    ip: str | None = None,
    **detail: Any,
) -> AuditEntry:
    """Adds one row, inside the caller's transaction. `action` is `thing.verb` ("staff.invited"); `detail` is JSON-able
    and holds neither secrets nor more of a person than the decision needs."""
    return AuditEntry.objects.create(
        action=action,
        actor=by,
        organisation=organisation,
        target_type=target._meta.label_lower,
        target_id=str(target.pk),
        target_label=str(target)[:200],
        detail=detail,
        ip=ip,
    )


def client_ip(request: HttpRequest) -> str | None:
    """The address the request came from. Behind LIANBING_TRUSTED_PROXIES proxies that is the entry the outermost of
    them wrote into X-Forwarded-For, counted from the right: what stands left of it anybody may have invented."""
    hops = settings.TRUSTED_PROXIES
    chain = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    text = chain[-hops] if hops and len(chain) >= hops else request.META.get("REMOTE_ADDR", "")
    try:
        return str(ip_address(text))
    except ValueError:  # a Unix socket has no address
        return None


# How an action is told to people. Apps above add theirs in AppConfig.ready: audit.WORDS |= {"drill.launched": _("…")}.
WORDS: dict[str, Any] = {
    "staff.invited": _("邀请员工"),
    "staff.joined": _("首次登录"),
    "staff.code": _("发加入码"),
    "staff.roles": _("变更角色"),
    "staff.updated": _("修改员工信息"),
    "staff.released": _("办理离职"),
    "staff.exported": _("导出员工名单"),
    "staff.imported": _("导入员工名单"),
    "consent.given": _("同意个人信息处理"),
    "consent.withdrawn": _("撤回同意"),
    "profile.updated": _("修改个人资料"),
    "profile.downloaded": _("导出个人数据"),
    "assessment.started": _("开始自评"),
    "assessment.submitted": _("提交自评"),
    "plan.updated": _("更新计划"),
}


def in_words(action: str) -> str:
    """The action for a screen; one without words shows its code."""
    return str(WORDS.get(action, action))
