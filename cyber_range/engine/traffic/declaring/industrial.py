"""Plant protocols: one exchange each, of what a master asks and a device answers. Values wander, numbers count."""

from __future__ import annotations

import struct
from typing import Any

from scapy.contrib.enipTCP import ENIPTCP, ENIPRegisterSession
from scapy.contrib.modbus import (
    ModbusADURequest,
    ModbusADUResponse,
    ModbusPDU01ReadCoilsRequest,
    ModbusPDU01ReadCoilsResponse,
    ModbusPDU02ReadDiscreteInputsRequest,
    ModbusPDU02ReadDiscreteInputsResponse,
    ModbusPDU03ReadHoldingRegistersRequest,
    ModbusPDU03ReadHoldingRegistersResponse,
    ModbusPDU04ReadInputRegistersRequest,
    ModbusPDU04ReadInputRegistersResponse,
    ModbusPDU05WriteSingleCoilRequest,
    ModbusPDU05WriteSingleCoilResponse,
    ModbusPDU06WriteSingleRegisterRequest,
    ModbusPDU06WriteSingleRegisterResponse,
)
from scapy.contrib.mqtt import (
    MQTT,
    MQTTConnack,
    MQTTConnect,
    MQTTPublish,
    MQTTSuback,
    MQTTSubscribe,
    MQTTTopicQOS,
)
from scapy.contrib.scada.iec104 import (
    IEC104_IO_C_IC_NA_1_IOA,
    IEC104_IO_M_ME_NC_1_IOA,
    IEC104_IO_M_SP_NA_1_IOA,
    IEC104_I_Message_SingleIOA,
    IEC104_S_Message,
    IEC104_U_Message,
)
from scapy.packet import Packet, Raw

from cyber_range.engine.traffic.declaring.layers import (
    Apdu,
    Bvlc,
    Cip,
    CotpConnect,
    Dnp3,
    Npdu,
    Tpkt,
    s7_telegram,
)
from cyber_range.engine.traffic.declaring.speech import answers, says, tcp, udp
from cyber_range.engine.traffic.templates import Maker, Piece, Var

# ---------------------------------------------------------------- Modbus/TCP

READS = {
    "coil": (ModbusPDU01ReadCoilsRequest, ModbusPDU01ReadCoilsResponse, "coilStatus", True),
    "discrete": (ModbusPDU02ReadDiscreteInputsRequest, ModbusPDU02ReadDiscreteInputsResponse, "inputStatus", True),
    "holding": (ModbusPDU03ReadHoldingRegistersRequest, ModbusPDU03ReadHoldingRegistersResponse, "registerVal", False),
    "input": (ModbusPDU04ReadInputRegistersRequest, ModbusPDU04ReadInputRegistersResponse, "registerVal", False),
}
TRANSACTION = Var("count", 0, 2, modulo=1 << 16, based=True)


def modbus_read(name: str, table: str = "holding", address: int = 0, count: int = 10, unit: int = 1) -> Piece:
    ask, tell, values, bits = READS[table]
    size = (count + 7) // 8 if bits else 2 * count
    zeros = [0] * (size if bits else count)
    fields: dict[str, Any] = {"byteCount": size, values: zeros}
    response = ModbusADUResponse(transId=0, unitId=unit) / tell(**fields)
    places = () if bits else (Var("process", 9, size),)
    return tcp(name, [
        says(ModbusADURequest(transId=0, unitId=unit) / ask(startAddr=address, quantity=count), TRANSACTION, gap=0),
        answers(response, TRANSACTION, *places),
    ])  # fmt: skip


def modbus_write(name: str, table: str = "holding", address: int = 0, value: int = 0, unit: int = 1) -> Piece:
    """One coil or register; the device echoes it."""
    if table == "coil":
        fields: dict[str, Any] = {"outputAddr": address, "outputValue": 0xFF00 if value else 0}
        pdus: tuple[Packet, Packet] = (
            ModbusPDU05WriteSingleCoilRequest(**fields),
            ModbusPDU05WriteSingleCoilResponse(**fields),
        )
    else:
        fields = {"registerAddr": address, "registerValue": value & 0xFFFF}
        pdus = ModbusPDU06WriteSingleRegisterRequest(**fields), ModbusPDU06WriteSingleRegisterResponse(**fields)
    return tcp(name, [
        says(ModbusADURequest(transId=0, unitId=unit) / pdus[0], TRANSACTION, gap=0),
        answers(ModbusADUResponse(transId=0, unitId=unit) / pdus[1], TRANSACTION),
    ])  # fmt: skip


def modbus_raw(name: str, ask: str, tell: str, unit: int = 1) -> Piece:
    """Any PDU pair in hex: identification, diagnostics, file records."""
    return tcp(name, [
        says(_adu(bytes.fromhex(ask), unit), TRANSACTION, gap=0), answers(_adu(bytes.fromhex(tell), unit), TRANSACTION),
    ])  # fmt: skip


def _adu(pdu: bytes, unit: int) -> bytes:
    return struct.pack(">HHHB", 0, 0, len(pdu) + 1, unit) + pdu


# ---------------------------------------------------------------- S7comm

S7_REFERENCE = Var("count", 11, 2, modulo=1 << 16, add=2, based=True)  # behind TPKT 4, COTP 3, S7 4


def s7_connect(name: str, rack_slot: int = 0x0102) -> Piece:
    """ISO connection, then PDU size 480 negotiated."""
    setup = bytes.fromhex("f00000010001") + (480).to_bytes(2, "big")
    return tcp(name, [
        says(Tpkt() / CotpConnect(called=rack_slot), gap=200),
        answers(Tpkt() / CotpConnect(pdu=0xD0, dst_ref=1, src_ref=2, called=rack_slot)),
        says(s7_telegram(1, setup), S7_REFERENCE, gap=400), answers(s7_telegram(3, setup), S7_REFERENCE),
    ])  # fmt: skip


def _s7_item(area: int, db: int, byte: int, count: int) -> bytes:
    return bytes.fromhex("120a1002") + struct.pack(">HHB", count, db, area) + (byte * 8).to_bytes(3, "big")


def s7_read(name: str, db: int = 1, start: int = 0, count: int = 16, area: int = 0x84) -> Piece:
    data = b"\xff\x04" + (count * 8).to_bytes(2, "big") + bytes(count)
    places = (Var("process", 4 + 3 + 12 + 2 + 4, count // 2 * 2),)
    return tcp(name, [
        says(s7_telegram(1, b"\x04\x01" + _s7_item(area, db, start, count)), S7_REFERENCE, gap=0),
        answers(s7_telegram(3, b"\x04\x01", data), S7_REFERENCE, *places),
    ])  # fmt: skip


def s7_write(name: str, db: int = 1, start: int = 0, value: int = 0, area: int = 0x84) -> Piece:
    data = b"\x00\x04\x00\x10" + (value & 0xFFFF).to_bytes(2, "big")
    return tcp(name, [
        says(s7_telegram(1, b"\x05\x01" + _s7_item(area, db, start, 2), data), S7_REFERENCE, gap=0),
        answers(s7_telegram(3, b"\x05\x01", b"\xff"), S7_REFERENCE),
    ])  # fmt: skip


def s7_status_list(name: str, szl: int = 0x0011, index: int = 0, records: str = "") -> Piece:
    """System status list (module identification 0x0011, mode 0x0424)."""
    default = {
        0x0011: struct.pack(">H20sHHH", 1, b"6ES7 315-2EH14-0AB0 ", 0xC0, 4, 1),
        0x0424: bytes.fromhex("0000000851430000000000000000000000000000"),
    }
    body = bytes.fromhex(records) if records else default[szl]
    szl_data = struct.pack(">HHHH", szl, index, len(body), 1) + body
    tell = b"\xff\x09" + len(szl_data).to_bytes(2, "big") + szl_data
    return tcp(name, [
        says(s7_telegram(7, bytes.fromhex("0001120411440100"), struct.pack(">BBHHH", 0xFF, 9, 4, szl, index)),
             S7_REFERENCE, gap=0),
        answers(s7_telegram(7, bytes.fromhex("000112081284010000000000"), tell), S7_REFERENCE),
    ])  # fmt: skip


# ---------------------------------------------------------------- EtherNet/IP and CIP

SESSION = Var("token", 4, 4, little=True)
CONTEXT = Var("count", 12, 8, little=True)
LOGIX = 0xC4  # DINT


def _encapsulated(command: int, body: bytes = b"") -> Packet:
    return ENIPTCP(commandId=command, length=len(body), status=0) / Raw(body)


def enip_register(name: str) -> Piece:
    body = bytes(ENIPRegisterSession())
    return tcp(name, [
        says(_encapsulated(0x65, body), CONTEXT, gap=300), answers(_encapsulated(0x65, body), SESSION, CONTEXT),
    ])  # fmt: skip


def _unconnected(cip: Packet) -> bytes:
    data = bytes(cip)
    return struct.pack("<IHHHHHH", 0, 10, 2, 0, 0, 0xB2, len(data)) + data


def _symbol(tag: str) -> bytes:
    raw = tag.encode()
    return b"\x91" + bytes([len(raw)]) + raw + (b"\0" if len(raw) % 2 else b"")


def enip_read(name: str, tag: str = "Line_Speed") -> Piece:
    """Read Tag (0x4C) of one DINT, unconnected."""
    ask = _encapsulated(0x6F, _unconnected(Cip(service=0x4C, path=_symbol(tag), body=b"\x01\0")))
    tell = _encapsulated(0x6F, _unconnected(Cip(service=0xCC, body=struct.pack("<HI", LOGIX, 0))))
    value = Var("process", len(bytes(tell)) - 4, 2)
    return tcp(name, [says(ask, SESSION, CONTEXT, gap=0), answers(tell, SESSION, CONTEXT, value)])


def enip_write(name: str, tag: str = "Speed_SP", value: int = 0) -> Piece:
    body = struct.pack("<HHi", LOGIX, 1, value)
    ask = _encapsulated(0x6F, _unconnected(Cip(service=0x4D, path=_symbol(tag), body=body)))
    tell = _encapsulated(0x6F, _unconnected(Cip(service=0xCD)))
    return tcp(name, [says(ask, SESSION, CONTEXT, gap=0), answers(tell, SESSION, CONTEXT)])


def enip_identity(name: str, product: str = "1769-L24ER", vendor: int = 1) -> Piece:
    """List Identity over UDP."""
    label = product.encode()
    item = struct.pack("<H", 1) + struct.pack(">HH4s8s", 2, 44818, bytes(4), bytes(8))
    item += struct.pack("<HHHBBHI", vendor, 14, 77, 20, 11, 0x60, 0x00C0FFEE) + bytes([len(label)]) + label + b"\x03"
    body = struct.pack("<HHH", 1, 12, len(item)) + item
    address = Var("sip", 24 + 6 + 2 + 4, 4)
    return udp(name, [says(_encapsulated(0x63), gap=0), answers(_encapsulated(0x63, body), address)])


def cip_reset(name: str) -> Piece:
    """Reset service (0x05) of the identity object: the device restarts."""
    ask = _encapsulated(0x6F, _unconnected(Cip(service=0x05, path=bytes.fromhex("20012401"), body=b"\0")))
    tell = _encapsulated(0x6F, _unconnected(Cip(service=0x85)))
    return tcp(name, [says(ask, SESSION, CONTEXT, gap=0), answers(tell, SESSION, CONTEXT)])


# ---------------------------------------------------------------- IEC 60870-5-104

HEAD_104 = 6
OPENING_104 = 3  # information frames the station has sent by the end of `iec104_start`


def _counted(at: int, add: int) -> Var:
    """A 15-bit sequence number, shifted over the format bit, low byte first (IEC 60870-5-104, 5.1)."""
    return Var("count", at, 2, add=add, modulo=1 << 15, shift=1, little=True)


def _asdu(io: Packet, cause: int, tx: int = 0, rx: int = 0, count: int = 1, common: int = 1) -> Packet:
    return IEC104_I_Message_SingleIOA(
        tx_seq_num=tx, rx_seq_num=rx, cot=cause, common_asdu_address=common, num_io=count, io=[io]
    )


def iec104_start(name: str, common: int = 1) -> Piece:
    """STARTDT, general interrogation with one answer (6.2, 7.2.6.22)."""
    ask = IEC104_IO_C_IC_NA_1_IOA(information_object_address=0, qoi=20)
    point = IEC104_IO_M_SP_NA_1_IOA(information_object_address=100)
    return tcp(name, [
        says(IEC104_U_Message(startdt_act=1), gap=300), answers(IEC104_U_Message(startdt_con=1)),
        says(_asdu(ask, 6, 0, 0, common=common), gap=800), answers(_asdu(ask, 7, 0, 1, common=common)),
        answers(_asdu(point, 20, 1, 1, common=common), gap=300), answers(_asdu(ask, 10, 2, 1, common=common), gap=300),
        says(IEC104_S_Message(rx_seq_num=OPENING_104), gap=600),
    ])  # fmt: skip


def iec104_measure(name: str, address: int = 200, common: int = 1) -> Piece:
    """The station reports a measured value; the centre acknowledges."""
    io = IEC104_IO_M_ME_NC_1_IOA(information_object_address=address, scaled_value=25.0)
    value = bytes(_asdu(io, 3, 0, 1, common=common))  # N(R) 1: the interrogation was received
    reading = Var("random", len(value) - 5, 2)  # the low half of the mantissa: 25.0 to 25.5
    s_frame = bytes(IEC104_S_Message(rx_seq_num=0))
    return tcp(name, [
        answers(value, _counted(2, OPENING_104), reading, gap=0), says(s_frame, _counted(4, OPENING_104 + 1), gap=3000),
    ])  # fmt: skip


# ---------------------------------------------------------------- DNP3

MASTER, OUTSTATION = 1, 10
LINK = 10  # bytes before the first block


def _crcs(size: int) -> tuple[Var, ...]:
    """A CRC behind every block of 16 bytes of user data; the first block starts with transport and application bytes."""
    found = []
    for at in range(0, size, 16):
        begin = LINK + at // 16 * 18
        end = begin + min(16, size - at)
        found.append(Var("dnp3", end, 2, start=begin))
    return tuple(found)


def dnp3(name: str, ask: str = "013c02063c03063c04063c0106", tell: str = "", values: int = 3) -> Piece:
    """A request and its response in hex, from the function code on. Without `tell`: `values` analog inputs (g30v2)."""
    request = bytes(2) + bytes.fromhex(ask)
    if tell:
        answer = bytes(2) + bytes.fromhex(tell)
    else:
        points = b"".join(b"\x01" + (0).to_bytes(2, "little") for _ in range(values))
        answer = bytes(2) + bytes.fromhex("810000") + bytes([0x1E, 0x02, 0x00, 0, values - 1]) + points
    # transport: FIN FIR and a 6-bit number; application: FIR FIN and a 4-bit number
    numbers = (Var("count", LINK, 1, modulo=64, plus=0xC0), Var("count", LINK + 1, 1, modulo=16, plus=0xC0))
    readings = () if tell else tuple(_reading(7 + 3 + 1 + 3 * i) for i in range(values))
    down = Dnp3(control=0xC4, destination=OUTSTATION, source=MASTER, user=request, crc=0)
    up = Dnp3(control=0x44, destination=MASTER, source=OUTSTATION, user=answer, crc=0)
    return tcp(name, [
        says(down, *numbers, *_crcs(len(request)), gap=0),
        answers(up, *numbers, *readings, *_crcs(len(answer))),
    ])  # fmt: skip


def _reading(at: int) -> Var:
    """One byte of a value, so that it never lies across two blocks."""
    return Var("random", LINK + at // 16 * 18 + at % 16, 1)


# ---------------------------------------------------------------- BACnet/IP

INVOKE = Var("count", 8, 1, modulo=256, based=True)
INVOKE_BACK = Var("count", 7, 1, modulo=256, based=True)


def bacnet_read(name: str, kind: int = 0, instance: int = 1) -> Piece:
    """ReadProperty present-value of one object, a REAL (15.5)."""
    thing = b"\x0c" + (kind << 22 | instance).to_bytes(4, "big") + b"\x19\x55"
    ask = Bvlc() / Npdu(control=4) / Apdu(kind=0, body=b"\x05\x00\x0c" + thing)
    tell = Bvlc() / Npdu() / Apdu(kind=3, body=b"\x00\x0c" + thing + b"\x3e\x44\x41\xb0\x00\x00\x3f")
    reading = Var("random", len(tell) - 3, 2)  # the low half of the mantissa
    return udp(name, [says(ask, INVOKE, gap=0), answers(tell, INVOKE_BACK, reading)])


def bacnet_write(name: str, kind: int = 1, instance: int = 1, value: float = 0.0) -> Piece:
    """WriteProperty present-value, priority 8 (15.9)."""
    thing = b"\x0c" + (kind << 22 | instance).to_bytes(4, "big") + b"\x19\x55"
    ask = (
        Bvlc()
        / Npdu(control=4)
        / Apdu(kind=0, body=b"\x05\x00\x0f" + thing + b"\x3e\x44" + struct.pack(">f", value) + b"\x3f\x49\x08")
    )
    return udp(name, [says(ask, INVOKE, gap=0), answers(_simple_ack(0x0F), INVOKE_BACK)])


def _simple_ack(service: int) -> Packet:
    return Bvlc() / Npdu() / Apdu(kind=2, body=bytes([0, service]))


def bacnet_reinitialize(name: str) -> Piece:
    """ReinitializeDevice, warm start (16.4)."""
    ask = Bvlc() / Npdu(control=4) / Apdu(kind=0, body=b"\x05\x00\x14\x09\x01")
    return udp(name, [says(ask, INVOKE, gap=0), answers(_simple_ack(0x14), INVOKE_BACK)])


def bacnet_who_is(name: str) -> Piece:
    """Who-Is to everybody (16.10)."""
    ask = Bvlc(function=0x0B) / Npdu(control=0x20, addressing=bytes.fromhex("ffff00ff")) / Apdu(kind=1, body=b"\x08")
    return udp(name, [says(ask, gap=0)])


def bacnet_i_am(name: str, instance: int = 1001, vendor: int = 260) -> Piece:
    device = b"\xc4" + (8 << 22 | instance).to_bytes(4, "big")
    body = b"\x00" + device + b"\x22\x05\xc4\x91\x03\x22" + vendor.to_bytes(2, "big")
    return udp(name, [says(Bvlc(function=0x0B) / Npdu(control=0x20, addressing=bytes.fromhex("ffff00ff"))
                           / Apdu(kind=1, body=body), gap=0)])  # fmt: skip


# ---------------------------------------------------------------- MQTT


def mqtt_connect(name: str, client: str = "mes", topic: str = "plant/#") -> Piece:
    """CONNECT and SUBSCRIBE (MQTT 3.1.1)."""
    hello = MQTT() / MQTTConnect(protoname="MQTT", protolevel=4, cleansess=1, klive=60, clientId=client)
    listen = MQTT(QOS=1) / MQTTSubscribe(msgid=1, topics=[MQTTTopicQOS(topic=topic, QOS=0)])
    return tcp(name, [
        says(hello, gap=300), answers(MQTT(type=2) / MQTTConnack()),
        says(listen, gap=500), answers(MQTT(type=9) / MQTTSuback(msgid=1, retcodes=[0])),
    ])  # fmt: skip


def mqtt_publish(name: str, topic: str = "plant/line1/good", value: str = "00000") -> Piece:
    """A reading at quality 0; the figure's letters vary."""
    message = bytes(MQTT() / MQTTPublish(topic=topic, value=f"{topic}="))
    whole = bytearray(message + bytes(len(value)))
    whole[1] += len(value)
    return tcp(name, [says(bytes(whole), Var("letters", len(message), len(value)), gap=0)])


MAKERS: dict[str, Maker] = {
    "modbus_read": modbus_read, "modbus_write": modbus_write, "modbus_raw": modbus_raw,
    "s7_connect": s7_connect, "s7_read": s7_read, "s7_write": s7_write, "s7_status_list": s7_status_list,
    "enip_register": enip_register, "enip_read": enip_read, "enip_write": enip_write, "enip_identity": enip_identity,
    "cip_reset": cip_reset, "iec104_start": iec104_start, "iec104_measure": iec104_measure, "dnp3": dnp3,
    "bacnet_read": bacnet_read, "bacnet_write": bacnet_write, "bacnet_reinitialize": bacnet_reinitialize,
    "bacnet_who_is": bacnet_who_is, "bacnet_i_am": bacnet_i_am, "mqtt_connect": mqtt_connect,
    "mqtt_publish": mqtt_publish,
}  # fmt: skip
