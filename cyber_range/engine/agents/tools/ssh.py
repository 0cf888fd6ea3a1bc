"""lb-ssh: an SSH client for the jump host: one command, or line by line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncssh

from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, next_line, say, stdin_of, why


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-ssh",
        description="登录跳板机管理控制台，或执行一条命令 (log in to the jump host, or run one command)",
        epilog="例：\n  lb-ssh ops@10.1.3.2 --password 口令 accounts\n  lb-ssh ops@10.1.3.2 --password 口令 passwd vendor 新口令\n"
        "  lb-ssh ops@10.1.3.2          不写命令则进入控制台",
    )  # fmt: skip
    top.add_argument("login", metavar="账号@地址", help="USER@HOST")
    top.add_argument("--password", default=None, help="口令，不写则提示输入 (asked for when missing)")
    top.add_argument("--port", type=int, default=22, help="端口 (port)")
    top.add_argument("command", nargs="*", help="要执行的命令 (command)")
    return top


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_intermixed_args(list(argv))  # options may stand before or after the login
    except Ended as end:
        return end.code
    user, _, host = options.login.partition("@")
    if not user or not host:
        say(out, "lb-ssh: 写作 账号@地址，例如 ops@10.1.3.2")
        return 2
    password = options.password
    if password is None:
        out.write("口令：")
        out.flush()
        password = (await next_line(out)).rstrip("\r\n")
    try:
        sock = await net.connect(host, options.port)
        connection = await asyncssh.run_client(
            sock, username=user, password=password, known_hosts=None, client_keys=None, agent_path=None,
            login_timeout=15, preferred_auth="password",
        )  # fmt: skip
    except asyncssh.PermissionDenied:
        say(out, f"{host} 拒绝登录：账号或口令不对，或账号已锁定")
        return 5
    except (OSError, TimeoutError, asyncssh.Error) as exc:
        say(out, f"连接 {host}:{options.port} 失败：{why(exc)}")
        return 1
    try:
        if not options.command:
            return await converse(connection, out)
        result = await connection.run(" ".join(map(quoted, options.command)), timeout=20)
        out.write(str(result.stdout or ""))
        out.flush()
        return int(result.exit_status or 0)
    except (OSError, TimeoutError, asyncssh.Error) as exc:
        say(out, f"会话中断：{why(exc)}")
        return 1
    finally:
        connection.close()
        await connection.wait_closed()


def quoted(word: str) -> str:
    return word if word and not set(word) & set(" \t\"'\\$") else "'" + word.replace("'", "'\\''") + "'"


async def converse(connection: asyncssh.SSHClientConnection, out: Out) -> int:
    """Lines from our input to the far console until either ends."""
    if stdin_of(out) is None:
        say(out, "这里没有键盘输入，请在命令行后面写上要执行的命令")
        return 2
    async with connection.create_process() as process:

        async def show() -> None:
            while text := await process.stdout.read(4096):
                out.write(text)
                out.flush()

        showing = asyncio.ensure_future(show())
        while not showing.done():
            typing = asyncio.ensure_future(next_line(out))
            await asyncio.wait({typing, showing}, return_when=asyncio.FIRST_COMPLETED)
            if not typing.done():
                break
            if not typing.result():
                process.stdin.write_eof()
                break
            process.stdin.write(typing.result())
        await asyncio.wait({showing}, timeout=5)
        status = process.exit_status
    return int(status or 0)
