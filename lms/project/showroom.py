"""`lianbing demo`: a fresh machine to a running drill in two minutes, and a second start in seconds."""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from lms.project import processes
from lms.project.messages import compile_catalogues

ROOT = Path(__file__).resolve().parent.parent.parent
ROLE_WORDS = {
    "learner": "员工 learner",
    "admin": "企业管理员 enterprise admin",
    "trainer": "培训师 trainer",
    "security": "安全人员 security team",
    "assessor": "考评员 assessor",
    "officer": "主管部门 bureau officer",
}


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the command's own voice


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lianbing demo", description="the demo: own database, content, accounts, range"
    )
    parser.add_argument("--port", type=int, default=8000, help="pages; sockets take the next one")
    parser.add_argument("--lan", action="store_true", help="answer other machines of this network, too")
    parser.add_argument("--driver", default="auto", choices=["auto", "docker", "netns", "capsule", "memory"])
    parser.add_argument("--state", type=Path, default=ROOT / "var" / "demo")
    parser.add_argument("--load-only", action="store_true", help="load database and content, start nothing")
    options = parser.parse_args(argv)
    prepare_environment(options)
    if code := load(options.state):
        return code
    if options.load_only:
        return 0
    host = "0.0.0.0" if options.lan else "127.0.0.1"  # noqa: S104  only when asked for by --lan
    port = int(os.environ["LIANBING_PORT"])
    team = processes.children(host=host, port=port, sockets_port=port + 1, workers=1, driver=options.driver)
    return processes.run(team, log_folder=options.state / "logs", say=say, ready=lambda: announce(options.state, port))


def prepare_environment(options: argparse.Namespace) -> None:
    """What every child reads. The demo never uses a database named by the caller's environment by accident."""
    options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = free_port(options.port)
    name = lan_address() if options.lan else "127.0.0.1"
    os.environ.update(
        {
            "LIANBING_STATE": str(options.state),
            "LIANBING_PORT": str(port),
            "PUBLIC_URL": f"http://{name}:{port}",
            "SOCKETS_URL": f"ws://{name}:{port + 1}",
            "ALLOWED_HOSTS": ",".join({"127.0.0.1", "localhost", "[::1]", name}),
            "CSRF_TRUSTED_ORIGINS": f"http://{name}:{port},http://localhost:{port},http://127.0.0.1:{port}",
            "LIANBING_DEMO": "1",
        }
    )
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lms.project.settings")


def free_port(wanted: int) -> int:
    """The first of `wanted`, +10, +20 ... at which both the port and the next one are free."""
    for port in range(wanted, wanted + 200, 10):
        if all(is_free(p) for p in (port, port + 1)):
            if port != wanted:
                say(f"端口 {wanted} 已被占用,改用 {port}")
            return port
    raise SystemExit(f"从 {wanted} 起没有空闲端口;请用 --port 指定一个")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def lan_address() -> str:
    """The address other machines of this network reach us at (no packet is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def load(state: Path) -> int:
    """Migrations, static files, catalogues and the demo's data, each shown; nothing is done twice."""
    compile_catalogues()
    for what, words in (
        ("数据库", ["migrate", "--noinput", "-v0"]),
        ("缓存表", ["createcachetable"]),
        ("静态文件", ["collectstatic", "--noinput", "-v0"]),
        ("演示数据", ["load_demo"]),
    ):
        began = time.monotonic()
        say(f"· {what} …")
        code = subprocess.call([sys.executable, "-m", "django", *words], cwd=ROOT)  # noqa: S603  our own words
        if code:
            say(f"✗ {what} 失败;上面一行说明了原因")
            return code
        say(f"✓ {what}({time.monotonic() - began:.1f} 秒)")
    return 0


def announce(state: Path, port: int) -> None:
    """Waits until pages and range-host answer, then prints the address and the accounts."""
    url = os.environ["PUBLIC_URL"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    break
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    else:
        say(f"✗ 页面 60 秒内没有就绪;日志在 {state / 'logs'}")
        return
    say("")
    say(f"练兵已就绪: {url}")
    accounts = json.loads((state / "accounts.json").read_text())
    for name, password in accounts.items():
        say(f"  {ROLE_WORDS.get(name, name):30} {name:10} {password}")
    say("按 Ctrl-C 结束;数据留在 " + str(state))
