"""An office computer at work: reads and saves files on the share, looks at the historian, writes mail.

Spec: `share` {host, port, user, password, read: [path…], write?: path}, `historian` {host, port, path}, `mail` {host,
port, sender, to: [address…], subjects: […]}, `dns` {server, names: [...]}, `every` (mean s between two actions, 12). Anything missing is not done.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Any

from cyber_range.engine.agents import dns_wire as wire
from cyber_range.engine.agents.context import Net, NodeContext, answer
from cyber_range.engine.agents.http_door import fetch


async def run(node: NodeContext) -> None:
    chance = random.Random(node.name)  # noqa: S311 - work habits are noise, not a secret
    counts: dict[str, int] = {}

    async def browse() -> None:
        share = node.spec["share"]
        login = str(share["user"]), str(share["password"])
        where = str(share["host"]), int(share.get("port", 8080))
        await fetch(node.net, *where, "/", login=login)
        await fetch(node.net, *where, chance.choice(share["read"]), login=login)
        if share.get("write") and chance.random() < 0.2:
            body = f"{node.name} {chance.randrange(10**6)}\n".encode() * chance.randrange(4, 40)
            await fetch(node.net, *where, str(share["write"]), method="PUT", body=body, login=login)

    async def look() -> None:
        historian = node.spec["historian"]
        await fetch(node.net, str(historian["host"]), int(historian.get("port", 8086)), str(historian["path"]))

    async def write_mail() -> None:
        mail = node.spec["mail"]
        message = EmailMessage()
        message["From"], message["To"] = str(mail["sender"]), chance.choice(mail["to"])
        message["Subject"] = chance.choice(mail["subjects"])
        message.set_content("见附件。\n" * chance.randrange(2, 30))
        await send_mail(node.net, str(mail["host"]), int(mail.get("port", 25)), message)

    async def ask_names() -> None:
        dns = node.spec["dns"]
        question = wire.Question(chance.randrange(0x10000), str(chance.choice(dns["names"])), wire.A)
        heard = asyncio.Event()
        sender = await node.net.udp(0, lambda data, peer: heard.set())
        try:
            sender.send(wire.query(question), str(dns["server"]), 53)
            await asyncio.wait_for(heard.wait(), 3)
        finally:
            sender.close()

    actions: list[tuple[str, Callable[[], Awaitable[None]], float]] = []
    for name, action, weight in (
        ("share", browse, 5.0),
        ("historian", look, 3.0),
        ("mail", write_mail, 2.0),
        ("dns", ask_names, 6.0),
    ):
        if name in node.spec:
            actions.append((name, action, weight))

    async def work() -> None:
        every = float(node.spec.get("every", 12))
        while True:
            await asyncio.sleep(chance.expovariate(1 / every))
            name, action, _ = chance.choices(actions, [weight for _, _, weight in actions])[0]
            try:
                await action()
                counts[name] = counts.get(name, 0) + 1
            except (OSError, TimeoutError):
                counts[f"{name}_failed"] = counts.get(f"{name}_failed", 0) + 1

    async def counters(_: dict[str, Any]) -> dict[str, Any]:
        return {"values": dict(counts)}

    node.emit("ready")
    working = asyncio.ensure_future(work()) if actions else None
    try:
        await answer(node, {"counters": counters})
    finally:
        if working is not None:
            working.cancel()


async def send_mail(net: Net, host: str, port: int, message: EmailMessage) -> None:
    """One message over SMTP; ConnectionError when the server refuses a step."""
    sock = await net.connect(host, port)
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        async with asyncio.timeout(10):
            body = bytes(message).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n.\r\n"
            lines = [b"", b"EHLO pc\r\n", f"MAIL FROM:<{message['From']}>\r\n".encode(),
                     f"RCPT TO:<{message['To']}>\r\n".encode(), b"DATA\r\n", body, b"QUIT\r\n"]  # fmt: skip
            for line in lines:
                writer.write(line)
                reply = await reader.readline()
                if reply[:1] not in (b"2", b"3"):
                    raise ConnectionError(f"mail server said {reply!r}")
    finally:
        writer.close()
