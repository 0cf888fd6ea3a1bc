"""The office's mail server: takes mail over SMTP and keeps the last messages; it never sends any anywhere.

Spec: `domain`, `port` (25), `keep` (200 messages). Emits `mail` {sender, to, subject, size}. Command `mailbox` answers
with the kept messages.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections import deque
from typing import Any

from cyber_range.engine.agents.context import NodeContext, answer

LARGEST = 256 * 1024  # bytes of one message
PATIENCE = 30.0  # s for a whole conversation


async def run(node: NodeContext) -> None:
    domain = str(node.spec.get("domain", "plant.example"))
    kept: deque[dict[str, Any]] = deque(maxlen=int(node.spec.get("keep", 200)))

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, to = "", [""]

        async def say(code: int, text: str) -> None:
            writer.write(f"{code} {text}\r\n".encode())
            await writer.drain()

        await say(220, f"mail.{domain} ESMTP")
        while line := (await reader.readline()).decode("utf-8", "replace").strip():
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb in ("HELO", "EHLO", "NOOP", "RSET"):
                sender, to = ("", [""]) if verb == "RSET" else (sender, to)
                await say(250, f"mail.{domain}")
            elif verb == "MAIL":
                sender, to = rest.partition(":")[2].strip(" <>"), []
                await say(250, "OK")
            elif verb == "RCPT":
                to = [*filter(None, to), rest.partition(":")[2].strip(" <>")]
                await say(250, "OK")
            elif verb == "DATA":
                await say(354, "end with <CRLF>.<CRLF>")
                raw = await reader.readuntil(b"\r\n.\r\n")
                message = email.message_from_bytes(raw[:-5], policy=email.policy.default)
                kept.append({"from": sender, "to": to, "subject": str(message["subject"] or ""), "size": len(raw)})
                node.emit("mail", sender=sender, to=to, subject=kept[-1]["subject"], size=len(raw))
                await say(250, "queued")
            elif verb == "QUIT":
                await say(221, "bye")
                return
            else:
                await say(502, "not implemented")

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away or talked nonsense
        finally:
            writer.close()

    async def mailbox(_: dict[str, Any]) -> dict[str, Any]:
        return {"messages": list(kept)}

    def factory() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=LARGEST), on_connection)

    server = await node.net.create_server(factory, int(node.spec.get("port", 25)))
    node.emit("ready")
    try:
        await answer(node, {"mailbox": mailbox})
    finally:
        server.close()
