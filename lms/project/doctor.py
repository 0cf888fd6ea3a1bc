"""`lianbing doctor`: what works on this machine, and for everything missing the exact command that brings it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import environ

GOOD, MISSING, NOTE = "✓", "✗", "·"
# tool -> (what it is for, how to get it)
TOOLS = {
    "nmap": ("蓝队终端里的扫描器(没有时用 lb-scan)", "apt-get install nmap"),
    "tshark": ("抓包解析与测试(没有时用 lb-capture)", "apt-get install tshark"),
    "nft": ("防火墙命令(没有时用 lb-fw)", "apt-get install nftables"),
    "mbpoll": ("Modbus 客户端(没有时用 lb-modbus)", "apt-get install mbpoll"),
    "tcpreplay": ("测速的参照", "apt-get install tcpreplay"),
    "chromium": ("浏览器测试与界面截图", "apt-get install chromium"),
    "debootstrap": ("无镜像仓库时制作靶场镜像", "apt-get install debootstrap"),
    "msgfmt": ("检查翻译是否齐全", "apt-get install gettext"),
}
FONTS = ("NotoSansCJK", "NotoSerifCJK", "Noto Sans CJK")


@dataclass(frozen=True, slots=True)
class Finding:
    mark: str
    name: str
    text: str
    remedy: str = ""


def main(argv: Sequence[str]) -> int:
    """Prints all findings; with --json as data. Always exits 0: a missing thing is a fact, not a failure."""
    findings = [python_version(), *databases(), *brokers(), *drivers(), *fonts(), *tools()]
    if "--json" in argv:
        json.dump(
            [{slot: getattr(f, slot) for slot in Finding.__slots__} for f in findings], sys.stdout, ensure_ascii=False
        )
        return 0
    for finding in findings:
        print(f"{finding.mark} {finding.name}: {finding.text}")  # noqa: T201  the command's own voice
        if finding.remedy:
            print(f"    → {finding.remedy}")  # noqa: T201  the command's own voice
    return 0


def python_version() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        GOOD,
        "Python",
        f"{version}, Django {importlib.metadata.version('django')}, Wagtail {importlib.metadata.version('wagtail')}",
    )


def databases() -> list[Finding]:
    url = environ.Env().str("DATABASE_URL", default="")
    if not url:
        return [
            Finding(GOOD, "数据库", "SQLite(默认,WAL)"),
            Finding(
                NOTE,
                "PostgreSQL",
                "未设置",
                "export DATABASE_URL=postgres://用户:口令@主机/库名(建库时用 LC_CTYPE=C.UTF-8)",
            ),
        ]
    code = subprocess.call(
        [sys.executable, "-m", "django", "check", "--database", "default"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
    )
    scheme = url.split(":", 1)[0]
    return [
        Finding(
            GOOD if code == 0 else MISSING,
            "数据库",
            f"{scheme} {'可用' if code == 0 else '连不上'}",
            "" if code == 0 else "检查 DATABASE_URL 的主机、口令和库名",
        )
    ]


def brokers() -> list[Finding]:
    url = os.environ.get("REDIS_URL", "")
    if not url:
        return [
            Finding(GOOD, "消息队列", "文件队列(默认,约 0.2 秒取件)"),
            Finding(
                NOTE, "Redis", "未设置", "apt-get install redis-server && export REDIS_URL=redis://127.0.0.1:6379/0"
            ),
        ]
    try:
        import_redis = importlib.metadata.version("redis")
        code = subprocess.call(
            [sys.executable, "-c", "import os, redis; redis.from_url(os.environ['REDIS_URL']).ping()"],
            stderr=subprocess.DEVNULL,
            timeout=10,
        )
    except importlib.metadata.PackageNotFoundError:
        import_redis, code = "", 1
    return [
        Finding(
            GOOD if code == 0 else MISSING,
            "Redis",
            f"{'可用' if code == 0 else '连不上'} (client {import_redis})",
            "" if code == 0 else "检查 REDIS_URL;redis-cli -u $REDIS_URL ping 应答 PONG",
        )
    ]


def drivers() -> list[Finding]:
    """Asked of the engine in a process of its own: the web never loads docker or scapy."""
    answer = subprocess.run(
        [sys.executable, "-m", "cyber_range.engine", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    try:
        rows = json.loads(answer.stdout)["drivers"]
    except (ValueError, KeyError, TypeError):
        return [
            Finding(
                MISSING, "靶场引擎", answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else "没有应答"
            )
        ]
    findings = []
    for row in rows:
        bounds = f";本机不能限制:{'、'.join(row['unbounded'])}" if row.get("unbounded") else ""
        text = ("可用" if row["usable"] else row["reason"]) + bounds
        findings.append(
            Finding(GOOD if row["usable"] else MISSING, f"靶场驱动 {row['name']}", text, row.get("remedy", ""))
        )
    return findings


def fonts() -> list[Finding]:
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts"]
    for folder in folders:
        if folder.exists() and any(name in path.name for path in folder.rglob("*") for name in FONTS):
            return [Finding(GOOD, "中文字体", "系统 Noto CJK")]
    try:
        importlib.metadata.version("cvttf-notosanscjk-regular")
    except importlib.metadata.PackageNotFoundError:
        return [Finding(MISSING, "中文字体", "没有完整的中文字体,证书打印会缺字", "apt-get install fonts-noto-cjk")]
    return [Finding(GOOD, "中文字体", "随包 Noto Sans CJK(仅常规体)", "apt-get install fonts-noto-cjk 可得宋体和粗体")]


def tools() -> list[Finding]:
    return [
        Finding(GOOD, name, what) if shutil.which(name) else Finding(NOTE, name, f"没有;{what}", command)
        for name, (what, command) in TOOLS.items()
    ]
