"""Modbus messages against scapy's, whole and in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib import modbus as scapy_modbus
from scapy.packet import Packet

from cyber_range.engine.sensor.protocols.message import REQUEST, RESPONSE, Message
from cyber_range.engine.sensor.protocols.modbus import NAMES, WRITES, Modbus


def asked(pdu: Packet, transaction: int = 7, unit: int = 1) -> bytes:
    return bytes(scapy_modbus.ModbusADURequest(transId=transaction, unitId=unit) / pdu)


def answered(pdu: Packet, transaction: int = 7, unit: int = 1) -> bytes:
    return bytes(scapy_modbus.ModbusADUResponse(transId=transaction, unitId=unit) / pdu)


def asks(function: int, address: int = -1, count: int = 0, values: tuple[int, ...] = (), **fields: int) -> Message:
    return Message(
        "modbus", REQUEST, function, NAMES[function], 1, address, count, values, function in WRITES, fields=fields
    )


REQUESTS = [
    (scapy_modbus.ModbusPDU01ReadCoilsRequest(startAddr=3, quantity=9), asks(1, 3, 9)),
    (scapy_modbus.ModbusPDU02ReadDiscreteInputsRequest(startAddr=1, quantity=2), asks(2, 1, 2)),
    (scapy_modbus.ModbusPDU03ReadHoldingRegistersRequest(startAddr=40, quantity=10), asks(3, 40, 10)),
    (scapy_modbus.ModbusPDU04ReadInputRegistersRequest(startAddr=0, quantity=8), asks(4, 0, 8)),
    (scapy_modbus.ModbusPDU05WriteSingleCoilRequest(outputAddr=16, outputValue=0xFF00), asks(5, 16, 1, (1,))),
    (
        scapy_modbus.ModbusPDU06WriteSingleRegisterRequest(registerAddr=40, registerValue=640),
        asks(6, 40, 1, (640,)),
    ),
    (
        scapy_modbus.ModbusPDU0FWriteMultipleCoilsRequest(startAddr=2, quantityOutput=3, outputsValue=[5]),
        asks(15, 2, 3, (1, 0, 1)),
    ),
    (
        scapy_modbus.ModbusPDU10WriteMultipleRegistersRequest(startAddr=2, quantityRegisters=2, outputsValue=[8, 9]),
        asks(16, 2, 2, (8, 9)),
    ),
    (scapy_modbus.ModbusPDU2B0EReadDeviceIdentificationRequest(readCode=1, objectId=0), asks(43, sub_function=14)),
]


@pytest.mark.parametrize(("pdu", "expected"), REQUESTS, ids=lambda value: type(value).__name__)
def test_a_request_is_read_as_scapy_means_it(pdu: Packet, expected: Message) -> None:
    assert list(Modbus().feed(True, asked(pdu))) == [expected]


def test_a_request_that_came_before_is_the_same_object() -> None:
    decoder = Modbus()
    first = decoder.feed(True, asked(REQUESTS[2][0], transaction=1))
    again = decoder.feed(True, asked(REQUESTS[2][0], transaction=2))

    assert again[0] is first[0]


def test_an_exception_answer_names_function_and_code() -> None:
    data = answered(scapy_modbus.ModbusPDU03ReadHoldingRegistersError(exceptCode=2))

    assert list(Modbus().feed(False, data)) == [Message("modbus", RESPONSE, 3, NAMES[3], 1, error=2)]


def test_the_device_says_who_it_is() -> None:
    objects = b"\x00\x07Siemens\x01\x06LOGO!8\x02\x041.83"
    data = b"\0\x01\0\0" + (len(objects) + 8).to_bytes(2, "big") + b"\x01\x2b\x0e\x01\x01\0\0\x03" + objects

    (message,) = Modbus().feed(False, data)

    assert message.identity == {"vendor": "Siemens", "product": "LOGO!8", "version": "1.83"}


@given(st.lists(st.integers(0, len(REQUESTS) - 1), min_size=1, max_size=6), st.integers(1, 13))
@settings(deadline=None)
def test_pieces_of_any_size_give_the_same_messages(picked: list[int], size: int) -> None:
    data = b"".join(asked(REQUESTS[i][0]) for i in picked)
    decoder = Modbus()

    found = [m for at in range(0, len(data), size) for m in decoder.feed(True, data[at : at + size])]

    assert found == [REQUESTS[i][1] for i in picked]


def test_another_protocol_on_the_port_breaks_the_decoder_until_it_begins_anew() -> None:
    decoder = Modbus()

    assert list(decoder.feed(True, b"GET / HTTP/1.1\r\n")) == []
    assert decoder.broken
    assert list(decoder.feed(True, asked(REQUESTS[0][0]))) == []
    decoder.lose(True)
    assert list(decoder.feed(True, asked(REQUESTS[0][0]))) == [REQUESTS[0][1]]
