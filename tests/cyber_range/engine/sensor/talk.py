"""Conversations for sensor tests, every frame built by scapy."""

from __future__ import annotations

from scapy.contrib import modbus
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

START = 1_800_000_000_000_000_000  # ns


class Wire:
    """Frames with a time stamp each, a millisecond apart unless told."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.now = START

    def put(self, packet: Packet, after: float = 0.001) -> None:
        self.now += int(after * 1e9)
        self.frames.append((self.now, bytes(packet)))

    def arp(self, sender: str, target: str, *, mac: str = "02:00:00:00:00:01", op: int = 1) -> None:
        self.put(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=op, hwsrc=mac, psrc=sender, pdst=target))


class Talk:
    """One TCP conversation with right sequence numbers."""

    def __init__(self, wire: Wire, client: str, server: str, port: int = 502, sport: int = 40000) -> None:
        self.wire = wire
        self._ends = {True: (client, sport, server, port), False: (server, port, client, sport)}
        self._next = {True: 1000, False: 9000}
        self._transaction = 0

    def segment(self, up: bool, flags: str, data: bytes = b"") -> None:
        src, sport, dst, dport = self._ends[up]
        ack = self._next[not up] if "A" in flags else 0
        self.wire.put(
            Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src=src, dst=dst)
            / TCP(sport=sport, dport=dport, flags=flags, seq=self._next[up], ack=ack) / Raw(data)
        )  # fmt: skip
        self._next[up] += len(data) + ("S" in flags) + ("F" in flags)

    def open(self) -> Talk:
        self.segment(True, "S")
        self.segment(False, "SA")
        self.segment(True, "A")
        return self

    def ask(self, pdu: Packet, answer: Packet | None = None, unit: int = 1) -> None:
        self._transaction += 1
        head = modbus.ModbusADURequest(transId=self._transaction, unitId=unit)
        self.segment(True, "PA", bytes(head / pdu))
        if answer is not None:
            head = modbus.ModbusADUResponse(transId=self._transaction, unitId=unit)
            self.segment(False, "PA", bytes(head / answer))

    def close(self) -> None:
        self.segment(True, "FA")
        self.segment(False, "FA")
        self.segment(True, "A")


def read(first: int = 0, count: int = 4) -> Packet:
    return modbus.ModbusPDU03ReadHoldingRegistersRequest(startAddr=first, quantity=count)


def values(count: int = 4) -> Packet:
    return modbus.ModbusPDU03ReadHoldingRegistersResponse(registerVal=[1] * count)


def refused() -> Packet:
    return modbus.ModbusPDU03ReadHoldingRegistersError(exceptCode=2)


def write(address: int, value: int) -> Packet:
    return modbus.ModbusPDU06WriteSingleRegisterRequest(registerAddr=address, registerValue=value)


def written(address: int, value: int) -> Packet:
    return modbus.ModbusPDU06WriteSingleRegisterResponse(registerAddr=address, registerValue=value)
