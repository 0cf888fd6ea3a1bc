"""Job dispatch: work orders of the MES and programs of the share reach the controller, and stop when one is missing."""

from __future__ import annotations

import asyncio
from typing import Any

from cyber_range.engine.agents.http_door import fetch
from cyber_range.engine.agents.modbus_link import ModbusLink
from cyber_range.engine.process.cnc_workshop import checksum
from cyber_range.engine.process.controllers import LOGICS
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs

TEXT = "%\nO1001\nM30\n"
SHARE = {
    "users": {"dnc": "secret-1", "boss": "secret-2"}, "admin": "boss",
    "files": {"/CNC程序/O1001.nc": TEXT},
}  # fmt: skip
MES = {
    "accounts": [{"user": "dnc", "password": "secret-1", "role": "reader"}],
    "documents": {"/工单/1.json": '{"program": 1001, "file": "/CNC程序/O1001.nc"}'}, "jobs": {"cnc1": "/工单/1.json"},
}  # fmt: skip


def machine() -> dict[str, Any]:
    logic = LOGICS["cnc_machine"]()
    placed: dict[str, dict[str, int]] = {tag.name: {"address": 30 + n} for n, tag in enumerate(logic.tags)}
    for at, name in enumerate(("job_program", "job_checksum", "job_quantity")):
        placed[name] = {"address": 10 + at, "start": 0}
    return {"logic": "cnc_machine", "controller": "cnc1", "plant": "127.41.0.9", "size": 200, "tags": placed}


def dispatch() -> dict[str, Any]:
    login = {"user": "dnc", "password": "secret-1"}
    return {
        "mes": {"host": "127.41.0.3", "port": 8081, **login}, "share": {"host": "127.41.0.2", "port": 8080, **login},
        "machines": {"cnc1": {"host": "127.41.0.4", "address": 10}}, "ahead": 12, "every": 0.05,
    }  # fmt: skip


async def until(holds: Any) -> Any:
    async with asyncio.timeout(20):
        while not (found := await holds()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


async def test_a_machine_gets_its_work_and_nothing_once_the_program_is_gone() -> None:
    share, mes = Running("files", "file_share", "127.41.0.2", SHARE), Running("mes", "business_app", "127.41.0.3", MES)
    plc = Running("plc", "modbus_plc", "127.41.0.4", machine())
    dnc = Running("dnc", "job_dispatch", "127.41.0.5", dispatch())
    net = LoopbackNet("127.41.0.8")

    async with programs(share, mes, plc, dnc):
        link = await ModbusLink.connect(net, "127.41.0.4")

        async def given() -> list[int] | None:
            values = await link.read("holding", 10, 3)
            return values if values[2] else None

        work = await until(given)
        await fetch(net, "127.41.0.2", 8080, "/CNC程序/O1001.nc", method="DELETE", login=("dnc", "secret-1"))
        await link.write("holding", 12, [3])

        async def failed() -> list[dict[str, Any]]:
            return [told for told in dnc.of("dispatch_failed") if "share" in told["why"]]

        why = (await until(failed))[-1]["why"]
        left = await link.read("holding", 12, 1)
        link.close()

    assert work == [1001, checksum(TEXT), 12]
    assert why == "share answered 404 for /CNC程序/O1001.nc"
    assert left == [3]


async def test_the_shares_admin_sees_who_wrote_and_changes_a_password() -> None:
    share = Running("files", "file_share", "127.42.0.2", SHARE)
    net, boss, own = LoopbackNet("127.42.0.9"), ("boss", "secret-2"), ("dnc", "secret-1")

    async def ask(method: str, path: str, login: tuple[str, str], body: bytes = b"") -> tuple[int, bytes]:
        return await fetch(net, "127.42.0.2", 8080, path, method=method, body=body, login=login)

    async with programs(share):
        await ask("PUT", "/公共/a.scr", own, b"x")
        not_his = (await ask("PUT", "/accounts/boss/password", own, b"stolen-1"))[0]
        short = (await ask("PUT", "/accounts/dnc/password", boss, b"abc"))[0]
        unknown = (await ask("PUT", "/accounts/nobody/password", boss, b"secret-3"))[0]
        changed = (await ask("PUT", "/accounts/dnc/password", boss, b"secret-3"))[0]
        old = (await ask("GET", "/", own))[0]
        new = (await ask("GET", "/", ("dnc", "secret-3")))[0]
        curious = (await ask("GET", "/audit", ("dnc", "secret-3")))[0]
        rows = (await ask("GET", "/audit?last=9", boss))[1].decode()

    assert (not_his, short, unknown, changed, old, new, curious) == (403, 400, 404, 204, 401, 200, 403)
    assert '"action": "put", "path": "/公共/a.scr"' in rows
    assert '"peer": "127.42.0.9"' in rows
