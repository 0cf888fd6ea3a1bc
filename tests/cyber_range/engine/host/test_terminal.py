"""Terminals: one-use tickets, frames, recordings, limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cyber_range.engine.errors import Refused
from cyber_range.engine.host import terminal as terminal_module
from cyber_range.engine.host.client import PtyStream
from cyber_range.engine.host.tickets import Bound, Tickets
from cyber_range.engine.host.wire import Frame, frame, read_frame
from tests.cyber_range.engine.host.conftest import Running

WHO: dict[str, Any] = {"session": "p1", "seat": "blue", "node": "ws"}


async def opened(host: Running, range_id: str, **who: Any) -> PtyStream:
    about = {**WHO, **who, "range_id": range_id}
    ticket = (await host.client.ticket(**about))["ticket"]
    return await host.client.pty(ticket=ticket, **about)


async def read_until(pty: PtyStream, wanted: bytes) -> bytes:
    shown = b""
    async with asyncio.timeout(10):
        while wanted not in shown and (data := await pty.read()):
            shown += data
    return shown


async def test_a_terminal_runs_commands_and_is_recorded(host: Running, range_id: str) -> None:
    pty = await opened(host, range_id)

    await pty.write(b"lb-scan --help\r")
    shown = await read_until(pty, b"lb-scan")
    await pty.resize(120, 40)
    await asyncio.sleep(0.1)
    await pty.close()
    await asyncio.sleep(0.2)

    assert b"lb-scan" in shown
    [about] = (await host.client.recordings(range_id=range_id))["recordings"]
    assert (about["session"], about["seat"], about["node"], about["name"]) == ("p1", "blue", "ws", pty.recording)
    data = b"".join([piece async for piece in host.client.file("recording", range_id=range_id, name=pty.recording)])
    head, *rows = (json.loads(row) for row in data.decode().splitlines())
    assert (head["version"], head["width"], head["height"]) == (2, 80, 24)
    assert "".join(text for _, kind, text in rows if kind == "i") == "lb-scan --help\r"
    assert "lb-scan" in "".join(text for _, kind, text in rows if kind == "o")
    assert [text for _, kind, text in rows if kind == "r"] == ["120x40"]
    page = await host.client.events(range_id=range_id, limit=5000, wait=1)
    assert [e["data"]["action"] for e in page["events"] if e["kind"] == "console"] == ["opened", "closed"]


async def test_a_ticket_is_good_once(host: Running, range_id: str) -> None:
    about = {**WHO, "range_id": range_id}
    ticket = (await host.client.ticket(**about))["ticket"]
    first = await host.client.pty(ticket=ticket, **about)

    with pytest.raises(Refused) as caught:
        await host.client.pty(ticket=ticket, **about)

    assert str(caught.value) == "this ticket was used already or never given. Open the terminal again"
    await first.close()


@pytest.mark.parametrize("other", [{"session": "p2"}, {"node": "fw"}, {"range_id": "0" * 12}])
async def test_a_ticket_for_another_terminal_is_burnt(host: Running, range_id: str, other: dict[str, str]) -> None:
    about = {**WHO, "range_id": range_id}
    ticket = (await host.client.ticket(**about))["ticket"]

    with pytest.raises(Refused, match="this ticket is for another terminal"):
        await host.client.pty(ticket=ticket, **{**about, **other})

    with pytest.raises(Refused, match="used already"):
        await host.client.pty(ticket=ticket, **about)


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ({"node": "plc"}, "seat blue has no console on node plc. Choose a node of the seat"),
        ({"seat": "observer"}, "seat observer has no console on node ws. Choose a node of the seat"),
        ({"seat": "king"}, "there is no seat 'king' in scenario tiny. There is: white, blue, observer"),
    ],
)
async def test_no_ticket_without_a_console(host: Running, range_id: str, who: dict[str, str], said: str) -> None:
    with pytest.raises(Refused) as caught:
        await host.client.ticket(**{**WHO, **who, "range_id": range_id})

    assert str(caught.value) == said


def test_tickets_expire() -> None:
    now = [100.0]
    tickets = Tickets(lambda: now[0])
    bound = Bound("0" * 12, "p", "blue", "ws")
    ticket, expires = tickets.issue(bound, 30)

    now[0] = expires + 0.1

    with pytest.raises(Refused, match="this ticket has expired"):
        tickets.redeem(ticket, bound)


async def test_hanging_up_a_seat_ends_its_terminals_and_tickets(host: Running, range_id: str) -> None:
    pty = await opened(host, range_id)
    other = await opened(host, range_id, session="p2")
    ticket = (await host.client.ticket(**WHO, range_id=range_id))["ticket"]

    assert await host.client.hang_up(range_id=range_id, session="p1") == {"closed": 2}

    await read_until(pty, b"never shown")
    assert pty.ended == {"reason": "closed", "text": "the seat or the drill ended"}
    with pytest.raises(Refused):
        await host.client.pty(ticket=ticket, **WHO, range_id=range_id)
    await other.write(b"\r")
    assert other.ended is None
    await other.close()


async def test_the_end_of_the_range_ends_its_terminals(host: Running, range_id: str) -> None:
    pty = await opened(host, range_id)

    await host.client.destroy(range_id=range_id)
    await read_until(pty, b"never shown")

    assert pty.ended == {"reason": "range", "text": "the range ended"}


async def test_a_session_has_at_most_six_terminals(host: Running, range_id: str) -> None:
    open_ones = [await opened(host, range_id) for _ in range(6)]

    with pytest.raises(Refused) as caught:
        await opened(host, range_id)

    assert str(caught.value) == "6 terminals are open already. Close one of them"
    for pty in open_ones:
        await pty.close()


class Endless:
    """A shell that shows as much as anybody takes."""

    def __init__(self) -> None:
        self.shown = 0

    async def read(self, limit: int = 65536) -> bytes:
        await asyncio.sleep(0)
        self.shown += limit
        return b"x" * limit

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def close(self) -> None: ...


class NoRecording:
    def add(self, kind: str, data: bytes) -> None: ...

    def resized(self, columns: int, rows: int) -> None: ...

    def close(self) -> None: ...


async def served(pty: Any, **limits: Any) -> tuple[asyncio.Task[str], asyncio.StreamReader, asyncio.StreamWriter, Any]:
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=256 * 1024)
        one = terminal_module.Terminal(
            Bound("0" * 12, "p", "blue", "ws"), pty, NoRecording(), reader, writer, range_ended=lambda: False, **limits  # type: ignore[arg-type]
        )  # fmt: skip
        result.set_result(asyncio.ensure_future(one.serve()))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return await result, reader, writer, server


async def test_a_browser_that_does_not_read_holds_the_shell() -> None:
    shell = Endless()
    task, _, writer, server = await served(shell)
    await asyncio.sleep(0.5)

    held = shell.shown
    await asyncio.sleep(0.3)

    assert shell.shown == held < 32 * 1024 * 1024
    writer.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()


async def test_too_much_output_ends_the_terminal() -> None:
    task, reader, writer, server = await served(Endless(), output_limit=1024 * 1024)

    kinds = []
    while (got := await read_frame(reader)) is not None:
        kinds.append(got[0])
        if got[0] is Frame.ENDED:
            assert json.loads(got[1]) == {"reason": "limit", "text": "the terminal showed 64 MiB"}
            break

    assert (kinds[-1], await task) == (Frame.ENDED, "limit")
    writer.close()
    server.close()


class Silent(Endless):
    async def read(self, limit: int = 65536) -> bytes:
        await asyncio.sleep(60)
        return b""


async def test_an_idle_terminal_ends_and_a_typing_one_does_not() -> None:
    task, _, writer, server = await served(Silent(), idle_seconds=0.4)
    for _ in range(4):
        writer.write(frame(Frame.DATA, b"a"))
        await asyncio.sleep(0.2)
    assert not task.done()

    assert await asyncio.wait_for(task, 3) == "idle"
    writer.close()
    server.close()


async def test_ping_is_answered_and_nonsense_ends_it() -> None:
    task, reader, writer, server = await served(Silent())
    writer.write(frame(Frame.PING, b"42"))
    assert await read_frame(reader) == (Frame.PONG, b"42")

    writer.write(b"\xff" * 20)

    assert await asyncio.wait_for(task, 3) == "protocol"
    writer.close()
    server.close()
