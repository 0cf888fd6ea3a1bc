"""Drivers by name: the one place of the engine that turns a dotted name into a module.

Nothing here imports docker, scapy or a driver until it is asked for, so a web process that only wants the names
stays small (a test looks at sys.modules).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from cyber_range.engine.drivers.base import Driver, Probe
from cyber_range.engine.errors import DriverUnavailable

DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        "docker": "cyber_range.engine.drivers.docker_engine:DockerDriver",
        "netns": "cyber_range.engine.drivers.netns:NetnsDriver",
        "memory": "cyber_range.engine.drivers.memory:MemoryDriver",
        "capsule": "cyber_range.engine.drivers.capsule:CapsuleDriver",
    }
)
PREFERENCE = ("docker", "netns", "memory")  # what `auto` tries, best first; memory always works
PROBE_SECONDS = (
    15.0  # a probe takes well under a second, longer on a busy machine; an engine that hangs must not hang us
)


def names() -> tuple[str, ...]:
    """Every name `load` knows, best first."""
    return tuple(DRIVERS)


def load(name: str) -> type[Driver]:
    """The driver's class. DriverUnavailable when the name is unknown or its module cannot be imported here."""
    try:
        module_name, _, class_name = DRIVERS[name].partition(":")
    except KeyError:
        raise DriverUnavailable(
            f"There is no range driver {name!r}", remedy=f"Choose one of: auto, {', '.join(DRIVERS)}", driver=name
        ) from None
    try:
        driver: type[Driver] = getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and module_name.startswith(exc.name):
            remedy = "This version of the engine does not bring that driver; choose another one"
        else:
            remedy = f"Install the Python package {exc.name!r} into this environment (make env)"
        raise DriverUnavailable(
            f"The range driver {name!r} cannot be loaded: {exc}", remedy=remedy, driver=name
        ) from exc
    except ImportError as exc:
        raise DriverUnavailable(
            f"The range driver {name!r} cannot be loaded: {exc}",
            remedy="It needs another operating system or newer libraries; choose another driver",
            driver=name,
        ) from exc
    return driver


async def probe(name: str) -> Probe:
    """Whether this driver can work here; never raises for a driver that is merely absent."""
    try:
        return await asyncio.wait_for(load(name).probe(), PROBE_SECONDS)
    except DriverUnavailable as exc:
        return Probe(False, reason=exc.what, remedy=exc.remedy)
    except TimeoutError:
        return Probe(
            False,
            reason=f"The probe of driver {name!r} got no answer in {PROBE_SECONDS:.0f} s",
            remedy="See whether the Docker engine hangs: docker version" if name == "docker" else "",
        )


async def probe_all() -> dict[str, Probe]:
    """Every known driver's probe, side by side."""
    found = await asyncio.gather(*(probe(name) for name in DRIVERS))
    return dict(zip(DRIVERS, found, strict=True))


async def auto() -> str:
    """The best driver that works here: docker with a current image, else netns, else memory."""
    for name in PREFERENCE[:-1]:
        if (await probe(name)).usable:
            return name
    return PREFERENCE[-1]


async def resolve(name: str) -> tuple[str, Probe]:
    """(driver name, its probe) for a setting that may say "auto"; DriverUnavailable when the asked one cannot work."""
    chosen = await auto() if name == "auto" else name
    if chosen not in DRIVERS:
        load(chosen)  # raises, naming what there is
    found = await probe(chosen)
    if not found.usable:
        raise DriverUnavailable(
            f"The range driver {chosen!r} cannot work here: {found.reason}", remedy=found.remedy, driver=chosen
        )
    return chosen, found
