"""Modbus messages against scapy's, whole and in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import modbus as scapy_modbus
from scapy.packet import Packet

from cyber_range.engine.sensor.modbus import Framer, Message


def asked(pdu: Packet, transaction: int = 7, unit: int = 1) -> bytes:
    return bytes(scapy_modbus.ModbusADURequest(transId=transaction, unitId=unit) / pdu)


def answered(pdu: Packet, transaction: int = 7, unit: int = 1) -> bytes:
    return bytes(scapy_modbus.ModbusADUResponse(transId=transaction, unitId=unit) / pdu)


REQUESTS = [
    (scapy_modbus.ModbusPDU01ReadCoilsRequest(startAddr=3, quantity=9), Message(7, 1, 1, 3, 9)),
    (scapy_modbus.ModbusPDU02ReadDiscreteInputsRequest(startAddr=1, quantity=2), Message(7, 1, 2, 1, 2)),
    (scapy_modbus.ModbusPDU03ReadHoldingRegistersRequest(startAddr=40, quantity=10), Message(7, 1, 3, 40, 10)),
    (scapy_modbus.ModbusPDU04ReadInputRegistersRequest(startAddr=0, quantity=8), Message(7, 1, 4, 0, 8)),
    (scapy_modbus.ModbusPDU05WriteSingleCoilRequest(outputAddr=16, outputValue=0xFF00), Message(7, 1, 5, 16, 1, (1,))),
    (
        scapy_modbus.ModbusPDU06WriteSingleRegisterRequest(registerAddr=40, registerValue=640),
        Message(7, 1, 6, 40, 1, (640,)),
    ),
    (
        scapy_modbus.ModbusPDU0FWriteMultipleCoilsRequest(startAddr=2, quantityOutput=3, outputsValue=[5]),
        Message(7, 1, 15, 2, 3, (1, 0, 1)),
    ),
    (
        scapy_modbus.ModbusPDU10WriteMultipleRegistersRequest(startAddr=2, quantityRegisters=2, outputsValue=[8, 9]),
        Message(7, 1, 16, 2, 2, (8, 9)),
    ),
    (scapy_modbus.ModbusPDU2B0EReadDeviceIdentificationRequest(readCode=1, objectId=0), Message(7, 1, 43)),
]


@pytest.mark.parametrize(("pdu", "expected"), REQUESTS, ids=lambda value: type(value).__name__)
def test_a_request_is_read_as_scapy_means_it(pdu: Packet, expected: Message) -> None:
    assert list(Framer(requests=True).feed(asked(pdu))) == [expected]


def test_an_exception_answer_names_function_and_code() -> None:
    data = answered(scapy_modbus.ModbusPDU03ReadHoldingRegistersError(exceptCode=2))

    assert list(Framer(requests=False).feed(data)) == [Message(7, 1, 3, exception=2)]


@given(st.lists(st.integers(0, len(REQUESTS) - 1), min_size=1, max_size=6), st.integers(1, 13))
def test_pieces_of_any_size_give_the_same_messages(picked: list[int], size: int) -> None:
    data = b"".join(asked(REQUESTS[i][0]) for i in picked)
    framer = Framer(requests=True)

    found = [m for at in range(0, len(data), size) for m in framer.feed(data[at : at + size])]

    assert found == [REQUESTS[i][1] for i in picked]


def test_another_protocol_on_the_port_breaks_the_framer_once() -> None:
    framer = Framer(requests=True)

    assert list(framer.feed(b"GET / HTTP/1.1\r\n")) == []
    assert framer.broken
    assert list(framer.feed(asked(REQUESTS[0][0]))) == []
