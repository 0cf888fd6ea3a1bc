"""One S7 controller, asked and told in the words of an engineering tool."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.s7_blocks import parse_name
from cyber_range.engine.agents.s7_link import S7Error, S7Link, item_of
from cyber_range.engine.agents.s7_memory import FORMATS, LETTERS, Place, place

MODULE, COMPONENT = 0x0011, 0x001C  # status lists
NAMES = {1: "name", 2: "module", 3: "plant", 4: "copyright", 5: "serial", 7: "type", 8: "card"}
SLICE = 96  # bytes of an image asked at once: fits the smallest PDU


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except S7Error as exc:
        raise PermissionError(str(exc)) from exc


class S7Client:
    def __init__(self, link: S7Link) -> None:
        self._link = link

    @classmethod
    async def open(cls, net: Connecting, host: str, port: int = 102, *, slot: int = 2) -> S7Client:
        with refusals():
            return cls(await S7Link.connect(net, host, port, slot=slot))

    def close(self) -> None:
        self._link.close()

    async def password(self, text: str) -> None:
        with refusals():
            await self._link.password(text)

    async def identity(self) -> dict[str, str]:
        with refusals():
            modules = await self._link.status_list(MODULE)
            parts = await self._link.status_list(COMPONENT)
        found: dict[str, str] = {}
        for record in records(modules):
            index = struct.unpack_from(">H", record)[0]
            if index == 1:
                found["order_code"] = words(record[2:22])
            elif index == 7:
                found["firmware"] = ".".join(str(part) for part in record[25:28])
        for record in records(parts):
            name = NAMES.get(struct.unpack_from(">H", record)[0])
            if name and (said := words(record[2:])):
                found[name] = said
        return found

    async def mode(self) -> str:
        with refusals():
            return await self._link.mode()

    async def read(self, address: str) -> float:
        at = typed(address)
        with refusals():
            return decoded(at, (await self._link.read([item_of(at)]))[0])

    async def write(self, address: str, value: float) -> None:
        at = typed(address)
        if at.type == "bool":
            raw = bytes((int(bool(value)),))
        else:
            raw = struct.pack(FORMATS[at.type], value if at.type == "real" else round(value))
        with refusals():
            await self._link.write(item_of(at), raw)

    async def image(self, area: str, count: int) -> bytes:
        whole = b""
        with refusals():
            for start in range(0, count, SLICE):
                whole += await self._link.read_bytes(LETTERS[area.upper()], 0, start, min(SLICE, count - start))
        return whole

    async def upload(self, block: str) -> bytes:
        with refusals():
            return await self._link.upload(block)

    async def download(self, block: str, code: bytes) -> None:
        with refusals():
            await self._link.download(block, code)

    async def delete(self, block: str) -> None:
        address = parse_name(block).address
        with refusals():
            await self._link.service(b"_DELE", b"\x01\x00" + address + b"P")

    async def stop(self) -> None:
        with refusals():
            await self._link.stop()

    async def start(self, *, cold: bool = False) -> None:
        with refusals():
            await self._link.start(cold=cold)


def typed(address: str) -> Place:
    """`DB1.DBD4:dint` names a type; ValueError for what is no address."""
    text, _, kind = address.partition(":")
    return place(text, kind)


def decoded(at: Place, raw: bytes) -> float:
    if at.type == "bool":
        return float(raw[0] & 1)
    return float(struct.unpack(FORMATS[at.type], raw)[0])


def records(status: bytes) -> Iterator[bytes]:
    """Entries of a system status list behind its head of number, index, length and count."""
    _, _, length, count = struct.unpack_from(">HHHH", status)
    for number in range(count):
        yield status[8 + number * length : 8 + (number + 1) * length]


def words(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("latin-1").strip()
