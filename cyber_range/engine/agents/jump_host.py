"""The jump host: a real SSH server that lets known accounts through to inside services, and a console to manage them.

Spec: `accounts` [{user, password, admin?, forward?: ["10.1.2.0/24:502", …], title?}], `port` (22), `banner`,
`collector` {host, port} (log server that gets a copy of the log; trail.py).
Forwarding (direct-tcpip) is allowed to the listed networks and ports. The console is for `admin` accounts, as exec
command or line by line: accounts, passwd, lock, unlock, sessions, kick, log. A changed password or a lock does not end
sessions that are open, as on any real jump host.
Emits `login` (user, peer, ok), `session` (opened and closed), `forward` (user, target, ok), `account` (what an admin did).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import shlex
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncssh
from asyncssh.stream import SSHTCPStreamSession

from cyber_range.engine.agents.context import Handler, Net, NodeContext, Peer, answer
from cyber_range.engine.agents.trail import Trail

SHORTEST_PASSWORD = 10  # characters, for passwords set at the console
HANDSHAKE = 15.0  # s for login
CONNECT = 4.0  # s to reach a forwarded target
LOG_LINES = 200
HELP = """可用命令：
  accounts                 列出账号：状态、权限、最近登录
  passwd 账号 [新口令]      修改口令（不写新口令则从下一行读取）
  lock 账号 / unlock 账号   锁定、解锁（已建立的会话不会因此断开）
  sessions                 列出当前会话：编号、账号、来源、正在转发到哪里
  kick 编号或账号          断开一个会话，或一个账号的全部会话
  log                      最近的登录记录（log clear 清空）
  help, exit
"""


@dataclass
class Account:
    user: str
    password: str
    admin: bool = False
    forward: tuple[tuple[ipaddress.IPv4Network, int], ...] = ()
    title: str = ""
    locked: bool = False
    last_login: float = 0.0

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Account:
        targets = []
        for target in spec.get("forward", ()):
            network, _, port = str(target).rpartition(":")
            targets.append((ipaddress.IPv4Network(network), int(port)))
        return cls(spec["user"], str(spec["password"]), bool(spec.get("admin")), tuple(targets), spec.get("title", ""))

    def may_reach(self, host: str, port: int) -> bool:
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return any(address in network and port == allowed for network, allowed in self.forward)


@dataclass
class Session:
    number: int
    peer: Peer
    connection: asyncssh.SSHServerConnection
    user: str = ""
    since: float = field(default_factory=time.time)
    targets: list[str] = field(default_factory=list)


class JumpHost:
    """Accounts, sessions and log of one node. A remote-access gateway (vpn_gateway) adds terms under which one may in."""

    prompt, about, words = "jump> ", "跳板机管理控制台", HELP

    def __init__(self, node: NodeContext) -> None:
        self.node = node
        self.accounts = {a["user"]: Account.of(a) for a in node.spec["accounts"]}
        self.sessions: dict[int, Session] = {}
        self.log = Trail(node, "sshd", LOG_LINES)
        self._numbers = 0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def check(self, user: str, password: str, peer: Peer) -> bool:
        account = self.accounts.get(user)
        why = ""
        if account is None or not hmac.compare_digest(account.password.encode(), password.encode()):
            ok = False
        else:
            why = self.objection(account, peer)
            ok = not why
            account.last_login = time.time() if ok else account.last_login
        self.log.add({
            "at": round(time.time(), 3), "user": user, "peer": peer[0], "ok": ok, **({"why": why} if why else {}),
        })  # fmt: skip
        self.node.emit("login", user=user, peer=peer[0], ok=ok)
        return ok

    def objection(self, account: Account, peer: Peer) -> str:
        """Why the right password is not enough just now, in words for the log; empty when it is."""
        return "账号已锁定" if account.locked else ""

    def reached(self, session: Session, target: str) -> None:
        """A session was let through to a target."""

    def more(self, by: str, command: str, rest: list[str]) -> tuple[str, int] | None:
        """A console command that a jump host does not have; None when nobody has it."""
        return None

    def handlers(self) -> dict[str, Handler]:
        """What the lab may ask."""

        async def accounts(_: dict[str, Any]) -> dict[str, Any]:
            return {
                "accounts": [{"user": a.user, "locked": a.locked, "admin": a.admin} for a in self.accounts.values()],
                "sessions": [{"user": s.user, "peer": s.peer[0], "targets": s.targets} for s in self.sessions.values()],
            }

        return {"accounts": accounts}

    def run(self, by: str, line: str, next_line: str = "") -> tuple[str, int]:
        """One console command: (text, exit status)."""
        try:
            words = shlex.split(line)
        except ValueError:
            return "引号不配对\n", 2
        if not words:
            return "", 0
        command, rest = words[0], words[1:]
        if command == "help":
            return self.words, 0
        if command == "accounts":
            return self._list_accounts(), 0
        if command == "sessions":
            return self._list_sessions(), 0
        if command == "log":
            if rest == ["clear"]:
                lost = self.log.clear()
                self.log.add({"at": round(time.time(), 3), "user": by, "action": "log clear"})
                self.node.emit("account", by=by, action="log clear", user=by)
                return f"已清空 {lost} 条记录\n", 0
            return "".join(line_of(row) for row in self.log.rows), 0
        if command == "kick" and len(rest) == 1:
            return self._kick(by, rest[0])
        if command in ("passwd", "lock", "unlock") and rest:
            account = self.accounts.get(rest[0])
            if account is None:
                return f"没有账号 {rest[0]}\n", 1
            if command == "passwd":
                return self._passwd(by, account, rest[1] if len(rest) > 1 else next_line.strip())
            account.locked = command == "lock"
            self.node.emit("account", by=by, action=command, user=account.user)
            return f"{account.user} 已{'锁定' if account.locked else '解锁'}\n", 0
        return self.more(by, command, rest) or (f"不认识的命令：{line.strip()}\n{self.words}", 2)

    def _list_accounts(self) -> str:
        lines = []
        for account in self.accounts.values():
            state = "已锁定" if account.locked else "正常"
            rights = "管理" if account.admin else ("转发" if account.forward else "普通")
            last = time.strftime("%m-%d %H:%M", time.localtime(account.last_login)) if account.last_login else "从未"
            lines.append(f"{account.user:<14}{state}  {rights}  最近登录 {last}  {account.title}\n")
        return "".join(lines)

    def _list_sessions(self) -> str:
        lines = []
        for session in self.sessions.values():
            targets = ", ".join(session.targets) or "无转发"
            lines.append(f"{session.number:>3}  {session.user:<14}来自 {session.peer[0]:<16}{targets}\n")
        return "".join(lines) or "没有会话\n"

    def _kick(self, by: str, whom: str) -> tuple[str, int]:
        found = [s for s in self.sessions.values() if whom in (str(s.number), s.user)]
        if not found:
            return f"没有编号或账号为 {whom} 的会话\n", 1
        for session in found:
            session.connection.abort()
            self.node.emit("account", by=by, action="kick", user=session.user)
        return "".join(f"已断开 {s.user}(来自 {s.peer[0]})\n" for s in found), 0

    def _passwd(self, by: str, account: Account, new: str) -> tuple[str, int]:
        if len(new) < SHORTEST_PASSWORD:
            return f"口令至少 {SHORTEST_PASSWORD} 位\n", 1
        if new == account.password:
            return "新口令与原口令相同\n", 1
        account.password = new
        self.node.emit("account", by=by, action="passwd", user=account.user)
        return f"{account.user} 的口令已修改\n", 0


def line_of(row: Mapping[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(row["at"]))
    if "action" in row:
        return f"{at} {row['no']} {row['user']} {row.get('text', '清空了记录')}\n"
    why = f"（{row['why']}）" if "why" in row else ""
    return f"{at} {row['no']} {'成功' if row['ok'] else '失败'} {row['user']} 来自 {row['peer']}{why}\n"


class Door(asyncssh.SSHServer):
    """One connection, from banner to end."""

    def __init__(self, host: JumpHost, peer: Peer, banner: str) -> None:
        self._host, self._peer, self._banner = host, peer, banner
        self._session: Session | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        if self._banner:
            conn.send_auth_banner(self._banner + "\r\n")
        self._session = Session(self._host.number(), self._peer, conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._session is not None and self._session.number in self._host.sessions:
            del self._host.sessions[self._session.number]
            self._host.node.emit("session", user=self._session.user, peer=self._peer[0], open=False)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        await asyncio.sleep(0.2)  # guessing costs time, as it does with a real password hash
        ok = self._host.check(username, password, self._peer)
        if ok and self._session is not None:
            self._session.user = username
            self._host.sessions[self._session.number] = self._session
            self._host.node.emit("session", user=username, peer=self._peer[0], open=True)
        return ok

    async def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        assert self._session is not None
        account = self._host.accounts.get(self._session.user)
        target = f"{dest_host}:{dest_port}"
        if account is None or not account.may_reach(dest_host, dest_port):
            self._host.node.emit("forward", user=self._session.user, target=target, ok=False)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not allowed for this account")
        try:
            sock = await self._host.node.net.connect(dest_host, dest_port, timeout=CONNECT)
        except (OSError, TimeoutError) as exc:
            self._host.node.emit("forward", user=self._session.user, target=target, ok=False)
            why = "timed out" if isinstance(exc, TimeoutError) else "refused"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, why) from exc
        self._host.node.emit("forward", user=self._session.user, target=target, ok=True)
        session = self._session
        session.targets.append(target)
        self._host.reached(session, target)

        async def relay(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            try:
                await carry(sock, reader, writer)
            finally:
                session.targets.remove(target)

        return SSHTCPStreamSession(relay)


async def carry(sock: socket.socket, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    """Bytes both ways until either side ends."""
    inner_reader, inner_writer = await asyncio.open_connection(sock=sock)

    async def inward() -> None:
        while data := await reader.read(16384):
            inner_writer.write(data)
            await inner_writer.drain()

    async def outward() -> None:
        while data := await inner_reader.read(16384):
            writer.write(data)
            await writer.drain()

    tasks = [asyncio.ensure_future(inward()), asyncio.ensure_future(outward())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        inner_writer.close()
        with contextlib.suppress(OSError):
            writer.close()


async def serve_console(host: JumpHost, process: asyncssh.SSHServerProcess[str]) -> None:
    """The restricted shell of one session."""
    user = str(process.get_extra_info("username"))
    account = host.accounts.get(user)
    if account is None or not account.admin:
        process.stdout.write("此账号只能用于转发，没有控制台权限。\n")
        process.exit(1)
        return
    status = 0
    if process.command:
        needs_line = shlex.split(process.command)[:1] == ["passwd"] and len(shlex.split(process.command)) == 2
        text, status = host.run(user, process.command, await process.stdin.readline() if needs_line else "")
        process.stdout.write(text)
    else:
        process.stdout.write(f"{host.about}，当前账号 {user}。输入 help 查看命令。\n")
        while True:
            process.stdout.write(host.prompt)
            line = await process.stdin.readline()
            if not line or line.strip() in ("exit", "quit", "logout"):
                break
            words = line.split()
            following = ""
            if words[:1] == ["passwd"] and len(words) == 2:
                process.stdout.write("新口令：")
                following = await process.stdin.readline()
            text, status = host.run(user, line, following)
            process.stdout.write(text)
    process.exit(status)


async def serve(node: NodeContext, host: JumpHost) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    banner = str(node.spec.get("banner", ""))

    async def on_socket(sock: socket.socket, peer: Peer) -> None:
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            connection = await asyncssh.run_server(
                sock,
                server_factory=lambda: Door(host, peer, banner),
                server_host_keys=[key],
                process_factory=lambda process: serve_console(host, process),
                login_timeout=HANDSHAKE,
                server_version="OpenSSH_8.4p1",
                keepalive_interval=20,
            )
            await connection.wait_closed()

    net: Net = node.net
    await host.log.open()
    server = await net.serve_sockets(int(node.spec.get("port", 22)), on_socket)
    node.emit("ready")
    try:
        await answer(node, host.handlers())
    finally:
        server.close()
        host.log.close()
        for session in list(host.sessions.values()):
            session.connection.abort()


async def run(node: NodeContext) -> None:
    await serve(node, JumpHost(node))
