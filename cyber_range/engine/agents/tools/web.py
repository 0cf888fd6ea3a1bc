"""lb-web: HTTP to the plant's applications and shares: read, write, list, compare, copy whole folders back from a backup."""

from __future__ import annotations

import asyncio
import hashlib
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from cyber_range.engine.agents.context import Net
from cyber_range.engine.agents.http_door import fetch
from cyber_range.engine.agents.tools.console import Ended, Out, Parser, has_files, say, why

LINK = re.compile(r'<a href="([^"]+)">')
LONGEST_WALK = 500  # files
PATIENCE = 8.0


def parser(out: Out) -> Parser:
    top = Parser(
        out, prog="lb-web", description="访问厂内的网页应用和文件服务器 (HTTP client for the plant's applications and shares)",
        epilog="例：\n  lb-web get http://10.1.2.3:8081/audit?last=20 --user admin --password 口令\n"
        "  lb-web put http://10.1.2.3:8053/blocked/evil.example --user dns --password 口令\n"
        "  lb-web copy http://备份地址:8080/图纸/ http://共享地址:8080/图纸/ --user 账号 --password 口令",
    )  # fmt: skip
    what = top.add_subparsers(dest="what", required=True, metavar="动作")
    for name, text in (
        ("get", "读取 (read)"), ("put", "写入 (write)"), ("post", "提交 (post)"), ("delete", "删除 (delete)"),
        ("tree", "列出文件夹里所有文件和校验值 (list with hashes)"), ("copy", "把一个文件夹整个复制到另一处 (copy a folder)"),
    ):  # fmt: skip
        one = what.add_parser(name, help=text)
        one.add_argument("url")
        if name == "copy":
            one.add_argument("target")
            one.add_argument("--target-user", default=None)
            one.add_argument("--target-password", default=None)
        if name in ("put", "post"):
            one.add_argument("--data", default="", help="内容 (body)")
            one.add_argument("--file", default="", help="内容取自本机文件 (body from a file)")
        one.add_argument("--user", default=None, help="账号 (user)")
        one.add_argument("--password", default="", help="口令 (password)")
    return top


class Place:
    """One address with its login."""

    def __init__(self, net: Net, url: str, login: tuple[str, str] | None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url}：要写成 http://地址:端口/路径")
        self._net, self.host, self.port = net, parts.hostname, parts.port or 80
        self.path = urllib.parse.unquote(parts.path) or "/"
        self.query = f"?{parts.query}" if parts.query else ""
        self.login = login

    async def call(self, method: str, path: str | None = None, body: bytes = b"") -> tuple[int, bytes]:
        where = (self.path + self.query) if path is None else path
        return await fetch(
            self._net, self.host, self.port, where, method=method, body=body, login=self.login, timeout=PATIENCE
        )

    async def walk(self) -> list[str]:
        """Paths of all files below, relative to this folder. ValueError when it is no folder."""
        found: list[str] = []
        todo = [""]
        while todo:
            here = todo.pop()
            status, body = await self.call("GET", self.path.rstrip("/") + "/" + here)
            if status != 200:
                raise ValueError(f"{self.path}{here}：应答 {status}")
            for link in LINK.findall(body.decode("utf-8", "replace")):
                name = here + urllib.parse.unquote(link)
                (todo if name.endswith("/") else found).append(name)
            if len(found) > LONGEST_WALK:
                raise ValueError(f"超过 {LONGEST_WALK} 个文件，请分文件夹处理")
        return sorted(found)


async def main(argv: Sequence[str], net: Net, out: Out) -> int:
    try:
        options = parser(out).parse_args(list(argv))
    except Ended as end:
        return end.code
    login = (options.user, options.password) if options.user else None
    try:
        place = Place(net, options.url, login)
        if options.what == "tree":
            return await tree(place, out)
        if options.what == "copy":
            other = (options.target_user, options.target_password or "") if options.target_user else login
            return await copy(place, Place(net, options.target, other), out)
        body = b""
        if options.what in ("put", "post"):
            body = options.data.encode()
            if options.file:
                if not has_files(out):
                    say(out, "lb-web: 这里没有本机文件，请用 --data")
                    return 2
                body = await asyncio.to_thread(Path(options.file).read_bytes)
        status, content = await place.call(options.what.upper(), body=body)
    except ValueError as exc:
        say(out, f"lb-web: {exc}")
        return 2
    except (OSError, TimeoutError) as exc:
        say(out, f"lb-web: 访问失败：{why(exc)}")
        return 1
    if content:
        say(out, content.decode("utf-8", "replace").rstrip("\n"))
    if status >= 400:
        say(
            out,
            f"lb-web: 应答 {status}"
            + {401: "：账号或口令不对", 403: "：这个账号没有权限", 404: "：没有这一项"}.get(status, ""),
        )
        return 4
    if options.what != "get":
        say(out, f"完成（应答 {status}）")
    return 0


async def tree(place: Place, out: Out) -> int:
    for name in await place.walk():
        status, body = await place.call("GET", place.path.rstrip("/") + "/" + name)
        digest = hashlib.sha256(body).hexdigest()[:16] if status == 200 else f"应答 {status}"
        say(out, f"{digest}  {len(body):>7}  {name}")
    return 0


async def copy(source: Place, target: Place, out: Out) -> int:
    """Files of the target that the source does not have stay: deleting is a decision of its own."""
    names = await source.walk()
    for name in names:
        status, body = await source.call("GET", source.path.rstrip("/") + "/" + name)
        if status != 200:
            raise ValueError(f"读取 {name}：应答 {status}")
        status, _ = await target.call("PUT", target.path.rstrip("/") + "/" + name, body)
        if status >= 300:
            raise ValueError(f"写入 {name}：应答 {status}")
    say(out, f"已复制 {len(names)} 个文件")
    return 0
