"""A building or cold-store supervisor: finds its devices by Who-Is, polls them with ReadPropertyMultiple, commands them.

Spec: `instance` (its own device number, 9001), `name`, `identity` (bacnet_device.py), `address`, `cycle` (s between polls
of a device, 2), `who_is_every` (s, 60), `priority` (of its commands, 8), `devices` [{name, instance, host?, points: [{tag,
object: "analog-value,3"}]}]; and that of every supervisor (operator_view.py). Without `host` a device is where its I-Am
came from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from bacpypes3.apdu import ErrorRejectAbortNack, IAmRequest
from bacpypes3.basetypes import BinaryPV, ErrorType
from bacpypes3.pdu import Address, IPv4Address
from bacpypes3.primitivedata import Null, ObjectIdentifier
from bacpypes3.vendor import get_vendor_info

from cyber_range.engine.agents.bacnet_device import device_object
from cyber_range.engine.agents.bacnet_stack import Application, Stack, own_address
from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.operator_view import Heard, backoff, supervise

PLAIN = get_vendor_info(0)  # objects as the standard has them, whoever made the device


class Refused(Exception):
    """The device answered with an error, a reject or an abort, or not at all."""


class Supervisor(Application):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, Address] = {}  # device number -> where it said it is

    async def do_IAmRequest(self, apdu: IAmRequest) -> None:  # noqa: N802 - the library finds it by this name
        self.found[int(apdu.iAmDeviceIdentifier[1])] = apdu.pduSource
        await super().do_IAmRequest(apdu)


class Polled:
    """One supervised device (`operator_view.Device`)."""

    def __init__(self, node: NodeContext, application: Supervisor, config: Mapping[str, Any]) -> None:
        self._node, self._application, self._config = node, application, config
        self.name = str(config["name"])
        self._objects = {str(point["tag"]): str(point["object"]) for point in config["points"]}
        self._tags = {ObjectIdentifier(text): tag for tag, text in self._objects.items()}
        self.heard = Heard(list(self._objects))

    def _where(self) -> Address | None:
        if "host" in self._config:
            return IPv4Address(f"{self._config['host']}:47808")
        return self._application.found.get(int(self._config["instance"]))

    async def serve(self) -> None:
        cycle = float(self._node.spec.get("cycle", 2))
        asked = [part for text in self._objects.values() for part in (ObjectIdentifier(text), ["present-value"])]
        begun, number, failures = time.monotonic(), 0, 0
        while True:
            where = self._where()
            try:
                if where is None:
                    raise Refused("not found yet")
                results = await self._application.read_property_multiple(where, list(asked), vendor_info=PLAIN)
                self._take(results)
                failures = 0
            except (Refused, ErrorRejectAbortNack, OSError):
                failures += 1  # a silent device is the picture's age, not an error
                await asyncio.sleep(backoff(failures, cycle))
            number += 1
            await asyncio.sleep(max(0.01, begun + number * cycle - time.monotonic()))
            if time.monotonic() - begun - number * cycle > cycle:  # held up: go on from here, do not race
                begun, number = time.monotonic(), 0

    def _take(self, results: Any) -> None:
        if not isinstance(results, list):
            raise Refused(str(results))
        self.heard.alive()
        for identifier, _, _, value in results:
            tag = self._tags.get(identifier)
            if tag is None or value is None or isinstance(value, ErrorType):
                continue
            self.heard.tell(tag, float(value == BinaryPV.active) if isinstance(value, BinaryPV) else float(value))

    async def operate(self, tag: str, value: float) -> Mapping[str, Any]:
        """Writes the present value with the supervisor's priority; NaN relinquishes it."""
        text = self._objects.get(tag)
        where = self._where()
        if text is None:
            raise LookupError(f"{self.name} shows no tag {tag!r}; it shows: {', '.join(sorted(self._objects))}")
        if where is None:
            raise Refused(f"{self.name} was not found")
        said: Any = Null(()) if value != value else float(value)
        if text.startswith("binary") and value == value:
            said = BinaryPV("active" if value else "inactive")
        priority = int(self._node.spec.get("priority", 8))
        try:
            answer = await self._application.write_property(
                where, ObjectIdentifier(text), "present-value", said, priority=priority
            )
        except ErrorRejectAbortNack as exc:
            raise Refused(f"{self.name} refuses {tag!r}: {exc}") from exc
        if isinstance(answer, ErrorRejectAbortNack):
            raise Refused(f"{self.name} refuses {tag!r}: {answer}")
        return {"written": tag, "priority": priority}


async def run(node: NodeContext) -> None:
    spec = {"instance": 9001, **node.spec}
    address, _ = own_address(node.net, spec.get("address"))
    application = Supervisor()
    device = device_object(node, default_instance=9001)
    device.apduTimeout, device.numberOfApduRetries = 1500, 1
    stack = Stack(application, device, address)
    await stack.open(node.net)

    async def who_is(_: dict[str, Any]) -> dict[str, Any]:
        """Asks everybody in the network; who has answered so far."""
        await application.who_is(timeout=1)
        return {"devices": {str(number): str(where) for number, where in sorted(application.found.items())}}

    async def keep_asking() -> None:
        while True:
            await application.who_is(timeout=1)
            await asyncio.sleep(float(spec.get("who_is_every", 60)))

    asking = asyncio.ensure_future(keep_asking())
    try:
        devices = {str(config["name"]): Polled(node, application, config) for config in spec["devices"]}
        await supervise(node, devices, {"who_is": who_is})
    finally:
        asking.cancel()
        stack.close()
