"""How many ranges an organisation or a machine may have at once, and the words for one too many."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range.models import Instance, InstanceQuerySet, Quota, RangeHost
from cyber_range.refusal import RangeRefused
from lms.accounts.models import Organisation

NAMED = 6  # holders named in a refusal


@dataclass(frozen=True, slots=True)
class Limit:
    purpose: str  # "" = all of them together
    most: int
    given: bool  # set by the administrator; otherwise the settings' default

    @property
    def source(self) -> str:
        return _("管理员设定") if self.given else _("平台默认")


def limits_of(organisation: Organisation, purpose: str) -> list[Limit]:
    """What holds for a new range of that purpose, the narrower first."""
    rows = {row.purpose: row.most for row in Quota.objects.filter(organisation=organisation)}
    found = []
    if purpose in rows:
        found.append(Limit(purpose, rows[purpose], True))
    elif purpose == Instance.Purpose.PRACTICE:
        found.append(Limit(purpose, settings.PRACTICE_RANGES_PER_ORGANISATION, False))
    found.append(Limit("", rows[""], True) if "" in rows else Limit("", settings.RANGES_PER_ORGANISATION, False))
    return found


def counted(organisation: Organisation) -> InstanceQuerySet:
    """The ranges that take from its quota: neither those on their way out nor those whose host is lost."""
    living = Instance.objects.living().filter(organisation=organisation, silent_since__isnull=True)
    return living.exclude(state=Instance.State.CLOSING)


def refuse_one_too_many(organisation: Organisation, purpose: str) -> None:
    """RangeRefused with the number, who holds them, and the remedy. The caller holds the organisation's row."""
    for limit in limits_of(organisation, purpose):
        held = counted(organisation).select_related("requested_by")
        if limit.purpose:
            held = held.filter(purpose=limit.purpose)
        holders = list(held.order_by("pk"))
        if len(holders) < limit.most:
            continue
        kind = Quota.For(limit.purpose).label if limit.purpose else ""
        values = {"kind": kind, "most": limit.most, "source": limit.source, "n": len(holders)}
        if not limit.most:
            raise RangeRefused(_("本单位的%(kind)s靶场额度为 0（%(source)s）。请联系靶场管理员调整额度。") % values)
        raise RangeRefused(
            _(
                "本单位同时最多运行 %(most)d 个%(kind)s靶场（%(source)s），现有 %(n)d 个：%(who)s。"
                "请先结束一个，或请靶场管理员提高额度。"
            )
            % {**values, "who": in_words(holders)}
        )


def in_words(holders: list[Instance]) -> str:
    """Each range with who asked for it and until when."""
    said = []
    for one in holders[:NAMED]:
        who = (one.requested_by.name or one.requested_by.username) if one.requested_by else _("系统")
        until = timezone.localtime(one.expires_at).strftime("%H:%M") if one.expires_at else ""
        said.append(
            _("“%(title)s”（%(who)s，%(until)s 到期）") % {"title": one.title, "who": who, "until": until}
            if until
            else _("“%(title)s”（%(who)s，%(state)s）")
            % {"title": one.title, "who": who, "state": one.get_state_display()}
        )
    if len(holders) > NAMED:
        said.append(_("另有 %(n)d 个") % {"n": len(holders) - NAMED})
    return _("、").join(said)


def of_hosts() -> dict[int, int]:
    """host: most ranges by quota."""
    return {host: most for host, most in Quota.objects.filter(host__isnull=False).values_list("host", "most") if host}


def refuse_hosts(hosts: list[RangeHost], organisation: Organisation) -> RangeRefused:
    """Why no machine takes the range: each with its number and what stands in the way."""
    said = []
    quotas = of_hosts()
    for host in hosts:
        name = host.name
        if host.duty != RangeHost.Duty.OPEN:
            said.append(f"{name}：{host.get_duty_display()}")
            continue
        if not host.here:
            said.append(
                _("%(name)s：没有应答%(trouble)s")
                % {"name": name, "trouble": f"（{host.trouble}）" if host.trouble else ""}
            )
            continue
        living = host.instances.living()
        said.append(
            _("%(name)s：最多 %(most)d 个，运行中 %(n)d 个（其中贵单位 %(own)d 个），预热及其他 %(other)d 个")
            % {
                "name": name,
                "most": min(host.capacity, quotas.get(host.pk, host.capacity)),
                "n": living.count(),
                "own": living.filter(organisation=organisation).count(),
                "other": host.foreign,
            }
        )
    return RangeRefused(
        _("没有可用的靶场主机。%(hosts)s。请先结束不用的靶场，或请靶场管理员增加主机、调整额度。")
        % {"hosts": _("；").join(said) or _("还没有登记任何主机")}
    )
