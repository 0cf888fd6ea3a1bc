"""sweep, image build, host, capture: what concerns this machine."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from cyber_range.engine.cli.ranges import SCENARIOS
from cyber_range.engine.cli.words import say, tell
from cyber_range.engine.drivers import registry
from cyber_range.engine.errors import DriverUnavailable, RangeError
from cyber_range.engine.host.client import Client
from cyber_range.engine.host.daemon import Daemon, Settings, pools_of
from cyber_range.engine.host.privileges import give_up_root
from cyber_range.engine.host.server import open_socket, run

IMAGE = "cyber_range.engine.drivers.docker_engine.image"


def default_socket() -> Path:
    configured = os.environ.get("LIANBING_RANGE_SOCKET")
    if configured:
        return Path(configured)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path.home() / ".cache"
    return base / "lianbing" / "range.sock"


def default_state() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lianbing" / "range-host"


def mark_ours(state: Path) -> None:
    """What the Docker driver labels its things with: one mark per state folder, so two hosts never sweep each other."""
    mark = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    os.environ.setdefault("LIANBING_RANGE_OWNER", f"state-{mark}")


def add_to(commands: Any) -> None:
    sweep = commands.add_parser("sweep", help="清除残留 / remove leftovers of ranges that nobody carries")
    sweep.add_argument("--driver", choices=registry.names())
    sweep.add_argument("--state", type=Path, help="state folder of a range-host that does not run any more")
    sweep.add_argument("--socket", type=Path, help="ask the range-host there, which knows what is alive")
    sweep.set_defaults(run=_sweep)
    image = commands.add_parser("image", help="靶场镜像 / the range image").add_subparsers(dest="what", required=True)
    image.add_parser("build", help="构建 / build").set_defaults(run=_image_build)
    host = commands.add_parser("host", help="靶场守护进程 / the range-host daemon")
    host.add_argument("--socket", type=Path, default=None)
    host.add_argument("--state", type=Path, default=None)
    host.add_argument("--driver", default="auto", choices=["auto", *registry.names()])
    host.add_argument("--scenarios", type=Path, default=SCENARIOS)
    host.add_argument("--pool", action="append", default=[], metavar="CIDR")
    host.add_argument("--max-ranges", type=int, default=20)
    host.add_argument("--user", help="account to become when started as root (lianbing-range)")
    host.set_defaults(run=_host)
    capture = commands.add_parser("capture", help="下载抓包 / download the captures of a range")
    capture.add_argument("range_id")
    capture.add_argument("--zone")
    capture.add_argument("--out", type=Path, default=Path())
    capture.add_argument("--socket", type=Path, default=None)
    capture.set_defaults(run=_capture)


def _sweep(options: argparse.Namespace) -> int:
    if options.socket:
        removed = Client(options.socket).call("sweep")["removed"]
    else:
        if options.state:
            mark_ours(options.state.absolute())
        removed = asyncio.run(_sweep_here(options.driver))
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(removed.items()) if count)
    tell(f"已清除: {said or '没有残留'}", f"removed: {said or 'nothing was left'}")
    return 0


async def _sweep_here(only: str | None) -> dict[str, int]:
    removed: dict[str, int] = {}
    for name, probe in (await registry.probe_all()).items():
        if not probe.usable or only not in (None, name):
            continue
        driver = registry.load(name)()
        try:
            for kind, count in (await driver.sweep()).removed.items():
                removed[kind] = removed.get(kind, 0) + count
        finally:
            await driver.aclose()
    return removed


def _image_build(options: argparse.Namespace) -> int:
    try:
        image = importlib.import_module(IMAGE)
    except ImportError as exc:
        raise DriverUnavailable(f"the image builder cannot be loaded: {exc}", remedy="make env") from exc
    tag = image.build()
    tell(f"镜像 {tag} 已就绪", f"image {tag} is there")
    return 0


def _host(options: argparse.Namespace) -> int:
    socket_path = (options.socket or default_socket()).absolute()
    state = (options.state or default_state()).absolute()
    try:
        pools = pools_of(options.pool)
    except ValueError as exc:
        raise RangeError(f"--pool: {exc}", remedy="Write it like 10.213.0.0/16") from None
    settings = Settings(
        state=state, scenarios=options.scenarios.absolute(), driver=options.driver, pools=pools,
        max_ranges=options.max_ranges,
    )  # fmt: skip
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark_ours(state)
    daemon = Daemon(settings)
    daemon.lock()
    listener = open_socket(socket_path)
    uid = give_up_root(
        state=state, readable=(settings.scenarios,), docker=options.driver in ("auto", "docker"), user=options.user
    )
    os.umask(0o077)  # after root was given up: folders bound back for the account must stay open to it
    tell(f"range-host 在 {socket_path} 上服务 (uid {uid})", f"range-host serves on {socket_path} (uid {uid})")
    asyncio.run(run(daemon, listener, socket_path))
    return 0


def _capture(options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    with Client(options.socket or default_socket()) as client:
        found = [
            one for one in client.call("captures", range_id=options.range_id)["captures"]
            if options.zone in (None, one["zone"])
        ]  # fmt: skip
        for one in found:
            path = options.out / one["name"]
            with path.open("wb") as file:
                for piece in client.file("capture", range_id=options.range_id, name=one["name"]):
                    file.write(piece)
            tell(f"{path}: {one['packets']} 个数据包", f"{path}: {one['packets']} packets")
    if not found:
        sys.stderr.write(say("没有抓包\n", "there are no captures\n"))
        return 1
    return 0
