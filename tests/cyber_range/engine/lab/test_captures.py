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


A, B, C = (bytes.fromhex(f"0200000000{n:02x}") for n in (1, 2, 3))
NODES = {"02:00:00:00:00:01": "hmi", "02:00:00:00:00:02": "plc"}


def between(source: bytes, target: bytes) -> bytes:
    return target + source + bytes(48)


def spoken(*packets: tuple[int, bytes]) -> dict[str, str]:
    return {"data": base64.b64encode(b"".join(packet_block(time, frame) for time, frame in packets)).decode()}


def test_a_node_has_a_ring_of_its_own_that_a_busy_neighbour_does_not_roll_away(tmp_path: Path) -> None:
    rolled: list[tuple[str, str, str]] = []
    size = len(file_header("z")) + 4 * len(packet_block(1, FRAME))
    store = CaptureStore(
        tmp_path, file_bytes=size, zone_bytes=2 * size, node_file_bytes=size, node_bytes=2 * size, nodes=NODES,
        on_roll=lambda *what: rolled.append(what),
    )  # fmt: skip
    store.take("z", spoken((1, between(A, B)), (2, between(A, C))))

    for number in range(3, 40):
        store.take("z", spoken((number, between(C, C))))

    files = {one["node"]: (one["packets"], one["zone"]) for one in store.list(nodes=True) if "node" in one}
    assert files == {"hmi": (2, ""), "plc": (1, "")}
    assert all("node" not in one for one in store.list())
    assert {zone for zone, _, _ in rolled} == {"z"}
    assert [frame for _, frame in read(store.path("node.plc-000001.pcapng"))] == [between(A, B)]
    store.close()
    again = CaptureStore(tmp_path, nodes=NODES)
    assert len(again.list(nodes=True)) == len(store.list(nodes=True))


SECOND = 1_000_000_000
BEGIN = 1_700_000_000


def test_a_stretch_of_time_is_cut_out_of_zone_and_node(tmp_path: Path) -> None:
    size = len(file_header("z")) + 3 * len(packet_block(1, FRAME))
    store = CaptureStore(tmp_path, file_bytes=size, nodes=NODES)
    for number in range(10):
        store.take("z", spoken(((BEGIN + number) * SECOND, between(A if number % 2 else C, C))))

    of_zone = store.cut(zone="z", start=BEGIN + 2, end=BEGIN + 6)
    of_node = store.cut(node="hmi", start=BEGIN + 2)

    assert (of_zone["packets"], of_zone["from"], of_zone["to"]) == (5, BEGIN + 2, BEGIN + 6)
    assert [stamp for stamp, _ in read(store.path(of_zone["name"]))] == [BEGIN + n for n in range(2, 7)]
    assert store.path(of_zone["name"]).stat().st_size == of_zone["bytes"]
    assert [stamp for stamp, _ in read(store.path(of_node["name"]))] == [BEGIN + n for n in (3, 5, 7, 9)]
    assert of_zone["name"] not in {one["name"] for one in store.list()}


def test_slices_that_cannot_be_say_what_there_is(tmp_path: Path) -> None:
    store = CaptureStore(tmp_path)
    store.take("z", spoken((BEGIN * SECOND, FRAME)))

    with pytest.raises(RangeError, match="one zone or of one node"):
        store.cut()
    with pytest.raises(RangeError, match=r"no capture of .node\.plc."):
        store.cut(node="plc")
    with pytest.raises(RangeError, match="no packet in that time"):
        store.cut(zone="z", start=BEGIN + 5)
    with pytest.raises(RangeError):
        store.cut(zone="../z")
    assert [path.name for path in tmp_path.iterdir()] == ["z-000001.pcapng"]


def test_the_newest_slices_are_kept(tmp_path: Path) -> None:
    store = CaptureStore(tmp_path)
    names = []
    for number in range(12):
        store.take("z", spoken(((BEGIN + number) * SECOND, FRAME)))
        names.append(store.cut(zone="z")["name"])

    assert len(set(names)) == 12
    assert len(list(tmp_path.glob("slice-*"))) == 8
    assert store.path(names[-1]).is_file()
