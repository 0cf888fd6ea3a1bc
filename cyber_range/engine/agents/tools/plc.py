"""lb-plc: the plant's other protocols by hand: S7, EtherNet/IP, OPC UA, IEC 104, DNP3, BACnet and MQTT.

A thin layer over agents.clients. Programs of controllers are compared by SHA-256 and restored from a file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.http_door import fetch
from cyber_range.engine.agents.tools import plc_words
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, has_files, say, why

PATIENCE = 8.0


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-plc", description="用各种工控协议读写设备 (read and write devices in the plant's protocols)",
        epilog="例：\n  lb-plc s7 info 10.1.2.4\n  lb-plc s7 write 10.1.2.4 DB1.DBD0 60\n  lb-plc s7 hash 10.1.2.4 OB1\n"
        "  lb-plc s7 download 10.1.2.4 OB1 --from http://10.1.1.5:8080/工程/OB1.txt --user ews --password 口令\n"
        "  lb-plc enip write 10.1.2.5 Level_SP 60\n  lb-plc bacnet write 10.1.3.6 analog-value,1 -18\n"
        "  lb-plc bacnet write 10.1.3.6 analog-value,1 null --priority 8\n"
        "  lb-plc mqtt listen 10.1.2.9 \"#\" --seconds 5\n  lb-plc 104 read 10.1.4.7 --common 7",
    )  # fmt: skip
    protocols = top.add_subparsers(dest="protocol", required=True, metavar="协议")
    for protocol, (text, port, settings) in plc_words.PROTOCOLS.items():
        one = protocols.add_parser(protocol, help=text)
        actions = one.add_subparsers(dest="action", required=True, metavar="动作")
        for action, (meaning, words) in plc_words.ACTIONS[protocol].items():
            act = actions.add_parser(action, help=meaning)
            act.add_argument("host", metavar="地址")
            for word, many in words:
                act.add_argument(word, metavar=plc_words.NAMES.get(word, word), **({"nargs": many} if many else {}))
            act.add_argument("--port", type=int, default=port, help="端口 (port)")
            for name, kind, default, meaning_of in settings:
                act.add_argument(f"--{name}", type=kind, default=default, help=meaning_of)
            if action in ("download", "restore", "upload"):
                act.add_argument("--file", default="", help="本机文件 (a file here)")
            if action in ("download", "restore"):
                act.add_argument(
                    "--from", dest="source", default="", help="从文件服务器取，http://… (fetch from a share)"
                )
                act.add_argument("--web-user", default="", help="文件服务器账号 (its user)")
                act.add_argument("--web-password", default="", help="文件服务器口令 (its password)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    try:
        if options.action in ("download", "restore"):
            options.content = await content_of(options, net, out)
        said = await plc_words.RUN[options.protocol](options, net)
        if options.action == "upload" and options.file:
            if not has_files(out):
                raise ValueError("这里没有本机文件，去掉 --file 直接看内容")
            await asyncio.to_thread(Path(options.file).write_bytes, said["content"])
            said = f"已写入 {options.file}，{len(said['content'])} 字节，SHA-256 {said['sha256']}"
        show(said, out)
    except PermissionError as exc:
        say(out, f"lb-plc: {options.host} 拒绝：{exc}")
        return 4
    except (ValueError, LookupError) as exc:
        say(out, f"lb-plc: {exc.args[0] if exc.args else exc}")
        return 2
    except (OSError, TimeoutError) as exc:
        say(out, f"lb-plc: 连接 {options.host}:{options.port} 失败：{why(exc)}")
        return 1
    return 0


async def content_of(options: Any, net: Net, out: Out) -> bytes:
    """What is to be loaded: from a share, a file here, or the words after the block."""
    if options.source:
        scheme, _, rest = options.source.partition("://")
        place, slash, path = rest.partition("/")
        host, _, port = place.partition(":")
        if scheme != "http" or not slash:
            raise ValueError(f"{options.source}：要写成 http://地址:端口/路径")
        login = (options.web_user, options.web_password) if options.web_user else None
        status, body = await fetch(net, host, int(port or 80), "/" + path, login=login, timeout=PATIENCE)
        if status != 200:
            raise ValueError(f"{options.source}：应答 {status}")
        return body
    if options.file:
        if not has_files(out):
            raise ValueError("这里没有本机文件，请用 --from 从文件服务器取")
        return await asyncio.to_thread(Path(options.file).read_bytes)
    raise ValueError("要下装的内容：--from http://… 或 --file 文件")


def show(said: Any, out: Out) -> None:
    if isinstance(said, dict) and "content" in said:
        say(out, said["content"].decode("utf-8", "replace").rstrip("\n"))
        say(out, f"SHA-256 {said['sha256']}")
    elif isinstance(said, dict):
        for key, value in said.items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            say(out, f"{key}: {shown}")
        if not said:
            say(out, "（没有应答内容）")
    else:
        say(out, str(said))
