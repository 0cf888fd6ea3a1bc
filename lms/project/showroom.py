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
# Beside the sources in a checkout; an installed copy must not write among its own files (settings.HOME_STATE).
STATE = ROOT / "var" if (ROOT / "pyproject.toml").is_file() else Path.home() / ".local" / "state" / "lianbing"
ROLE_WORDS = {
    "learner": "员工 learner",
    "admin": "企业管理员 enterprise admin",
    "trainer": "培训师 trainer",
    "security": "安全人员 security team",
    "assessor": "考评员 assessor",
    "officer": "主管部门 bureau officer",
}
READY_SECONDS = 120.0  # a small machine's first start; children that fall are started again meanwhile


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  the command's own voice


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="lianbing demo", description="the demo: own database, content, accounts, range"
    )
    parser.add_argument("--port", type=int, default=8000, help="pages; sockets take the next one")
    parser.add_argument("--lan", action="store_true", help="answer other machines of this network, too")
    parser.add_argument("--driver", default="auto", choices=["auto", "docker", "netns", "capsule", "memory"])
    parser.add_argument("--state", type=Path, default=STATE / "demo")
    parser.add_argument("--load-only", action="store_true", help="load database and content, start nothing")
    options = parser.parse_args(argv)
    try:
        return show(options)
    except KeyboardInterrupt:  # while it was being prepared; nothing has been started yet
        say("已停止")
        return 130


def show(options: argparse.Namespace) -> int:
    prepare_environment(options)
    if code := load(options.state):
        return code
    if options.load_only:
        return 0
    host = "0.0.0.0" if options.lan else "127.0.0.1"  # noqa: S104  only when asked for by --lan
    port = int(os.environ["LIANBING_PORT"])
    team = processes.children(host=host, port=port, sockets_port=port + 1, workers=1, driver=options.driver)
    return processes.run(team, log_folder=options.state / "logs", say=say, ready=Announcement(options.state, port))


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
            "SOCKETS_URL": ",".join(
                f"ws://{one}:{port + 1}" for one in dict.fromkeys((name, "127.0.0.1", "localhost"))
            ),
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
                say(f"端口 {wanted} 已被占用，改用 {port}")
            return port
    raise SystemExit(f"从 {wanted} 起没有空闲端口；请用 --port 指定一个")


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
    """Catalogues, migrations, static files and the demo's data, each shown; nothing is done twice."""
    compile_catalogues()
    # In a session of its own: Ctrl-C is heard here alone, and the child ends silently instead of with a traceback.
    work = subprocess.Popen(
        [sys.executable, "-m", "django", "prepare_demo"],
        start_new_session=True,
        preexec_fn=processes.die_with_parent,
    )
    try:
        code = work.wait()
    except KeyboardInterrupt:
        work.terminate()
        work.wait()
        raise
    if code:
        say("✗ 演示没有准备好；上面说明了原因")
    return code


class Announcement:
    """Told once, when pages and range-host answer: the address and the accounts. Asked again and again, and never waits."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.port = port
        self.late_at = time.monotonic() + READY_SECONDS

    def __call__(self) -> bool:
        """True once there is nothing more to tell."""
        missing = [what for what, there in (("网页", self._pages), ("靶场守护进程", self._range_host)) if not there()]
        if missing:
            if time.monotonic() < self.late_at:
                return False
            say(f"✗ {'、'.join(missing)} {READY_SECONDS:.0f} 秒内没有就绪；日志在 {self.state / 'logs'}")
            return True
        say("")
        say(f"练兵已就绪：{os.environ['PUBLIC_URL']}")
        accounts = json.loads((self.state / "accounts.json").read_text())
        for name, password in accounts.items():
            say(f"  {ROLE_WORDS.get(name, name):30} {name:10} {password}")
        say(f"按 Ctrl-C 结束；数据留在 {self.state}")
        return True

    def _pages(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _range_host(self) -> bool:
        """One line of its protocol; a socket file alone may be that of a host that was killed."""
        path = os.environ.get("LIANBING_RANGE_SOCKET", str(self.state / "range" / "host.sock"))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(2)
                line.connect(path)
                line.sendall(b'{"id": 1, "verb": "ping", "args": {}}\n')
                return b'"ok": true' in line.recv(4096).replace(b'":t', b'": t')
        except OSError:
            return False
