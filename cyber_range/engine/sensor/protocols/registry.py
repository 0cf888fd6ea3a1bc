"""Which decoder listens to which conversation: by the server's port, else by how the first bytes look."""

from __future__ import annotations

from collections.abc import Callable

from cyber_range.engine.sensor.protocols import (
    bacnet,
    dnp3,
    enip,
    http,
    iec104,
    modbus,
    mqtt,
    names,
    office,
    opcua,
    s7comm,
)
from cyber_range.engine.sensor.protocols.message import Decoder

Maker = Callable[[], Decoder]

TCP: dict[int, tuple[str, Maker]] = {
    502: (modbus.PROTO, modbus.Modbus),
    102: (s7comm.PROTO, s7comm.S7comm),
    44818: (enip.PROTO, enip.Enip),
    2404: (iec104.PROTO, iec104.Iec104),
    20000: (dnp3.PROTO, dnp3.Dnp3),
    4840: (opcua.PROTO, opcua.OpcUa),
    1883: (mqtt.PROTO, mqtt.Mqtt),
    53: (names.DNS, lambda: names.Dns(stream=True)),
    22: (office.SSH, office.Ssh),
    443: (office.TLS, office.Tls),
    8883: (office.TLS, office.Tls),
    80: (http.PROTO, http.Http),
    8000: (http.PROTO, http.Http),
    8080: (http.PROTO, http.Http),
}
UDP: dict[int, tuple[str, Maker]] = {
    47808: (bacnet.PROTO, bacnet.Bacnet),
    44818: (enip.PROTO, enip.Enip),
    20000: (dnp3.PROTO, dnp3.Dnp3),
    53: (names.DNS, names.Dns),
    5353: (names.DNS, names.Dns),
    5355: (names.DNS, names.Dns),
    67: (names.DHCP, names.Dhcp),
    68: (names.DHCP, names.Dhcp),
    137: (names.NBNS, names.Nbns),
}
# Their rate of requests and answers is production: they are what `polls` counts.
POLLED = frozenset({
    modbus.PROTO, s7comm.PROTO, enip.PROTO, iec104.PROTO, dnp3.PROTO, opcua.PROTO, mqtt.PROTO, bacnet.PROTO,
})  # fmt: skip
CONTROL = POLLED - {mqtt.PROTO}  # spoken by controllers
EITHER_ASKS = frozenset({bacnet.PROTO})  # both sides have the same port; the message says who asks


def look(data: bytes) -> tuple[str, Maker] | None:
    """The protocol of a TCP client's first bytes on a port that says nothing."""
    first = data[:1]
    if first in b"GPHDOTC" and first and data.startswith(http.METHODS):
        return http.PROTO, http.Http
    if data[:4] == b"SSH-":
        return office.SSH, office.Ssh
    if len(data) >= 6 and data[0] == 22 and data[1] == 3 and data[5] == 1:
        return office.TLS, office.Tls
    if data[:3] == b"HEL" and len(data) >= 8 and data[3:4] == b"F":
        return opcua.PROTO, opcua.OpcUa
    if data[:1] == b"\x10" and data[2:8] in (b"\0\x04MQTT", b"\0\x06MQIs"):
        return mqtt.PROTO, mqtt.Mqtt
    if len(data) >= 8 and data[2:4] == b"\0\0" and len(data) == 6 + (data[4] << 8 | data[5]) and 0 < data[7] < 0x2C:
        return modbus.PROTO, modbus.Modbus
    if (
        len(data) >= 7
        and data[0] == 3
        and data[1] == 0
        and data[5] in (0xE0, 0xF0)
        and len(data) == data[2] << 8 | data[3]
    ):
        return s7comm.PROTO, s7comm.S7comm
    return None
