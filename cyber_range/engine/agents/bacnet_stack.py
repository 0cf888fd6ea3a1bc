"""bacpypes3 on the node's own network: one UDP port for what is meant for us and what is broadcast (BACnet/IP, Annex J).

The library opens its sockets itself; here its stack ends in `node.net.udp`, so that it runs on every driver. What is
wrong with a datagram from outside stays with that datagram.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from bacpypes3.apdu import IAmRequest
from bacpypes3.app import Application
from bacpypes3.appservice import ApplicationServiceAccessPoint
from bacpypes3.comm import Server, bind
from bacpypes3.ipv4.bvll import (
    BVLLCodec,
    DeleteForeignDeviceTableEntry,
    DistributeBroadcastToNetwork,
    ReadBroadcastDistributionTable,
    ReadForeignDeviceTable,
    RegisterForeignDevice,
    Result,
)
from bacpypes3.ipv4.service import BIPBBMD, BIPForeign, BIPNormal, UDPMultiplexer
from bacpypes3.netservice import NetworkServiceAccessPoint, NetworkServiceElement
from bacpypes3.object import DeviceObject
from bacpypes3.pdu import PDU, IPv4Address, LocalBroadcast, LocalStation

from cyber_range.engine.agents.context import Interface, Net, Peer, UdpSender

PORT = 47808  # 0xBAC0
NAK = {  # what a device that is no BBMD answers (J.2)
    ReadBroadcastDistributionTable: 0x0020,
    RegisterForeignDevice: 0x0030,
    ReadForeignDeviceTable: 0x0040,
    DeleteForeignDeviceTableEntry: 0x0050,
    DistributeBroadcastToNetwork: 0x0060,
}
AT_ONCE = 64  # datagrams in work; a flood beyond is dropped, as a small device's buffer does
FOREIGN_LIMIT = 32  # entries of the foreign device table

# Whoever sends broken packets must not fill the log of a node that nobody reads.
logging.getLogger("bacpypes3").setLevel(logging.CRITICAL)


class DatagramPort(Server[PDU]):  # type: ignore[misc]  # the library ships no types
    """The bottom of a stack."""

    def __init__(self, address: IPv4Address) -> None:
        super().__init__()
        self._address = address
        self._sender: UdpSender | None = None
        self._working: set[asyncio.Task[None]] = set()

    async def open(self, net: Net) -> None:
        self._sender = await net.udp(self._address.addrPort, self._received)

    def _received(self, data: bytes, peer: Peer) -> None:
        if peer == self._address.addrTuple or len(self._working) >= AT_ONCE:  # our own broadcast comes back
            return
        task = asyncio.get_running_loop().create_task(self._up(data, peer))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _up(self, data: bytes, peer: Peer) -> None:
        try:
            await self.response(PDU(data, source=IPv4Address(peer), destination=self._address))
        except Exception as exc:  # the library's parsers raise whatever they meet
            logging.getLogger("bacpypes3").debug("a datagram of %s: %r", peer[0], exc)

    async def indication(self, pdu: PDU) -> None:
        if isinstance(pdu.pduDestination, LocalBroadcast):
            host, port = self._address.addrBroadcastTuple
        elif isinstance(pdu.pduDestination, IPv4Address):
            host, port = pdu.pduDestination.addrTuple
        elif isinstance(pdu.pduDestination, LocalStation):
            host, port = IPv4Address(pdu.pduDestination).addrTuple
        else:
            raise ValueError(f"no way to {pdu.pduDestination}")
        if self._sender is not None:
            self._sender.send(bytes(pdu.pduData), host, port)

    def close(self) -> None:
        for task in list(self._working):
            task.cancel()
        if self._sender is not None:
            self._sender.close()
            self._sender = None


class Bbmd(BIPBBMD):  # type: ignore[misc]
    """A broadcast management device whose door for foreign devices can be closed."""

    accepts_foreign = True

    async def confirmation(self, lpdu: Any) -> None:
        closed = not self.accepts_foreign and type(lpdu) in (
            RegisterForeignDevice,
            ReadForeignDeviceTable,
            DistributeBroadcastToNetwork,
        )
        stranger = isinstance(lpdu, DistributeBroadcastToNetwork) and all(
            entry.fdAddress != lpdu.pduSource for entry in self.bbmdFDT
        )
        full = isinstance(lpdu, RegisterForeignDevice) and len(self.bbmdFDT) >= FOREIGN_LIMIT
        if closed or stranger or full:  # J.4.5: only registered devices have their broadcasts distributed
            await self.request(Result(code=NAK[type(lpdu)], destination=lpdu.pduSource, user_data=lpdu.pduUserData))
            return
        await super().confirmation(lpdu)

    def close(self) -> None:
        cast(asyncio.Handle, self._fdt_clock_handle).cancel()


class Foreign(BIPForeign):  # type: ignore[misc]
    """A station elsewhere that is registered with a broadcast management device: broadcasts go and come through it."""

    async def registered(self, bbmd: str, ttl: int, patience: float) -> None:
        """PermissionError when the device refuses or is none; TimeoutError when it does not answer."""
        self.register(IPv4Address(f"{bbmd}:{PORT}"), ttl)
        async with asyncio.timeout(patience):
            while self.bbmdRegistrationStatus < 0:  # noqa: ASYNC110 - the library has an event for success alone
                await asyncio.sleep(0.05)
        if self.bbmdRegistrationStatus:
            raise PermissionError(f"{bbmd} registers no foreign devices")

    def close(self) -> None:
        """No renewal any more; the entry at the far side runs out."""
        self._stop_tracking_registration()


class AccessPoint(ApplicationServiceAccessPoint):  # type: ignore[misc]
    """Obeys communication control (16.1 of the standard); the library's own check ends in an attribute it does not have."""

    communication = "enable"

    async def confirmation(self, pdu: PDU) -> None:
        if self.communication == "disable" and not asks_to_speak(bytes(pdu.pduData)):
            return
        await super().confirmation(pdu)

    async def sap_indication(self, apdu: Any) -> None:
        quiet = self.communication == "disable"
        if quiet or (self.communication == "disableInitiation" and not isinstance(apdu, IAmRequest)):
            return
        await super().sap_indication(apdu)


def asks_to_speak(data: bytes) -> bool:
    """Whether an APDU is a confirmed request for communication control (17) or reinitialisation (20)."""
    if len(data) < 4 or data[0] >> 4:
        return False
    at = 5 if data[0] & 0x08 else 3  # a segment has its number and window before the service choice
    return len(data) > at and data[at] in (17, 20)


class Stack:
    """An application on a stack of its own."""

    def __init__(
        self,
        application: Application,
        device: DeviceObject,
        address: IPv4Address,
        *,
        bbmd: bool = False,
        foreign: bool = False,
    ) -> None:
        self.application = application
        application.asap = AccessPoint(device, application.device_info_cache)
        application.nsap = NetworkServiceAccessPoint()
        application.nse = NetworkServiceElement()
        bind(application.nse, application.nsap)
        bind(application, application.asap, application.nsap)
        self.link: Bbmd | Foreign | BIPNormal = Bbmd(address) if bbmd else Foreign() if foreign else BIPNormal()
        self.port = DatagramPort(address)
        multiplexer = UDPMultiplexer()
        bind(self.link, BVLLCodec(), multiplexer.annexJ)
        bind(multiplexer, self.port)
        application.nsap.bind(self.link, address=address)
        application.add_object(device)

    async def open(self, net: Net) -> None:
        await self.port.open(net)

    def close(self) -> None:
        self.port.close()
        if isinstance(self.link, Bbmd | Foreign):
            self.link.close()


def own_address(net: Net, wanted: str | None, *, avoid: str | None = None) -> tuple[IPv4Address, Interface]:
    """The leg BACnet is spoken on: the one with the wanted address, else the first that does not lead to `avoid`."""
    legs = net.interfaces()
    for leg in legs:
        if (wanted is None or leg.ip == wanted) and (avoid is None or not on_leg(leg, avoid) or len(legs) == 1):
            return IPv4Address(f"{leg.ip}/{leg.prefix}:{PORT}"), leg
    raise ValueError(f"no leg has the address {wanted}; there are: {', '.join(leg.ip for leg in legs)}")


def on_leg(leg: Interface, address: str) -> bool:
    return bool(IPv4Address(address).ip in IPv4Address(f"{leg.ip}/{leg.prefix}").network)
