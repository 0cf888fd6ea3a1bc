"""A controller of a building or a cold store: its tags are BACnet objects (ASHRAE 135, BACnet/IP).

Spec: that of every controller (controller.py); each tag shown has an `object` (instance number) and may have a `type`,
`cov_increment`, `units` (a BACnet engineering unit) and `description`; `instance` (device number), `name` (device name,
the node's), `identity` {vendor, vendor_id, product, revision, application, location, description, serial},
`address` (of the leg it speaks on; default the one that is not the fieldbus), `password` (for restart and communication
control), `bbmd` {peers: [addresses], accept_foreign (true)} when it is its network's broadcast management device.

| table | type by default | others |
|---|---|---|
| input | analog-input | |
| discrete | binary-input | |
| holding | analog-value, commandable | analog-output |
| coil | binary-value, commandable | binary-output |

A commanded value goes to the controller; when the logic changes the tag itself (a push button), all commands of its
priority array are relinquished, so that reading says what is. An input that is out of service shows what is written to it. The network port object shows address and BBMD settings;
writing false to bbmd-accept-fd-registrations closes the door for foreign devices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from bacpypes3.apdu import (
    DeviceCommunicationControlRequest,
    ReinitializeDeviceRequest,
    SimpleAckPDU,
    WritePropertyMultipleRequest,
    WritePropertyRequest,
)
from bacpypes3.basetypes import BDTEntry, BinaryPV, EngineeringUnits, FDTEntry, HostNPort, PriorityValue
from bacpypes3.constructeddata import ListOf
from bacpypes3.errors import ExecutionError, PropertyError
from bacpypes3.local.analog import AnalogInputObject, AnalogOutputObject, AnalogValueObjectCmd
from bacpypes3.local.binary import BinaryInputObject, BinaryOutputObject, BinaryValueObjectCmd
from bacpypes3.local.cov import GenericCriteria
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.object import Object
from bacpypes3.object import NetworkPortObject as PlainNetworkPortObject
from bacpypes3.pdu import IPv4Address
from bacpypes3.primitivedata import ObjectIdentifier

from cyber_range.engine.agents.bacnet_stack import Application, Bbmd, Stack, own_address
from cyber_range.engine.agents.context import NodeContext
from cyber_range.engine.agents.controller import Controller
from cyber_range.engine.process.controllers import Tag

LOOK_EVERY = 0.1  # s between looks at what the logic computed
UNITS = {
    "%": "percent", "℃": "degreesCelsius", "°C": "degreesCelsius", "K": "degreesKelvin", "kW": "kilowatts", "W": "watts",
    "kWh": "kilowattHours", "bar": "bars", "kPa": "kilopascals", "Pa": "pascals", "A": "amperes", "V": "volts",
    "Hz": "hertz", "s": "seconds", "min": "minutes", "h": "hours", "L/min": "litersPerMinute", "m3/h": "cubicMetersPerHour",
    "r/min": "revolutionsPerMinute", "L": "liters", "kg": "kilograms", "ppm": "partsPerMillion",
}  # fmt: skip
COLD_START, WARM_START = 0, 1
WHOEVER = ObjectIdentifier(("device", 4194303))


class Guarded:
    """Of an object only these properties may be written from the network; the library lets anybody write any."""

    writable: frozenset[str] = frozenset()

    def may_write(self, name: str) -> bool:
        return name in self.writable

    async def write_property(
        self, attr: Any, value: Any, index: int | None = None, priority: int | None = None
    ) -> None:
        name = attr if isinstance(attr, str) else self._property_identifier_class(attr).attr  # type: ignore[attr-defined]
        if not self.may_write(name):
            raise PropertyError(errorCode="writeAccessDenied")
        await super().write_property(attr, value, index, priority)  # type: ignore[misc]


class Input(Guarded):
    """Measured: the present value can be written only while the object is out of service (12.2.4 of the standard)."""

    writable = frozenset({"outOfService", "description", "covIncrement"})

    def may_write(self, name: str) -> bool:
        return super().may_write(name) or (name == "presentValue" and bool(self.outOfService))  # type: ignore[attr-defined]


class Commanded(Guarded):
    writable = frozenset({"presentValue", "relinquishDefault", "outOfService", "description", "covIncrement"})


class AnalogInput(Input, AnalogInputObject):  # type: ignore[misc]
    pass


class BinaryInput(Input, BinaryInputObject):  # type: ignore[misc]
    pass


class AnalogOutput(Commanded, AnalogOutputObject):  # type: ignore[misc]
    pass


class BinaryOutput(Commanded, BinaryOutputObject):  # type: ignore[misc]
    pass


class AnalogValue(Commanded, AnalogValueObjectCmd):  # type: ignore[misc]
    pass


class BinaryValue(Commanded, BinaryValueObjectCmd, Object):  # type: ignore[misc]
    """The library's own lacks the property list and the change-of-value criteria that its analog counterpart has."""

    _cov_criteria = GenericCriteria


class NetworkPort(Guarded, Object, PlainNetworkPortObject):  # type: ignore[misc]
    """The leg as BACnet sees it; the library's local class would open sockets of its own."""

    writable = frozenset({"bbmdAcceptFDRegistrations"})


class OwnDevice(Guarded, DeviceObject):  # type: ignore[misc]
    writable = frozenset({"location", "description"})


CLASSES: Mapping[str, type] = {
    "analog-input": AnalogInput,
    "analog-output": AnalogOutput,
    "analog-value": AnalogValue,
    "binary-input": BinaryInput,
    "binary-output": BinaryOutput,
    "binary-value": BinaryValue,
}
TYPES = {
    "input": ("analog-input",), "discrete": ("binary-input",),
    "holding": ("analog-value", "analog-output"), "coil": ("binary-value", "binary-output"),
}  # fmt: skip


class Point:
    """One tag and its object."""

    def __init__(self, tag: Tag, kind: str, instance: int, value: float, where: Mapping[str, Any]) -> None:
        self.tag, self.kind = tag, kind
        self.binary = kind.startswith("binary")
        self.told = value  # what controller and object agreed on last
        more: dict[str, Any] = {"description": str(where.get("description", tag.zh))}
        if not self.binary:
            more["covIncrement"] = float(where.get("cov_increment", 1 / tag.scale))
            more["units"] = EngineeringUnits(where.get("units") or UNITS.get(tag.unit, "noUnits"))
        elif kind != "binary-value":
            more["polarity"] = "normal"
        self.object: Any = CLASSES[kind](
            objectIdentifier=(kind, instance),
            objectName=tag.name,
            presentValue=self.shown(value),
            statusFlags=[0, 0, 0, 0],
            eventState="normal",
            outOfService=False,
            **more,
        )

    @property
    def commandable(self) -> bool:
        return self.tag.operator

    def shown(self, value: float) -> Any:
        return BinaryPV("active" if value else "inactive") if self.binary else float(value)

    def value(self) -> float:
        """What the object says."""
        said = self.object.presentValue
        return float(said == BinaryPV.active) if self.binary else float(said)

    def follow(self, value: float) -> None:
        """The controller has another value: the object shows it, whatever was commanded, unless it is out of service."""
        if self.object.outOfService:
            return
        if self.binary:
            value = float(bool(value))
        if not self.commandable:
            step = 0.0 if self.binary else 0.5 / self.tag.scale
            if abs(value - self.value()) > step:  # what it shows may be a lie from when it was out of service
                self.told = value
                self.object.presentValue = self.shown(value)
            return
        if value != self.told:
            self.told = value
            self.object.relinquishDefault = self.shown(value)
            for index in range(16):
                if self.object.priorityArray[index].null is None:
                    self.object.priorityArray[index] = PriorityValue(null=())
            self.object.recalculating()


class Device(Application):  # type: ignore[misc]
    """The application: what other stations ask for, beyond what the library does by itself."""

    def __init__(self, node: NodeContext, controller: Controller, points: list[Point], port: NetworkPort) -> None:
        super().__init__()
        self._node, self._controller, self._points = node, controller, points
        self._port = port
        self._enabling: asyncio.TimerHandle | None = None
        self._password = str(node.spec.get("password", ""))
        self.bbmd: Bbmd | None = None

    async def do_WritePropertyRequest(self, apdu: WritePropertyRequest) -> None:  # noqa: N802 - the library finds it by this name
        try:
            await super().do_WritePropertyRequest(apdu)
        finally:
            self.taken(str(apdu.pduSource), apdu.priority)

    async def do_WritePropertyMultipleRequest(self, apdu: WritePropertyMultipleRequest) -> None:  # noqa: N802 - the library finds it by this name
        try:
            await super().do_WritePropertyMultipleRequest(apdu)
        finally:
            self.taken(str(apdu.pduSource), None)

    def taken(self, source: str, priority: int | None) -> None:
        """What was commanded goes to the controller; an input put back into service shows what is measured at once."""
        for point in self._points:
            if not point.commandable:
                point.follow(self._controller.tags[point.tag.name])
                continue
            value = point.value()
            if value != point.told and not point.object.outOfService:
                point.told = value
                self._controller.write(point.tag.name, value)
                self._controller.told({
                    "tag": point.tag.name, "value": value, "object": str(point.object.objectIdentifier),
                    "priority": int(priority) if priority else 16, "source": source.partition(":")[0],
                })  # fmt: skip
        if self.bbmd is not None and bool(self._port.bbmdAcceptFDRegistrations) != self.bbmd.accepts_foreign:
            self.bbmd.accepts_foreign = bool(self._port.bbmdAcceptFDRegistrations)
            self.bbmd.bbmdFDT.clear()
            self._node.emit("bbmd", accept_foreign=self.bbmd.accepts_foreign, source=source)

    async def do_ReinitializeDeviceRequest(self, apdu: ReinitializeDeviceRequest) -> None:  # noqa: N802 - the library finds it by this name
        self._check(apdu.password)
        if int(apdu.reinitializedStateOfDevice) not in (COLD_START, WARM_START):
            raise ExecutionError(errorClass="services", errorCode="optionalFunctionalityNotSupported")
        await self.response(SimpleAckPDU(context=apdu))
        self._controller.restart(str(apdu.pduSource).partition(":")[0])

    async def do_DeviceCommunicationControlRequest(self, apdu: DeviceCommunicationControlRequest) -> None:  # noqa: N802 - the library finds it by this name
        """0 enable, 1 disable, 2 disable initiation; for so many minutes, or until told otherwise."""
        self._check(apdu.password)
        await self.response(SimpleAckPDU(context=apdu))
        self._communicate(int(apdu.enableDisable), str(apdu.pduSource).partition(":")[0])
        if int(apdu.enableDisable) and apdu.timeDuration:
            minutes = int(apdu.timeDuration)
            self._enabling = asyncio.get_running_loop().call_later(60 * minutes, self._communicate, 0, "timer")

    def _communicate(self, state: int, source: str) -> None:
        if self._enabling is not None:
            self._enabling.cancel()
            self._enabling = None
        said = ("enable", "disable", "disableInitiation")[min(state, 2)]
        self.asap.communication = said
        self._node.emit("communication", state=said, source=source)

    def _check(self, password: Any) -> None:
        if self._password and str(password or "") != self._password:
            raise ExecutionError(errorClass="security", errorCode="passwordFailure")

    async def do_ReadPropertyRequest(self, apdu: Any) -> None:  # noqa: N802 - the library finds it by this name
        self.show_tables()
        apdu.objectIdentifier = self._meant(apdu.objectIdentifier)
        await super().do_ReadPropertyRequest(apdu)

    async def do_ReadPropertyMultipleRequest(self, apdu: Any) -> None:  # noqa: N802 - the library finds it by this name
        self.show_tables()
        for wanted in apdu.listOfReadAccessSpecs:
            wanted.objectIdentifier = self._meant(wanted.objectIdentifier)
        await super().do_ReadPropertyMultipleRequest(apdu)

    def _meant(self, identifier: ObjectIdentifier) -> ObjectIdentifier:
        """Device 4194303 is whoever is asked (135-2016, 15.5.2); the library means to do it and compares in vain."""
        return self.device_object.objectIdentifier if identifier == WHOEVER else identifier

    def show_tables(self) -> None:
        """The BBMD's tables as properties of the network port."""
        if self.bbmd is not None:
            self._port.bbmdForeignDeviceTable = ListOf(FDTEntry)(
                [
                    FDTEntry(
                        bacnetIPAddress=entry.fdAddress.addrAddr,
                        timeToLive=entry.fdTTL,
                        remainingTimeToLive=entry.fdRemain,
                    )
                    for entry in self.bbmd.bbmdFDT
                ]
            )


def network_port(address: IPv4Address, spec: Mapping[str, Any] | None) -> NetworkPort:
    more: dict[str, Any] = {}
    if spec is not None:
        more = {
            "bbmdAcceptFDRegistrations": bool(spec.get("accept_foreign", True)),
            "bbmdForeignDeviceTable": [],
            "bbmdBroadcastDistributionTable": [
                BDTEntry(bbmdAddress=HostNPort(f"{peer}:47808")) for peer in spec.get("peers") or ()
            ],
        }
    return NetworkPort(
        objectIdentifier=("network-port", 1),
        objectName="NetworkPort-1",
        statusFlags=[0, 0, 0, 0],
        reliability="noFaultDetected",
        outOfService=False,
        networkType="ipv4",
        protocolLevel="bacnetApplication",
        changesPending=False,
        linkSpeed=100e6,
        networkNumber=0,
        networkNumberQuality="unknown",
        bacnetIPMode="normal" if spec is None else "bbmd",
        macAddress=address.addrAddr,
        ipAddress=address.addrAddr[:4],
        ipSubnetMask=address.netmask.packed,
        bacnetIPUDPPort=address.addrPort,
        apduLength=1024,
        **more,
    )


def device_object(node: NodeContext, *, default_instance: int | None = None) -> DeviceObject:
    spec = {"instance": default_instance, **node.spec}
    if spec["instance"] is None:
        raise ValueError("a BACnet device needs its number: `instance`")
    identity: Mapping[str, Any] = spec.get("identity") or {}
    optional = {"location": "location", "description": "description", "serialNumber": "serial"}
    return OwnDevice(
        objectIdentifier=("device", int(spec["instance"])),
        objectName=str(spec.get("name") or node.name),
        vendorName=str(identity.get("vendor", "Unknown")),
        vendorIdentifier=int(identity.get("vendor_id", 999)),
        modelName=str(identity.get("product", "Controller")),
        firmwareRevision=str(identity.get("revision", "1.0")),
        applicationSoftwareVersion=str(identity.get("application", "1.0")),
        **{name: str(identity[key]) for name, key in optional.items() if key in identity},
    )


def points_of(controller: Controller, placed: Mapping[str, Mapping[str, Any]]) -> list[Point]:
    points: list[Point] = []
    taken: dict[tuple[str, int], str] = {}
    for tag in controller.tag_list:
        where = placed.get(tag.name) or {}
        if "object" not in where:
            continue
        kind, instance = str(where.get("type", TYPES[tag.table][0])), int(where["object"])
        if kind not in TYPES[tag.table]:
            raise ValueError(f"tag {tag.name!r} cannot be {kind!r}; it can be: {', '.join(TYPES[tag.table])}")
        if not 0 <= instance < 4194303:
            raise ValueError(f"tag {tag.name!r}: object {instance} is outside 0..4194302")
        if (other := taken.get((kind, instance))) is not None:
            raise ValueError(f"{kind} {instance} of tag {tag.name!r} is taken by {other!r}")
        taken[kind, instance] = tag.name
        points.append(Point(tag, kind, instance, controller.tags[tag.name], where))
    return points


async def run(node: NodeContext) -> None:
    spec = node.spec
    controller = Controller(node)
    address, _ = own_address(node.net, spec.get("address"), avoid=str(spec["plant"]))
    running: list[Device] = []

    async def open_door() -> Callable[[], None]:
        points = points_of(controller, spec.get("tags") or {})
        port = network_port(address, spec.get("bbmd"))
        application = Device(node, controller, points, port)
        stack = Stack(application, device_object(node), address, bbmd="bbmd" in spec)
        for point in points:
            application.add_object(point.object)
        application.add_object(port)
        if isinstance(stack.link, Bbmd):
            application.bbmd = stack.link
            stack.link.accepts_foreign = bool(port.bbmdAcceptFDRegistrations)
            for peer in (str(address.ip), *((spec["bbmd"] or {}).get("peers") or ())):
                stack.link.add_peer(IPv4Address(f"{peer}:47808"))
        await stack.open(node.net)
        application.i_am()
        running[:] = [application]

        async def follow() -> None:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                for point in points:
                    point.follow(controller.tags[point.tag.name])

        following = asyncio.ensure_future(follow())

        def close() -> None:
            following.cancel()
            stack.close()

        return close

    async def bbmd(_: dict[str, Any]) -> dict[str, Any]:
        """State of the broadcast management: who is registered, which peers there are, whether strangers may."""
        link = running[0].bbmd
        if link is None:
            return {"bbmd": False}
        return {
            "bbmd": True,
            "accept_foreign": link.accepts_foreign,
            "foreign": [str(entry.fdAddress) for entry in link.bbmdFDT],
            "peers": [str(peer) for peer in link.bbmdBDT],
        }

    async def communication(_: dict[str, Any]) -> dict[str, Any]:
        return {"communication": str(running[0].asap.communication)}

    await controller.run(open_door, {"bbmd": bbmd, "communication": communication})
