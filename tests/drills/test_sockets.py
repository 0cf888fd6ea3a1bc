"""The bell and the terminal: who gets in, what a bell says, what misuse ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from cyber_range.engine.errors import Refused as RangeRefused
from drills import consumers, hub, log, services
from drills.domain import events as ev
from drills.domain.visibility import Viewer
from drills.models import Drill, TerminalRecording
from drills.routing import websocket_urlpatterns
from lms.accounts.models import User

from .conftest import fresh, seat

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = (b"origin", b"http://127.0.0.1:8000")


@pytest.fixture(autouse=True)
def one_database(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """The memory database has no busy timeout, so here the hub looks less often than in the product."""
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    monkeypatch.setattr(hub, "LOOK", 0.05)
    monkeypatch.setattr(hub, "RECHECK", 0.2)


def socket(path: str, user: Any, headers: list[tuple[bytes, bytes]] | None = None) -> WebsocketCommunicator:
    one = WebsocketCommunicator(
        URLRouter(websocket_urlpatterns), path, headers=[ORIGIN] if headers is None else headers
    )
    one.scope["user"] = user
    return one


async def told(one: WebsocketCommunicator, wanted: Callable[[Any], bool], seconds: float = 5) -> Any:
    """The first message that is wanted."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        left = end - asyncio.get_running_loop().time()
        message = json.loads(await one.receive_from(timeout=max(0.01, left)))
        if wanted(message):
            return message


async def quiet(one: WebsocketCommunicator, seconds: float = 0.6) -> bool:
    return await one.receive_nothing(timeout=seconds)


@pytest.mark.parametrize(
    "headers",
    [[], [(b"origin", b"http://evil.example")], [(b"origin", b"http://127.0.0.1:8000.evil.example")], [ORIGIN, ORIGIN]],
)
async def test_only_our_own_pages_may_open_a_socket(
    seated: Drill, people: dict[str, User], headers: list[tuple[bytes, bytes]]
) -> None:
    for path in (f"/ws/drills/{seated.pk}/", f"/ws/drills/{seated.pk}/terminal/"):
        connected, code = await socket(path, people["blue"], headers).connect()
        assert (connected, code) == (False, consumers.NOT_YOURS)


async def test_without_a_seat_there_is_no_bell(seated: Drill, people: dict[str, User]) -> None:
    for user in (AnonymousUser(), people["stranger"], people["blue2"]):  # blue2 is invited and does not sit
        connected, code = await socket(f"/ws/drills/{seated.pk}/", user).connect()
        assert (connected, code) == (False, consumers.NOT_YOURS)


async def test_a_bell_carries_nothing_and_hidden_events_ring_for_nobody_else(
    seated: Drill, people: dict[str, User]
) -> None:
    white, blue = (socket(f"/ws/drills/{seated.pk}/", people[name]) for name in ("white", "blue"))
    for one in (white, blue):
        assert (await one.connect())[0]
        assert await told(one, lambda m: True) == {"bell": True}
    while not await quiet(white, 0.3) or not await quiet(blue, 0.3):
        pass

    note = database_sync_to_async(services.note)
    its_seat = await database_sync_to_async(seat)(seated, people["white"])
    await note(drill=seated, seat=its_seat, text="geheim", scope="white")
    assert await told(white, lambda m: True) == {"bell": True}
    assert await quiet(blue)
    await note(drill=seated, seat=its_seat, text="für alle", scope="all")
    assert await told(blue, lambda m: True) == {"bell": True}

    for one in (white, blue):
        await one.disconnect()


async def test_who_loses_the_seat_loses_the_room(seated: Drill, people: dict[str, User]) -> None:
    blue = socket(f"/ws/drills/{seated.pk}/", people["blue"])
    await blue.connect()

    await database_sync_to_async(services.remove_from_seat)(drill=seated, user=people["blue"], by=people["white"])

    while True:
        message = await blue.receive_output(timeout=5)
        if message["type"] == "websocket.close":
            break
    assert message["code"] == consumers.NOT_YOURS


async def test_a_room_takes_no_novels(seated: Drill, people: dict[str, User]) -> None:
    blue = socket(f"/ws/drills/{seated.pk}/", people["blue"])
    await blue.connect()
    await blue.send_to("x" * 300)

    while (message := await blue.receive_output(timeout=5))["type"] != "websocket.close":
        pass
    assert message["code"] == consumers.MISUSE


async def test_a_hub_that_is_told_to_end_ends_though_a_bell_rings_at_that_moment(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"  # only whether there is one matters to the look
    one = hub.Hub()
    looking = asyncio.get_running_loop().create_task(one._look())
    for _ in range(500):
        if one._wake._waiters:  # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.01)

    one._wake.set()
    looking.cancel()
    await asyncio.wait([looking], timeout=5)

    assert looking.cancelled()


def test_a_seat_gets_the_traffic_of_its_own_zones() -> None:
    leg = {"ip": "10.0.0.2", "mac": "", "ifname": "eth0"}
    topology = {
        "zones": [{"name": "office", "hidden": False}, {"name": "shop", "hidden": False}, {"name": "bus", "hidden": True}],
        "nodes": [
            {"name": "pc", "legs": [{"zone": "office", **leg}]},
            {"name": "fw", "legs": [{"zone": "office", **leg}, {"zone": "shop", **leg}]},
            {"name": "plc", "legs": [{"zone": "shop", **leg}, {"zone": "bus", **leg}]},
        ],
        "links": [
            {"source": "pc", "target": "fw", "zone": "office"}, {"source": "pc", "target": "plc", "zone": "shop"},
            {"source": "plc", "target": "plant", "zone": "bus"},
        ],
        "time": 1.0,
    }  # fmt: skip
    blue = hub.filter_topology(topology, Viewer("blue", "b", "w", frozenset(("office",))))

    assert [zone["name"] for zone in blue["zones"]] == ["office"]
    assert [(node["name"], len(node["legs"])) for node in blue["nodes"]] == [("pc", 1), ("fw", 1)]
    assert blue["links"] == [{"source": "pc", "target": "fw", "zone": "office"}]
    assert [z["name"] for z in hub.filter_topology(topology, Viewer("blue", "b", "w"))["zones"]] == ["office", "shop"]
    assert len(hub.filter_topology(topology, Viewer("white", "w", "w"))["zones"]) == 3


# ---------------------------------------------------------------- terminals, with a range of paper


class Pty:
    """A terminal that says what a test wants and remembers what was typed."""

    terminal, recording = "t1", "r1.cast"

    def __init__(self) -> None:
        self.out: asyncio.Queue[bytes] = asyncio.Queue()
        self.typed = b""
        self.sizes: list[tuple[int, int]] = []
        self.reads = 0
        self.closed = False
        self.ended: dict[str, str] | None = None

    async def read(self) -> bytes:
        self.reads += 1
        data = await self.out.get()
        if not data:
            self.ended = {"reason": "exit", "text": "bye"}
        return data

    async def write(self, data: bytes) -> None:
        self.typed += data

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch, seated: Drill, settings: Any) -> Pty:
    """The drill has a range whose host is made of paper: it takes the ticket "good" once."""
    from tests.factories.cyber_range import InstanceFactory

    pty, used = Pty(), []
    blue = str(seated.seats.get(cell="blue", taken_at__isnull=False).user.pseudonym)
    Drill.objects.filter(pk=seated.pk).update(
        instance=InstanceFactory(state="ready", organisation=seated.organisation, purpose="drill")
    )

    class Client:
        def __init__(self, path: str) -> None:
            pass

        async def pty(self, **args: Any) -> Pty:
            if args["ticket"] != "good" or used or args["session"] != blue:
                raise RangeRefused("the ticket is used up", remedy="Open the terminal again")
            used.append(args)
            return pty

        async def close(self) -> None:
            pass

    monkeypatch.setattr(consumers, "AsyncClient", Client)
    monkeypatch.setattr(consumers, "CHECK_SEAT", 0.2)
    return pty


async def opened(drill: Drill, user: User, ticket: str = "good", node: str = "ws") -> WebsocketCommunicator:
    one = socket(f"/ws/drills/{drill.pk}/terminal/", user)
    assert (await one.connect(timeout=5))[0]
    await one.send_to(json.dumps({"ticket": ticket, "node": node, "columns": 80, "rows": 24}))
    return one


async def ending(one: WebsocketCommunicator) -> tuple[Any, int]:
    """(last words, close code)."""
    words: Any = None
    while True:
        message = await one.receive_output(timeout=8)
        if message["type"] == "websocket.close":
            return words, message["code"]
        if message.get("text"):
            words = json.loads(message["text"])


async def test_keys_go_in_and_words_come_out(seated: Drill, people: dict[str, User], paper: Pty) -> None:
    one = await opened(seated, people["blue"])
    assert json.loads(await one.receive_from(5)) == {"opened": "ws", "recorded": True}

    await one.send_to(bytes_data=b"ls\n")
    await one.send_to(json.dumps({"size": [100, 30]}))
    paper.out.put_nowait("文件\r\n".encode())
    assert await one.receive_from(5) == "文件\r\n".encode()
    await asyncio.sleep(0.1)
    assert (paper.typed, paper.sizes) == (b"ls\n", [(100, 30)])

    paper.out.put_nowait(b"")
    assert await ending(one) == ({"ended": "exit", "text": "bye"}, consumers.OVER)
    row = await TerminalRecording.objects.aget()
    assert (row.name, row.node, row.reason, row.actor) == ("r1.cast", "ws", "exit", str(people["blue"].pseudonym))
    assert paper.closed


@pytest.mark.parametrize(
    ("ticket", "node", "code"), [("used", "ws", consumers.OVER), ("good", "plc", consumers.NOT_YOURS)]
)
async def test_wrong_tickets_and_nodes_end_it(
    seated: Drill, people: dict[str, User], paper: Pty, ticket: str, node: str, code: int
) -> None:
    one = await opened(seated, people["blue"], ticket, node)

    assert (await ending(one))[1] == code
    assert paper.typed == b""


async def test_a_seat_without_consoles_gets_no_terminal(seated: Drill, people: dict[str, User], paper: Pty) -> None:
    for name in ("observer", "white", "stranger"):
        connected, code = await socket(f"/ws/drills/{seated.pk}/terminal/", people[name]).connect(timeout=5)
        assert (connected, code) == (False, consumers.NOT_YOURS)


@pytest.mark.parametrize("first", ["no json", "[]", '{"node": "ws"}', b"\x00"])
async def test_what_is_no_ticket_ends_it(
    seated: Drill, people: dict[str, User], paper: Pty, first: str | bytes
) -> None:
    one = socket(f"/ws/drills/{seated.pk}/terminal/", people["blue"])
    await one.connect(timeout=5)
    await (one.send_to(bytes_data=first) if isinstance(first, bytes) else one.send_to(first))

    assert (await ending(one))[1] == consumers.MISUSE


async def test_no_ticket_in_time_ends_it(
    seated: Drill, people: dict[str, User], paper: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "TICKET_WAIT", 0.1)
    one = socket(f"/ws/drills/{seated.pk}/terminal/", people["blue"])
    await one.connect(timeout=5)

    assert (await ending(one))[1] == consumers.MISUSE


async def test_a_flood_of_keys_ends_it(seated: Drill, people: dict[str, User], paper: Pty) -> None:
    one = await opened(seated, people["blue"])
    await one.receive_from(5)
    await one.send_to(bytes_data=b"x" * (consumers.INPUT_LIMIT + 1))

    assert (await ending(one))[1] == consumers.MISUSE


async def test_a_browser_that_does_not_draw_holds_the_shell(
    seated: Drill, people: dict[str, User], paper: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "UNREAD", 1000)
    one = await opened(seated, people["blue"])
    await one.receive_from(5)
    for _ in range(5):
        paper.out.put_nowait(b"y" * 600)
    assert len(await one.receive_from(5)) + len(await one.receive_from(5)) == 1200
    assert await quiet(one, 0.4)

    await one.send_to(json.dumps({"drawn": 1200}))

    assert len(await one.receive_from(5)) == 600
    await one.disconnect()


async def test_a_silent_terminal_is_closed(
    seated: Drill, people: dict[str, User], paper: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "IDLE", 0.3)
    one = await opened(seated, people["blue"])

    words, code = await ending(one)
    assert (words["ended"], code) == ("idle", consumers.OVER)


async def _lose_seat(drill: Drill, people: dict[str, User]) -> None:
    await database_sync_to_async(services.leave_seat)(drill=drill, user=people["blue"])


async def _end_drill(drill: Drill, people: dict[str, User]) -> None:
    def end() -> None:
        with log.writing(drill.pk) as book:
            book.append(ev.Ended(reason="white"))

    await database_sync_to_async(end)()


async def _deactivate(drill: Drill, people: dict[str, User]) -> None:
    await User.objects.filter(pk=people["blue"].pk).aupdate(is_active=False)


@pytest.mark.parametrize("event", [_lose_seat, _end_drill, _deactivate])
async def test_a_terminal_closes_with_its_seat(
    seated: Drill, people: dict[str, User], paper: Pty, event: Callable[..., Awaitable[None]]
) -> None:
    one = await opened(seated, people["blue"])
    await one.receive_from(5)

    await event(await database_sync_to_async(fresh)(seated), people)

    words, code = await ending(one)
    assert (words["ended"], code, paper.closed) == ("seat", consumers.NOT_YOURS, True)
