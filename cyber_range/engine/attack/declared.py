"""The Modbus frames of the campaign, declared with scapy. Run as a process: see `traffic.compiled`.

Prints each frame with transaction, address and value left at zero; `intruder` patches them in.
"""

from __future__ import annotations

import json
import sys

from scapy.config import conf
from scapy.contrib.modbus import (
    ModbusADURequest,
    ModbusPDU01ReadCoilsRequest,
    ModbusPDU02ReadDiscreteInputsRequest,
    ModbusPDU03ReadHoldingRegistersRequest,
    ModbusPDU04ReadInputRegistersRequest,
    ModbusPDU05WriteSingleCoilRequest,
    ModbusPDU06WriteSingleRegisterRequest,
    ModbusPDU08DiagnosticsRequest,
    ModbusPDU2B0EReadDeviceIdentificationRequest,
)

conf.verb = 0

FRAMES = {
    "read_coil": ModbusPDU01ReadCoilsRequest(startAddr=0, quantity=1),
    "read_discrete": ModbusPDU02ReadDiscreteInputsRequest(startAddr=0, quantity=1),
    "read_holding": ModbusPDU03ReadHoldingRegistersRequest(startAddr=0, quantity=1),
    "read_input": ModbusPDU04ReadInputRegistersRequest(startAddr=0, quantity=1),
    "write_coil": ModbusPDU05WriteSingleCoilRequest(outputAddr=0, outputValue=0),
    "write_holding": ModbusPDU06WriteSingleRegisterRequest(registerAddr=0, registerValue=0),
    "restart": ModbusPDU08DiagnosticsRequest(subFunc=1, data=[0]),
    "identify": ModbusPDU2B0EReadDeviceIdentificationRequest(readCode=1, objectId=0),
}


def main() -> None:
    json.load(sys.stdin)
    json.dump(
        {name: bytes(ModbusADURequest(transId=0, unitId=1) / pdu).hex() for name, pdu in FRAMES.items()}, sys.stdout
    )


if __name__ == "__main__":
    main()
