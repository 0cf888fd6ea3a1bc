"""Captures: whole pcapng files, capped, readable after a crash."""

from __future__ import annotations

import base64
from pathlib import Path

import dpkt
import pytest

from cyber_range.engine.errors import RangeError
from cyber_range.engine.lab.captures import CaptureStore, file_header, packet_block

FRAME = bytes(range(60))


def message(*times: int) -> dict[str, str]:
    return {"data": base64.b64encode(b"".join(packet_block(time, FRAME) for time in times)).decode()}


def read(path: Path) -> list[tuple[float, bytes]]:
    with path.open("rb") as file:
        return [(float(stamp), bytes(frame)) for stamp, frame in dpkt.pcapng.Reader(file)]


def test_a_file_is_whole_and_keeps_nanoseconds(tmp_path: Path) -> None:
    store = CaptureStore(tmp_path)

    store.take("office", message(1_700_000_000_000_000_001, 1_700_000_001_500_000_000))
    store.take("office", {"packets": [[1_700_000_002_000_000_000, base64.b64encode(FRAME).decode()]]})

    assert [frame for _, frame in read(tmp_path / "office-000001.pcapng")] == [FRAME] * 3
    assert store.list() == [{
        "name": "office-000001.pcapng", "zone": "office", "bytes": (tmp_path / "office-000001.pcapng").stat().st_size,
        "packets": 3, "from": 1_700_000_000.0, "to": 1_700_000_002.0, "rolling": True,
    }]  # fmt: skip


def test_files_roll_and_the_oldest_goes(tmp_path: Path) -> None:
    rolled: list[tuple[str, str, str]] = []
    size = len(file_header("z")) + 3 * len(packet_block(1, FRAME))
    store = CaptureStore(tmp_path, file_bytes=size, zone_bytes=3 * size, on_roll=lambda *what: rolled.append(what))

    for number in range(1, 11):
        store.take("z", message(number))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["z-000002.pcapng", "z-000003.pcapng", "z-000004.pcapng"]
    assert rolled == [
        ("z", "z-000001.pcapng", "rolled"), ("z", "z-000002.pcapng", "rolled"), ("z", "z-000003.pcapng", "rolled"),
        ("z", "z-000001.pcapng", "limit"),
    ]  # fmt: skip
    store.close()
    assert [len(read(path)) for path in sorted(tmp_path.iterdir())] == [3, 3, 1]


def test_a_torn_file_is_cut_to_whole_packets_and_a_new_one_begun(tmp_path: Path) -> None:
    store = CaptureStore(tmp_path)
    store.take("z", message(1, 2))
    store.close()
    torn = tmp_path / "z-000001.pcapng"
    torn.write_bytes(torn.read_bytes()[:-10])

    again = CaptureStore(tmp_path)
    again.take("z", message(3))
    again.close()

    assert [(one["name"], one["packets"]) for one in again.list()] == [("z-000001.pcapng", 1), ("z-000002.pcapng", 1)]
    assert [len(read(path)) for path in sorted(tmp_path.iterdir())] == [1, 1]


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 7, packet_block(1, FRAME)[:-4], b"\x07\0\0\0" + packet_block(1, FRAME)[4:]]
)
def test_a_damaged_message_changes_nothing(tmp_path: Path, damage: bytes) -> None:
    store = CaptureStore(tmp_path)
    store.take("z", message(1))

    if damage:
        with pytest.raises(ValueError):
            store.take("z", {"data": base64.b64encode(packet_block(2, FRAME) + damage).decode()})

    assert store.list()[0]["packets"] == 1


def test_names_are_looked_up_and_never_joined(tmp_path: Path) -> None:
    store = CaptureStore(tmp_path)

    with pytest.raises(RangeError) as caught:
        store.path("../../etc/passwd")

    assert caught.value.what == "there is no capture '../../etc/passwd'"
