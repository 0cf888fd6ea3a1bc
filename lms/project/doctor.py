"""`lianbing doctor`: what works on this machine, and for everything missing the exact command that brings it.

Chinese unless the terminal's locale names another language; `LIANBING_LANG=en` or `zh` decides over it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import environ

GOOD, MISSING, NOTE = "✓", "✗", "·"
# tool -> (what it is for in both languages, how to get it)
TOOLS = {
    "nmap": (
        "蓝队终端里的扫描器（没有时用 lb-scan）",
        "scanner of the blue team (else lb-scan)",
        "apt-get install nmap",
    ),
    "tshark": ("解析抓包（没有时用 lb-capture）", "reads captures (else lb-capture)", "apt-get install tshark"),
    "nft": ("防火墙命令（没有时用 lb-fw）", "firewall command (else lb-fw)", "apt-get install nftables"),
    "mbpoll": ("Modbus 客户端（没有时用 lb-modbus）", "Modbus client (else lb-modbus)", "apt-get install mbpoll"),
    "suricata": (
        "靶场抓包的第二种检测（没有时只用内置规则）",
        "second opinion on captures (else the built-in rules alone)",
        "apt-get install suricata",
    ),
    "debootstrap": (
        "无镜像仓库时制作靶场镜像",
        "makes the range image where no registry is at hand",
        "apt-get install debootstrap",
    ),
    "chromium": ("浏览器测试与界面截图", "browser tests and pictures", "apt-get install chromium"),
    "tcpreplay": ("测速的参照", "yardstick of the benchmarks", "apt-get install tcpreplay"),
    "xgettext": ("检查翻译是否齐全", "compares catalogues with the sources", "apt-get install gettext"),
}
FONTS = ("NotoSansCJK", "NotoSerifCJK", "Noto Sans CJK")
TYPST_TRIAL = "#set page(width: 40mm, height: 20mm)\n练兵"


@dataclass(frozen=True, slots=True)
class Finding:
    mark: str
    name: str
    text: str
    remedy: str = ""


def chinese() -> bool:
    """C and POSIX name no language, so there it is Chinese."""
    for name in ("LIANBING_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "").lower()
        if value:
            return value.startswith("zh") or value.split(".")[0] in ("c", "posix")
    return True


def say(zh: str, en: str) -> str:
    return zh if chinese() else en


def main(argv: Sequence[str]) -> int:
    """Prints all findings; with --json as data. Always exits 0: a missing thing is a fact, not a failure."""
    findings = [python_version(), *databases(), *brokers(), *drivers(), *fonts(), typst(), *tools()]
    if "--json" in argv:
        json.dump(
            [{slot: getattr(f, slot) for slot in Finding.__slots__} for f in findings], sys.stdout, ensure_ascii=False
        )
        return 0
    colon = say("：", ": ")
    for finding in findings:
        print(f"{finding.mark} {finding.name}{colon}{finding.text}")  # noqa: T201  the command's own voice
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
    name = say("数据库", "database")
    if not url:
        have = any(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or shutil.which("postgres")
        create = "sudo -u postgres createuser lianbing -P && sudo -u postgres createdb lianbing -O lianbing -T template0 -E UTF8 --locale=C.UTF-8"
        use = say(
            "export DATABASE_URL=postgres://lianbing:口令@127.0.0.1/lianbing",
            "export DATABASE_URL=postgres://lianbing:PASSWORD@127.0.0.1/lianbing",
        )
        return [
            Finding(GOOD, name, say("SQLite（默认，WAL）", "SQLite (the default, WAL)")),
            Finding(
                NOTE,
                "PostgreSQL",
                say("已安装，未启用", "installed, not used")
                if have
                else say("未安装，未启用", "not installed, not used"),
                " && ".join([*([] if have else ["sudo apt-get install postgresql"]), create, use]),
            ),
        ]
    return [database_that_was_set(name, url)]


def database_that_was_set(name: str, url: str) -> Finding:
    code = (
        "import os, environ; from django.conf import settings; settings.configure(DATABASES={'default':"
        " environ.Env.db_url_config(os.environ['DATABASE_URL'])}); from django.db import connection;"
        " connection.ensure_connection()"  # `django check --database` never connects
    )
    trial = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own interpreter
    scheme = url.split(":", 1)[0]
    if trial.returncode == 0:
        return Finding(GOOD, name, say(f"{scheme} 可用", f"{scheme} works"))
    why = last_line(trial.stderr)
    return Finding(
        MISSING,
        name,
        say(f"{scheme} 连不上（{why}）", f"{scheme} cannot be reached ({why})"),
        say(
            '检查 DATABASE_URL：psql "$DATABASE_URL" -c "select 1"',
            'check DATABASE_URL: psql "$DATABASE_URL" -c "select 1"',
        ),
    )


def brokers() -> list[Finding]:
    url = os.environ.get("REDIS_URL", "")
    if not url:
        have = shutil.which("redis-server")
        use = "export REDIS_URL=redis://127.0.0.1:6379/0"
        return [
            Finding(
                GOOD,
                say("消息队列", "queue"),
                say("文件队列（默认，约 0.2 秒取件）", "files (the default, picked up in about 0.2 s)"),
            ),
            Finding(
                NOTE,
                "Redis",
                say("已安装，未启用", "installed, not used")
                if have
                else say("未安装，未启用", "not installed, not used"),
                use if have else f"sudo apt-get install redis-server && {use}",
            ),
        ]
    trial = subprocess.run(
        [sys.executable, "-c", "import os, redis; redis.from_url(os.environ['REDIS_URL'], socket_timeout=5).ping()"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if trial.returncode == 0:
        return [Finding(GOOD, "Redis", say("可用", "works"))]
    why = last_line(trial.stderr)
    return [
        Finding(
            MISSING,
            "Redis",
            say(f"连不上（{why}）", f"cannot be reached ({why})"),
            say('检查 REDIS_URL：redis-cli -u "$REDIS_URL" ping', 'check REDIS_URL: redis-cli -u "$REDIS_URL" ping'),
        )
    ]


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["?"])[-1]


def drivers() -> list[Finding]:
    """Asked of the engine in a process of its own: the web never loads docker or scapy."""
    answer = subprocess.run(
        [sys.executable, "-m", "cyber_range.engine", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LIANBING_LANG": "zh" if chinese() else "en"},
    )
    try:
        found = json.loads(answer.stdout)
        rows = found["drivers"]
    except (ValueError, KeyError, TypeError):
        return [
            Finding(
                MISSING,
                say("靶场引擎", "range engine"),
                say(f"没有应答（{last_line(answer.stderr)}）", f"no answer ({last_line(answer.stderr)})"),
                "python -m cyber_range.engine doctor",
            )
        ]
    return [driver(row, taken=row["name"] == found["auto"]) for row in rows]


def driver(row: dict[str, object], *, taken: bool) -> Finding:
    name = say(f"靶场驱动 {row['name']}", f"range driver {row['name']}")
    if not row["usable"]:
        return Finding(MISSING, name, str(row["reason"]), str(row["remedy"]))
    text = say("可用", "usable") + (say("（auto 选用）", " (auto takes it)") if taken else "")
    unbounded = row["unbounded"]
    if isinstance(unbounded, list) and unbounded:
        text += say(f"；本机不能限制：{'、'.join(unbounded)}", f"; cannot bound here: {', '.join(unbounded)}")
    return Finding(GOOD, name, text)


def fonts() -> list[Finding]:
    name, install = say("中文字体", "Chinese fonts"), "apt-get install fonts-noto-cjk"
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts"]
    for folder in folders:
        if folder.exists() and any(font in path.name for path in folder.rglob("*") for font in FONTS):
            return [Finding(GOOD, name, say("系统 Noto CJK", "the system's Noto CJK"))]
    try:
        importlib.metadata.version("cvttf-notosanscjk-regular")
    except importlib.metadata.PackageNotFoundError:
        text = say("没有完整的中文字体，证书打印会缺字", "no complete Chinese font: certificates would lack characters")
        return [Finding(MISSING, name, text, install)]
    text = say(
        "随包 Noto Sans CJK（仅常规体；系统字体另有宋体和粗体）",
        "bundled Noto Sans CJK (regular; the system's has serif and bold)",
    )
    return [Finding(GOOD, name, text, install)]


def typst() -> Finding:
    """Certificates and reports are set by it; tried for real, in a process of its own, for it is a compiled library."""
    try:
        version = importlib.metadata.version("typst")
    except importlib.metadata.PackageNotFoundError:
        return Finding(MISSING, "typst", say("没有；证书无法生成 PDF", "missing: no PDF of a certificate"), "make env")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "trial.typ"
        source.write_text(TYPST_TRIAL, encoding="utf-8")
        code = "import sys, typst; sys.exit(not typst.compile(sys.argv[1]).startswith(b'%PDF'))"
        trial = subprocess.run(  # noqa: S603 - our own interpreter on our own file
            [sys.executable, "-c", code, str(source)], capture_output=True, text=True, timeout=60, check=False
        )
    if trial.returncode:
        why = last_line(trial.stderr)
        return Finding(
            MISSING, "typst", say(f"不能排版（{why}）", f"does not work ({why})"), "rm -f .venv/.run && make env"
        )
    return Finding(GOOD, "typst", say(f"{version}，证书与报告的 PDF", f"{version}, PDF of certificates and reports"))


def tools() -> list[Finding]:
    return [
        Finding(GOOD, name, say(zh, en))
        if shutil.which(name)
        else Finding(NOTE, name, say(f"没有；{zh}", f"missing; {en}"), f"sudo {command}")
        for name, (zh, en, command) in TOOLS.items()
    ]
