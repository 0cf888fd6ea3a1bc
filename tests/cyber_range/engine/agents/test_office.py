"""File share, mail and office work: what moves between them is real."""

from __future__ import annotations

import hashlib

import pytest

from cyber_range.engine.agents.http_door import fetch
from tests.cyber_range.engine.agents.loopback import LoopbackNet, Running, programs

SHARE = {
    "users": {"lin": "secret-1"},
    "files": {"/工艺/配方.csv": "水,500\n", "/报表/日产量.csv": "1\n"},
    "canaries": ["/工艺/配方.csv"],
}
LOGIN = ("lin", "secret-1")


@pytest.mark.parametrize("login", [None, ("lin", "wrong"), ("nobody", "secret-1"), ("", "")])
async def test_the_share_asks_who_is_there(login: tuple[str, str] | None) -> None:
    share = Running("share", "file_share", "127.30.0.2", SHARE)
    async with programs(share):
        status, _ = await fetch(LoopbackNet("127.30.0.9"), "127.30.0.2", 8080, "/", login=login)

    assert status == 401


async def test_files_are_read_written_deleted_restored_and_hashed() -> None:
    share = Running("share", "file_share", "127.31.0.2", SHARE)
    net = LoopbackNet("127.31.0.9")

    async def ask(method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        return await fetch(net, "127.31.0.2", 8080, path, method=method, body=body, login=LOGIN)

    async with programs(share):
        listing = await ask("GET", "/工艺/")
        read = await ask("GET", "/工艺/配方.csv")
        changed = await ask("PUT", "/工艺/配方.csv", "水,640\n".encode())
        new = await ask("PUT", "/新/a.txt", b"x")
        wrong_hash = (await share.ask("hash", path="/工艺/配方.csv"))["sha256"]
        gone = await ask("DELETE", "/报表/日产量.csv")
        missing = await ask("GET", "/报表/日产量.csv")
        restored = (await share.ask("restore"))["files"]
        right_hash = (await share.ask("hash", path="/工艺/配方.csv"))["sha256"]
        none = (await share.ask("hash", path="/nosuch"))["sha256"]

    assert "配方.csv" in listing[1].decode()
    assert [read, changed[0], new[0], gone[0], missing[0]] == [(200, "水,500\n".encode()), 204, 201, 204, 404]
    assert wrong_hash == hashlib.sha256("水,640\n".encode()).hexdigest()
    assert (restored, right_hash, none) == (2, hashlib.sha256("水,500\n".encode()).hexdigest(), None)
    assert [(m["path"], m["user"], m["peer"]) for m in share.of("canary")] == [("/工艺/配方.csv", "lin", "127.31.0.9")]


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"])
async def test_no_path_leaves_the_share(path: str) -> None:
    share = Running("share", "file_share", "127.32.0.2", SHARE)
    async with programs(share):
        status, body = await fetch(LoopbackNet("127.32.0.9"), "127.32.0.2", 8080, path, login=LOGIN)

    assert (status, body) == (404, b"not found")


async def test_an_office_pc_reads_and_mails_and_goes_on_when_something_is_down() -> None:
    share = Running("share", "file_share", "127.33.0.2", SHARE)
    mail = Running("mail", "mail_server", "127.33.0.2", {"domain": "plant.example"})
    work = {
        "every": 0.02,
        "share": {"host": "127.33.0.2", "user": "lin", "password": "secret-1", "read": ["/报表/日产量.csv"]},
        "mail": {
            "host": "127.33.0.2",
            "sender": "a@plant.example",
            "to": ["b@plant.example"],
            "subjects": ["今日产量"],
        },
        "historian": {"host": "127.33.0.7", "port": 8086, "path": "/"},
    }
    pc = Running("pc", "office_pc", "127.33.0.9", work)
    async with programs(share, mail, pc):
        letter = await mail.until("mail")
        while {"share", "mail", "historian_failed"} - set((await pc.ask("counters"))["values"]):
            pass
        box = (await mail.ask("mailbox"))["messages"]

    assert (letter["sender"], letter["to"], letter["subject"]) == ("a@plant.example", ["b@plant.example"], "今日产量")
    assert box[0]["from"] == "a@plant.example"
