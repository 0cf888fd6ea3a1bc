"""From root to a user of its own before any lab is made.

Started by an ordinary user nothing happens. Started as root, the state folder is given to the range account, the folders
that only root may enter are lent (drivers.netns.rootdrop), and root is given up for good; only the group of Docker's socket
is kept when the Docker driver is wanted, since that is how an account may speak to the engine.
"""

from __future__ import annotations

import ctypes
import grp
import importlib
import os
import signal
import sys
from pathlib import Path

from cyber_range.engine.errors import DriverUnavailable

PR_SET_PDEATHSIG = 1
DOCKER_SOCKET = Path("/var/run/docker.sock")


def give_up_root(*, state: Path, readable: tuple[Path, ...], docker: bool, user: str | None = None) -> int:
    """Call before threads and before an event loop. Returns the uid we run as."""
    if os.geteuid() != 0:
        return os.geteuid()
    if sys.platform != "linux":
        raise DriverUnavailable("range-host may not run as root here", remedy="Start it as an ordinary user")
    # By name: this module is of no use, and may not be importable, where there is no Linux.
    rootdrop = importlib.import_module("cyber_range.engine.drivers.netns.rootdrop")
    tree = importlib.import_module("cyber_range.engine.drivers.netns.tree")
    who: tuple[int, int] = rootdrop.account(user)
    if who[0] == 0:
        raise DriverUnavailable("range-host may not run as root", remedy="useradd --system lianbing-range")
    for folder, _, files in os.walk(state):
        os.chown(folder, *who)
        for name in files:
            os.chown(os.path.join(folder, name), *who, follow_symlinks=False)
    needed = [*tree.Sources.here().paths(), *(str(path.resolve()) for path in readable)]
    rootdrop.prepare_as_root(who, needed, writable=[str(state.resolve())])
    groups = _docker_groups() if docker else []
    os.setgroups(groups)
    os.setresgid(who[1], who[1], who[1])
    os.setresuid(who[0], who[0], who[0])
    if os.geteuid() != who[0] or rootdrop.regained():
        raise DriverUnavailable("root could not be given up", remedy="Start range-host as an ordinary user")
    os.environ["HOME"] = str(state.resolve())
    # The uid may have no row in passwd; asyncssh (jump host, intruder) asks getpass for a local name and fails without one.
    os.environ["LOGNAME"] = os.environ["USER"] = "lianbing-range"
    die_with_parent()
    return os.geteuid()


def die_with_parent() -> None:
    """Renews the wish to end with a parent that started us so (its pid in LIANBING_PARENT): the kernel forgets it when a
    process changes its user (prctl(2), PR_SET_PDEATHSIG)."""
    parent = os.environ.get("LIANBING_PARENT", "")
    if not parent.isdigit():
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)  # it ended before the wish was renewed


def _docker_groups() -> list[int]:
    """The group that may speak to the engine; never root's group."""
    try:
        gid = DOCKER_SOCKET.stat().st_gid
    except OSError:
        return []
    if gid != 0:
        return [gid]
    try:
        return [grp.getgrnam("docker").gr_gid]
    except KeyError:
        return []
