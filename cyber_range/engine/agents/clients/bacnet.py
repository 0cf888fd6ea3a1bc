"""A BACnet/IP station that asks and commands others: datagrams from this node, whoever else is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bacpypes3.apdu import (
    DeviceCommunicationControlRequest,
    ErrorRejectAbortNack,
    IAmRequest,
    ReinitializeDeviceRequest,
)
from bacpypes3.basetypes import BinaryPV
from bacpypes3.object import DeviceObject
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier

from cyber_range.engine.agents.bacnet_stack import PORT, Application, Foreign, Stack
from cyber_range.engine.agents.context import Net

WHOEVER = ObjectIdentifier(("device", 4194303))  # "the device here", whatever its number (ASHRAE 135, 12.11)
OTHER_PORTS = 7  # where this node's own 47808 is taken: then broadcast answers are not heard, unicast ones are
ANSWER = 1500  # ms
TTL = 300  # s of a registration as a foreign device
STATES = {"enable": 0, "disable": 1, "disable-initiation": 2}
IDENTITY = {"name": "object-name", "vendor": "vendor-name", "model": "model-name", "firmware": "firmware-revision"}


class Asking(Application):  # type: ignore[misc]  # the library ships no types
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, str] = {}

    async def do_IAmRequest(self, apdu: IAmRequest) -> None:  # noqa: N802 - the library finds it by this name
        self.found[int(apdu.iAmDeviceIdentifier[1])] = str(apdu.pduSource).partition(":")[0]
        await super().do_IAmRequest(apdu)


class BacnetClient:
    def __init__(self, application: Asking, stack: Stack) -> None:
        self._application, self._stack = application, stack

    @classmethod
    async def open(
        cls, net: Net, *, instance: int = 4_100_001, leg: str | None = None, bbmd: str | None = None
    ) -> BacnetClient:
        """From the leg with this address, else the node's first; with `bbmd` registered there as a foreign device, so
        that broadcasts reach its network. PermissionError or TimeoutError when that device will not have us."""
        legs = net.interfaces()
        own = next((one for one in legs if leg in (None, one.ip)), None)
        if own is None:
            raise ConnectionError(f"this node has no leg {leg or 'at all'}")
        for port in range(PORT, PORT + OTHER_PORTS + 1):
            application = Asking()
            device = DeviceObject(
                objectIdentifier=("device", instance), objectName=f"station-{instance}", vendorName="Unknown",
                vendorIdentifier=999, modelName="Workstation", firmwareRevision="1.0", applicationSoftwareVersion="1.0",
                maxApduLengthAccepted=1024, segmentationSupported="segmentedBoth", maxSegmentsAccepted=16,
            )  # fmt: skip
            device.apduTimeout, device.numberOfApduRetries = ANSWER, 1
            stack = Stack(application, device, IPv4Address(f"{own.ip}/{own.prefix}:{port}"), foreign=bbmd is not None)
            try:
                await stack.open(net)
            except OSError:
                stack.close()
                if port == PORT + OTHER_PORTS:
                    raise
                continue
            if bbmd is not None:
                assert isinstance(stack.link, Foreign)
                try:
                    await stack.link.registered(bbmd, TTL, ANSWER * 2 / 1000)
                except (PermissionError, TimeoutError):
                    stack.close()
                    raise
            return cls(application, stack)
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._stack.close()

    async def who_is(self, hosts: Sequence[str], seconds: float = 1.5) -> dict[int, str]:
        await self._application.who_is(timeout=max(1, round(seconds)))
        for host in hosts:
            with contextlib.suppress(OSError):
                number = await self._ask(host, WHOEVER, "object-identifier")
                self._application.found[int(number[1])] = host
        return dict(sorted(self._application.found.items()))

    async def identity(self, host: str) -> dict[str, str]:
        return {key: str(await self._ask(host, WHOEVER, what)) for key, what in IDENTITY.items()}

    async def objects(self, host: str) -> list[str]:
        return [str(one) for one in await self._ask(host, WHOEVER, "object-list")]

    async def read(self, host: str, thing: str, what: str = "present-value") -> float | str:
        value = await self._ask(host, identifier(thing), what)
        if isinstance(value, BinaryPV):
            return float(value == BinaryPV("active"))
        return float(value) if isinstance(value, (int, float)) else str(value)

    async def priorities(self, host: str, thing: str) -> Mapping[int, float]:
        """Empty for an object that is not commandable."""
        try:
            array = await self._ask(host, identifier(thing), "priority-array")
        except PermissionError:
            return {}
        found: dict[int, float] = {}
        for number, slot in enumerate(array, 1):
            choice = slot._choice
            if choice and choice != "null":
                said = getattr(slot, choice)
                found[number] = float(said)
        return found

    async def write(
        self, host: str, thing: str, value: float | bool | None, *, priority: int = 8, what: str = "present-value"
    ) -> None:
        said: Any = value
        if value is None:
            said = Null(())
        elif thing.startswith("binary") and what == "present-value":
            said = BinaryPV("active" if value else "inactive")
        async with asked(host, f"write of {thing} {what}"):
            answer = await self._application.write_property(
                address(host), identifier(thing), what, said, priority=priority or None
            )
            refuse(answer)

    async def reinitialise(self, host: str, password: str = "", *, cold: bool = True) -> None:
        request = ReinitializeDeviceRequest(
            destination=address(host), reinitializedStateOfDevice="coldstart" if cold else "warmstart",
            **({"password": password} if password else {}),
        )  # fmt: skip
        async with asked(host, "reinitialise"):
            refuse(await self._application.request(request))

    async def communicate(self, host: str, state: str, minutes: int = 0, password: str = "") -> None:
        request = DeviceCommunicationControlRequest(
            destination=address(host), enableDisable=STATES[state],
            **({"timeDuration": minutes} if minutes else {}), **({"password": password} if password else {}),
        )  # fmt: skip
        async with asked(host, f"communication {state}"):
            refuse(await self._application.request(request))

    async def _ask(self, host: str, thing: ObjectIdentifier, what: str) -> Any:
        async with asked(host, f"{thing} {what}"):
            value = await self._application.read_property(address(host), thing, what)
            refuse(value)
            return value


def identifier(text: str) -> ObjectIdentifier:
    try:
        return ObjectIdentifier(text)
    except (ValueError, TypeError) as exc:
        raise ValueError(f"{text!r} is no BACnet object; like analog-value,3") from exc


def address(host: str) -> Address:
    return IPv4Address(f"{host}:{PORT}")


def refuse(answer: Any) -> None:
    if isinstance(answer, ErrorRejectAbortNack):
        raise answer


@contextlib.asynccontextmanager
async def asked(host: str, what: str) -> AsyncIterator[None]:
    """PermissionError for an error, a reject or an abort of the device; TimeoutError for silence."""
    try:
        async with asyncio.timeout(ANSWER * 2 / 1000 + 1):
            yield
    except ErrorRejectAbortNack as exc:
        if "no-response" in str(exc):  # the library's own abort after its retries
            raise TimeoutError(f"{host} does not answer") from exc
        raise PermissionError(f"{what}: {exc}") from exc
