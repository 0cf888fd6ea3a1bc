"""The campaign's frames, byte for byte as the Modbus specification writes them."""

from __future__ import annotations

from cyber_range.engine.traffic.compiled import compiled


async def test_frames_are_modbus_tcp_requests() -> None:
    frames = await compiled("cyber_range.engine.attack.declared", {})

    assert {name: frame.hex() for name, frame in frames.items()} == {
        "read_coil": "000000000006010100000001",
        "read_discrete": "000000000006010200000001",
        "read_holding": "000000000006010300000001",
        "read_input": "000000000006010400000001",
        "write_coil": "000000000006010500000000",
        "write_holding": "000000000006010600000000",
        "restart": "000000000006010800010000",
        "identify": "000000000005012b0e0100",
    }
