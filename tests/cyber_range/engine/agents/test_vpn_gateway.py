"""The remote-access gateway: who gets in, from where, for how long; what its log says; the engineer who lives with it."""

from __future__ import annotations

import io
from typing import Any

from cyber_range.engine.agents.tools import ssh
from tests.cyber_range.engine.agents import plc_specs
from tests.cyber_range.engine.agents.loopback import Running, programs

OPS = ("ops", "Fluss-Ufer-42")
VENDOR = ("yuchen", "Yc-2024-svc")
CONNECTED = "yuchen 从 {peer} 连到 {plc}:44818"


def gateway(net: int, **terms: Any) -> Running:
    accounts = [
        {
            "user": VENDOR[0],
            "password": VENDOR[1],
            "forward": [f"127.{net}.0.0/28:44818"],
            "title": "机床供应商",
            **terms,
        },
        {"user": OPS[0], "password": OPS[1], "admin": True, "title": "厂内运维"},
    ]
    return Running("vpn", "vpn_gateway", f"127.{net}.0.6", {"accounts": accounts})


def machine(net: int) -> Running:
    return Running("plc", "enip_plc", f"127.{net}.0.4", plc_specs.enip())


def engineer(net: int, *passwords: str) -> Running:
    spec = {
        "gateway": {"host": f"127.{net}.0.6"}, "user": VENDOR[0], "passwords": passwords, "every": 0.2, "retry": 0.2,
        "machines": [f"127.{net}.0.4"], "tags": ["Level_SP"],
    }  # fmt: skip
    return Running("engineer", "remote_engineer", f"127.{net}.0.8", spec)


async def console(where: Running, net: int, *command: str, tool: Any = ssh) -> tuple[int, str]:
    out = io.StringIO()
    code = await tool.main([f"{OPS[0]}@127.{net}.0.6", "--password", OPS[1], *command], where.net, out)
    return code, out.getvalue()


async def tried(where: Running, net: int, password: str = VENDOR[1]) -> dict[str, Any]:
    said = await where.ask("try_login", host=f"127.{net}.0.6", port=22, user=VENDOR[0], password=password)
    return {"reached": said["reached"], "ok": said["ok"]}


def state(which: str) -> Any:
    return lambda message: message["kind"] == "maintenance" and message["state"] == which


async def test_a_timed_account_gets_in_while_a_work_order_is_open_and_is_thrown_out_at_its_end() -> None:
    vpn, desk, plc = gateway(141, timed=True), engineer(141, VENDOR[1]), machine(141)
    async with programs(vpn, desk, plc):
        await desk.until(state("refused"))
        before = await vpn.ask("account", user=VENDOR[0])
        opened = await console(vpn, 141, "open", VENDOR[0], "30", "WX-0712")
        await desk.until(state("in"))
        await vpn.until("forward")
        during = await vpn.ask("account", user=VENDOR[0], network="127.141.0.8/32")
        listed = (await console(vpn, 141, "accounts"))[1].splitlines()[0]
        vpn.inbox.put_nowait({"kind": "clock", "speed": 1, "at": 31 * 60})
        await desk.until(state("out"))
        after = await vpn.ask("account", user=VENDOR[0])
        log = (await console(vpn, 141, "log"))[1]

    closed = {"known": True, "locked": False, "timed": True, "open": False, "sessions": 0, "strangers": 0}
    assert without_envelope(before) == {**closed, "order": ""}
    assert opened == (0, "yuchen 开通 30 分钟，工单 WX-0712\n")
    assert without_envelope(during) == {**closed, "order": "WX-0712", "open": True, "sessions": 1, "strangers": 1}
    assert listed.endswith("开通中，还剩 30 分钟 WX-0712  不限来源")
    assert without_envelope(after) == {**closed, "order": "WX-0712"}
    assert "失败 yuchen 来自 127.141.0.8（不在开通时段）" in log
    assert CONNECTED.format(peer="127.141.0.8", plc="127.141.0.4") in log
    assert "来自 127.141.0.8 的会话被断开（不在开通时段）" in log


async def test_an_account_is_bound_to_where_it_may_come_from() -> None:
    vpn, here = gateway(142), Running("probe", "probe", "127.142.0.9", {})
    async with programs(vpn, here):
        anywhere = await tried(here, 142)
        bound = await console(vpn, 142, "source", VENDOR[0], "127.142.0.8/32")
        elsewhere = await tried(here, 142)
        nonsense = await console(vpn, 142, "source", VENDOR[0], "somewhere")
        await console(vpn, 142, "source", VENDOR[0], "any")
        again = await tried(here, 142)

    assert (anywhere, elsewhere, again) == (
        {"reached": True, "ok": True}, {"reached": True, "ok": False}, {"reached": True, "ok": True},
    )  # fmt: skip
    assert bound == (0, "yuchen 只许从 127.142.0.8/32 登录\n")
    assert nonsense == (1, "somewhere 不是网段，写成 10.1.2.0/28 或一个地址\n")


async def test_a_new_password_does_not_end_a_session_and_shut_does() -> None:
    vpn, desk, plc = gateway(143), engineer(143, VENDOR[1], "told-by-phone-7"), machine(143)
    here = Running("probe", "probe", "127.143.0.9", {})
    async with programs(vpn, desk, plc, here):
        await desk.until(state("in"))
        await console(vpn, 143, "passwd", VENDOR[0], "told-by-phone-7")
        still = await vpn.ask("account", user=VENDOR[0])
        shut = await console(vpn, 143, "shut", VENDOR[0])
        await desk.until(state("out"))
        await desk.until(lambda m: m["kind"] == "maintenance" and desk.of("maintenance")[-1]["state"] == "in")
        old, new = await tried(here, 143), await tried(here, 143, "told-by-phone-7")
        wrong = await console(vpn, 143, "open", VENDOR[0], "many")
        nobody = await console(vpn, 143, "shut", "nobody")

    assert (still["sessions"], shut) == (1, (0, "yuchen 已收回，断开 1 个会话\n"))
    assert (old["ok"], new["ok"]) == (False, True)
    assert wrong == (1, "分钟数要在 1 到 480 之间\n")
    assert nobody == (1, "没有账号 nobody\n")


def without_envelope(reply: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in reply.items() if key not in ("kind", "id")}
