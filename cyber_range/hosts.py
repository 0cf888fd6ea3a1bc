"""The way to range-host: one place that knows which socket belongs to which machine."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from cyber_range.engine.host.client import AsyncClient, Client
from cyber_range.models import RangeHost


def socket_of(host: RangeHost) -> str:
    return host.socket or settings.RANGE_SOCKET


def client(host: RangeHost, **options: Any) -> Client:
    """A blocking client for services, tasks and the follower. Cheap: connects at the first verb."""
    return Client(socket_of(host), **options)


def async_client(host: RangeHost) -> AsyncClient:
    """For consumers: any number of calls at once over one connection."""
    return AsyncClient(socket_of(host))


def local_host() -> RangeHost:
    """The row of this machine's range-host, made when it is first asked for."""
    host, _made = RangeHost.objects.get_or_create(name=settings.RANGE_HOST_NAME)
    return host
