"""A DNP3 master for one question or one control."""

from __future__ import annotations

from cyber_range.engine.agents.context import Connecting
from cyber_range.engine.agents.dnp3_link import Dnp3Link
from cyber_range.engine.agents.dnp3_objects import ALL, INDEX_16, Fragment, Function, Header, Iin, Item, Status
from cyber_range.engine.agents.dnp3_station import (
    ANALOG_ORDER,
    CLASSES,
    CROB,
    EVENT,
    LATCH_OFF,
    LATCH_ON,
    STATIC,
)

FLOAT_ORDER = 3  # variation of an analog output command
KIND_OF_GROUP = {group: kind for table in (STATIC, EVENT) for kind, group in table.items()}
EVENTS = tuple(Header(CLASSES, number, ALL) for number in (2, 3, 4))
EVERYTHING = (*EVENTS, Header(CLASSES, 1, ALL))
REFUSING = Iin.NO_FUNCTION | Iin.UNKNOWN_OBJECT | Iin.BAD_PARAMETER


class Dnp3Client:
    def __init__(self, link: Dnp3Link) -> None:
        self._link = link

    @classmethod
    async def open(
        cls, net: Connecting, host: str, port: int = 20000, *, own: int = 1, station: int = 10
    ) -> Dnp3Client:
        return cls(await Dnp3Link.connect(net, host, port, own=own, station=station))

    def close(self) -> None:
        self._link.close()

    async def integrity(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for fragment in await self._request(Function.READ, *EVERYTHING):
            for header in fragment.headers:
                kind = KIND_OF_GROUP.get(header.group)
                if kind is not None:
                    found |= {f"{kind}/{item.index}": round(float(item.value), 6) for item in header.items}
        return found

    async def operate(self, kind: str, index: int, value: float, *, select: bool = True) -> None:
        if kind == "output":
            header = Header(CROB, 1, INDEX_16, (Item(index, LATCH_ON if value else LATCH_OFF, pulse=(1, 0, 0)),))
        elif kind == "setpoint":
            header = Header(ANALOG_ORDER, FLOAT_ORDER, INDEX_16, (Item(index, value),))
        else:
            raise LookupError(f"{kind!r} takes no control; choose output or setpoint")
        for function in (Function.SELECT, Function.OPERATE) if select else (Function.DIRECT_OPERATE,):
            fragments = await self._request(function, header)
            statuses = [item.flags for part in fragments[-1].headers for item in part.items]
            if statuses != [Status.SUCCESS]:
                names = ", ".join(Status(s).name.lower() if s in set(Status) else str(s) for s in statuses)
                raise PermissionError(f"{function.name.lower()} of {kind} {index}: {names or 'no status'}")

    async def restart(self, *, cold: bool = True) -> None:
        await self._request(Function.COLD_RESTART if cold else Function.WARM_RESTART)

    async def unsolicited(self, on: bool) -> None:
        await self._request(Function.ENABLE_UNSOLICITED if on else Function.DISABLE_UNSOLICITED, *EVENTS)

    async def _request(self, function: Function, *headers: Header) -> list[Fragment]:
        fragments = await self._link.request(function, *headers)
        said = Iin(fragments[-1].iin or 0) & REFUSING
        if said:
            raise PermissionError(f"{function.name.lower()}: {said.name or int(said)}")
        return fragments
