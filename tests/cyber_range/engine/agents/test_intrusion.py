"""The intruder against a jump host and a controller, with and without defenders, and the tools defenders use."""

from __future__ import annotations

import io
from typing import Any

import pytest

from cyber_range.engine.agents.tools import fw, modbus, scan, ssh
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.agents.plans import filler

WEAK = {"user": "vendor", "password": "vendor888"}
OPS = ("ops", "Fluss-Ufer-42")


def jump(net: int) -> Running:
    accounts = [
        {**WEAK, "forward": [f"127.{net}.0.0/28:502"]},
        {"user": OPS[0], "password": OPS[1], "admin": True, "title": "厂内运维"},
    ]
    return Running("jump", "jump_host", f"127.{net}.0.6", {"accounts": accounts, "banner": "仅限授权人员"})


def intruder(net: int) -> Running:
    lab = {"range": "0123456789ab", "networks": [f"127.{net}.0.0/28"]}
    return Running("attacker", "attack", f"127.{net}.0.7", {"lab": lab})


async def did(attacker: Running, step: str, **args: Any) -> dict[str, Any]:
    reply = await attacker.ask("step", 30, step=step, args=args)
    return {key: value for key, value in reply.items() if key not in ("kind", "id", "started", "ended")}


async def typed(tool: Any, where: Running, *argv: str) -> tuple[int, str]:
    out = io.StringIO()
    code = await tool.main(list(argv), where.net, out)
    return code, out.getvalue()


async def console(where: Running, net: int, *command: str) -> tuple[int, str]:
    return await typed(ssh, where, f"{OPS[0]}@127.{net}.0.6", "--password", OPS[1], *command)


async def test_the_whole_campaign_with_evidence_and_undo() -> None:
    plc, attacker = filler(40), intruder(40)
    async with programs(plc, jump(40), attacker):
        login = await did(
            attacker, "login", host="127.40.0.6", credentials=[{"user": "root", "password": "root"}, WEAK]
        )
        found = await did(attacker, "scan", hosts=["127.40.0.0/28"], ports=[502, 22])
        identity = await did(attacker, "identify")
        points = await did(attacker, "enumerate", last=20, tables=["holding", "coil"])
        watch = await did(attacker, "monitor", host="127.40.0.4", table="holding", address=0, count=2, every=0.1)
        coil = await did(attacker, "write", host="127.40.0.4", table="coil", address=1, value=0)
        register = await did(attacker, "write", host="127.40.0.4", table="holding", address=0, value=640)
        changed = (await plc.ask("read", table="holding", address=0))["values"]
        undone = await did(attacker, "undo")
        restored = (await plc.ask("read", table="holding", address=0))["values"]
        interlock = (await plc.ask("read", table="coil", address=1))["values"]

    assert login == {
        "result": "done", "bytes_out": 0, "bytes_in": 0, "target": "127.40.0.6", "port": 22, "user": "vendor",
        "tried": ["root", "vendor"],
    }  # fmt: skip
    assert (found["open"], found["attempts"], found["not_allowed"]) == ({"127.40.0.4": [502]}, 28, 14)
    assert identity["devices"] == {"127.40.0.4": ["Hengda Automation", "HD-F520", "V3.11"]}
    assert points["points"] == {
        "127.40.0.4/holding/0": 500, "127.40.0.4/holding/1": 60, "127.40.0.4/coil/0": 1, "127.40.0.4/coil/1": 1,
    }  # fmt: skip
    assert watch["values"] == [500, 60]
    assert (coil["before"], coil["after"], coil["bytes_out"]) == (1, 0, 36)
    assert (register["before"], register["after"], changed) == (500, 640, [640])
    assert (len(undone["restored"]), restored, interlock) == (2, [500], [1])


async def test_a_changed_password_and_a_kick_stop_the_intruder() -> None:
    plc, attacker = filler(41), intruder(41)
    async with programs(plc, jump(41), attacker):
        await did(attacker, "login", host="127.41.0.6", credentials=[WEAK])
        sessions = await console(attacker, 41, "sessions")
        changed = await console(attacker, 41, "passwd", "vendor", "neu 7 Worte lang")
        still_in = await did(attacker, "write", host="127.41.0.4", table="holding", address=0, value=640)
        kicked = await console(attacker, 41, "kick", "vendor")
        out = await did(attacker, "write", host="127.41.0.4", table="holding", address=0, value=700)
        old = await attacker.ask("try_login", service="ssh", host="127.41.0.6", port=22, **WEAK)
        new = await attacker.ask(
            "try_login", service="ssh", host="127.41.0.6", port=22, user="vendor", password="neu 7 Worte lang"
        )
        value = (await plc.ask("read", table="holding", address=0))["values"]

    assert sessions[0] == 0
    assert "vendor" in sessions[1]
    assert "127.41.0.7" in sessions[1]
    assert (changed, kicked) == ((0, "vendor 的口令已修改\n"), (0, "已断开 vendor(来自 127.41.0.7)\n"))
    assert still_in["result"] == "done"
    assert (out["result"], out["reason"]) == ("blocked", "the session was closed and the password no longer works")
    assert (old["reached"], old["ok"], new["ok"], value) == (True, False, True, [640])


async def test_a_locked_account_is_refused() -> None:
    attacker = intruder(42)
    async with programs(jump(42), attacker):
        await console(attacker, 42, "lock", "vendor")
        outcome = await did(attacker, "login", host="127.42.0.6", credentials=[WEAK])
        listed = await console(attacker, 42, "accounts")

    assert (outcome["result"], outcome["reason"]) == ("blocked", "127.42.0.6 refused every known password")
    assert "已锁定" in listed[1]


async def test_nothing_inside_blocks_the_following_steps() -> None:
    attacker = intruder(43)
    async with programs(jump(43), attacker):
        before = await did(attacker, "scan", hosts=["127.43.0.4"])
        await did(attacker, "login", host="127.43.0.6", credentials=[WEAK])
        closed = await did(attacker, "scan", hosts=["127.43.0.4"])
        lost = await did(attacker, "identify")
        outside = await attacker.ask(
            "step", step="write", args={"host": "8.8.8.8", "table": "coil", "address": 1, "value": 1}
        )
        unknown = await attacker.ask("step", step="dance", args={})

    assert [(r["result"], r["reason"]) for r in (before, closed, lost)] == [
        ("blocked", "scan needs session, which no step has gained"), ("blocked", "nothing inside answers"),
        ("blocked", "no host with port 502 was found"),
    ]  # fmt: skip
    assert "8.8.8.8 is not an address of this lab" in outside["error"]
    assert "the intruder knows no step 'dance'" in unknown["error"]


async def test_the_vendor_account_has_no_console_and_weak_new_passwords_are_refused() -> None:
    attacker = intruder(44)
    async with programs(jump(44), attacker):
        vendor = await typed(ssh, attacker, "vendor@127.44.0.6", "--password", WEAK["password"], "accounts")
        short = await console(attacker, 44, "passwd", "vendor", "kurz")
        same = await console(attacker, 44, "passwd", OPS[0], OPS[1])
        nobody = await console(attacker, 44, "passwd", "nobody", "long enough 1")
        wrong = await typed(ssh, attacker, "ops@127.44.0.6", "--password", "nope", "accounts")

    assert vendor == (1, "此账号只能用于转发，没有控制台权限。\n")
    assert (short, same, nobody) == ((1, "口令至少 10 位\n"), (1, "新口令与原口令相同\n"), (1, "没有账号 nobody\n"))
    assert wrong[0] == 5


async def test_an_interactive_session_goes_line_by_line() -> None:
    attacker = intruder(45)
    out = io.StringIO()
    out.stdin = io.StringIO(f"{OPS[1]}\naccounts\npasswd vendor\nganz neues wort 1\nexit\n")  # type: ignore[attr-defined]
    async with programs(jump(45), attacker):
        code = await ssh.main([f"{OPS[0]}@127.45.0.6"], attacker.net, out)  # type: ignore[arg-type]

    assert code == 0
    assert "厂内运维" in out.getvalue()
    assert "vendor 的口令已修改" in out.getvalue()


async def test_lb_modbus_and_lb_scan_say_what_they_find() -> None:
    plc, person = filler(46), intruder(46)
    async with programs(plc, person):
        read = await typed(modbus, person, "read", "127.46.0.4", "保持寄存器", "0", "2")
        write = await typed(modbus, person, "write", "127.46.0.4", "holding", "0", "505")
        watch = await typed(
            modbus, person, "watch", "127.46.0.4", "holding", "0", "1", "--every", "0.01", "--times", "3"
        )
        identity = await typed(modbus, person, "id", "127.46.0.4")
        refused = await typed(modbus, person, "read", "127.46.0.4", "holding", "900")
        nobody = await typed(modbus, person, "read", "127.46.0.5", "holding", "0")
        scanned = await typed(scan, person, "127.46.0.3-5", "--ports", "502", "--modbus")
        too_wide = await typed(scan, person, "127.0.0.0/8")

    assert (read, write) == ((0, "0: 500\n1: 60\n"), (0, "已写入 holding 0: 505\n"))
    assert watch[1].endswith(" 0: 505\n")
    assert watch[1].count("\n") == 1
    assert identity == (0, "厂商: Hengda Automation\n产品代码: HD-F520\n版本: V3.11\n")
    assert refused == (1, "127.46.0.4 没有照办：function 3: exception 2 (illegal data address)\n")
    assert nobody == (1, "连接 127.46.0.5:502 失败：连接被拒绝（端口没有开放）\n")
    assert "127.46.0.4:502  开放  modbus\n    Hengda Automation / HD-F520 / V3.11\n" in scanned[1]
    assert too_wide[0] == 2


async def test_lb_fw_reads_like_the_rules_it_writes() -> None:
    gate = Running(
        "firewall", "firewall", "127.47.0.2",
        {"default": "drop", "rules": [{"action": "accept", "src": "10.0.0.0/28", "proto": "tcp", "dport": "502", "comment": "主站"}]},
    )  # fmt: skip
    async with programs(gate):
        block = await typed(fw, gate, "block", "10.0.0.9", "--dst", "10.0.2.0/28", "--port", "502")
        allow = await typed(fw, gate, "allow", "10.0.0.5", "10.0.2.1", "80")
        listed = await typed(fw, gate, "list")
        deleted = await typed(fw, gate, "delete", "1")
        wrong = await typed(fw, gate, "delete", "99")
        bad = await typed(fw, gate, "block", "10.0.0.300")
        changed = await gate.until("ruleset")
        await typed(fw, gate, "restore")
        restored = await gate.ask("rules")

    assert (block[0], allow[0], deleted[0], wrong, bad[0]) == (0, 0, 0, (1, "lb-fw: no rule has handle 99\n"), 1)
    assert listed[1].splitlines() == [
        "句柄  命中  规则",
        "2     0     丢弃 来自 10.0.0.9 去往 10.0.2.0/28 tcp 端口 502",
        "-     -     放行 已建立的连接",
        "3     0     放行 来自 10.0.0.5 去往 10.0.2.1 tcp 端口 80",
        "1     0     放行 来自 10.0.0.0/28 tcp 端口 502 # 主站",
        "-     0     其余一律丢弃",
    ]
    assert changed["default"] == "drop"
    assert [rule["comment"] for rule in restored["rules"]] == ["主站"]


@pytest.mark.parametrize("tool", [fw, modbus, scan, ssh])
async def test_every_tool_explains_itself_in_chinese(tool: Any) -> None:
    person = intruder(48)
    async with programs(person):
        code, text = await typed(tool, person, "--help")

    assert code == 0
    assert "例：" in text
