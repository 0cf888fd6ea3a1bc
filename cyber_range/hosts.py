"""The way to range-host: one place that knows which socket belongs to which machine, and which queue serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from cyber_range.engine.host.client import AsyncClient, Client
from cyber_range.engine.host.wire import HostUnreachable
from cyber_range.models import RangeHost


def own(host: RangeHost) -> bool:
    """Whether this process runs on that very machine."""
    return host.name == settings.RANGE_HOST_NAME


def socket_of(host: RangeHost) -> str:
    """The socket's path as this machine sees it: its own by its setting, another's as its row says or as it lies in the
    state folder."""
    if own(host):
        return str(settings.RANGE_SOCKET)
    return host.socket or str(Path(settings.STATE_DIR) / "range-hosts" / f"{host.name}.sock")


def within_reach(host: RangeHost) -> bool:
    """Whether this process may speak with that host's daemon itself; otherwise the worker beside the host does."""
    return own(host) or bool(host.socket) or Path(socket_of(host)).exists()


def queue_of(host: RangeHost) -> str:
    """Where a verb for that host is queued: its own queue while a worker serves it. "" = any worker here, which reaches the
    same socket; what nobody can reach stays on the host's own queue, and `hosting.mend_queues` says so."""
    if host.queue and (host.served or not within_reach(host)):
        return host.queue
    return ""


class OutOfReach(Client):
    """Stands where a client would for a host whose socket is not on this machine: says so instead of guessing a path."""

    def __init__(self, host: RangeHost) -> None:
        super().__init__(socket_of(host))
        self._host_name = host.name

    def call(self, verb: str, *, patience: float | None = None, **args: Any) -> dict[str, Any]:
        raise HostUnreachable(
            _("这台机器连不到靶场主机 %(host)s 的套接字") % {"host": self._host_name},
            remedy=_(
                "这个操作由主机旁的工作进程完成；要在这里直接使用，请把它的套接字转发过来并填在主机的“套接字”里。"
            ),
        )


def client(host: RangeHost, **options: Any) -> Client:
    """A blocking client for services, tasks and the follower. Cheap: connects at the first verb."""
    return Client(socket_of(host), **options) if within_reach(host) else OutOfReach(host)


def async_client(host: RangeHost) -> AsyncClient:
    """For consumers: any number of calls at once over one connection."""
    return AsyncClient(socket_of(host))


def local_host() -> RangeHost:
    """The row of this machine's range-host, made when it is first asked for."""
    host, _made = RangeHost.objects.get_or_create(name=settings.RANGE_HOST_NAME)
    return host
