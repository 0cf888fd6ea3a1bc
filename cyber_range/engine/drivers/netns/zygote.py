"""The warm process every range is forked from: `python -m cyber_range.engine.drivers.netns.zygote <fd> <title room>`.

Started by exec so that it has no threads and no descriptor but its socket; imports what node programs need once,
freezes the garbage collector (so that children share those pages) and forks one supervisor per range. Programs that use
GPL libraries are never imported here: an import of scapy fails on purpose.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import os
import pkgutil
import signal
import socket
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from cyber_range.engine.drivers.netns import confine, linux, rehearsal, rootdrop, supervisor, tree, wire
from cyber_range.engine.plan import Limits

AGENTS = "cyber_range.engine.agents"
LIBRARIES = (
    "asyncio",
    "json",
    "base64",
    "ssl",
    "struct",
    "pymodbus.server",
    "pymodbus.client",
    "pymodbus.simulator",
    "pymodbus.pdu",
    "pymodbus.framer",
    "traceback",
    "tempfile",
    "encodings.idna",
)
NEVER_HERE = ("scapy", "aiohttp")  # the second: pymodbus would load it for a web page of its own, 10 MB of it
POOL, POOL_HEADER = 1 << 14, 48  # bytes, of CPython's small object allocator on 64-bit machines since 3.10
MOST_HOLES = 4000
LARGEST_GAP = 100_000  # bytes; malloc maps anything beyond 128 KiB by itself
MOST_REMEMBERED = 1000  # supervisors, before those that have ended are forgotten


def fill_holes() -> list[bytes]:
    """Objects in the free places of the allocator's half-used pools (sizes up to 512 bytes), never given back.

    What a fork makes then comes to lie side by side in pools of its own instead of in hundreds of pages it would have to
    copy. Of each size as many as it takes until two fresh pools were begun: their first place is known by its address.
    """
    header, kept = b"".__sizeof__(), []
    for size in range(48, 513, 16):
        fresh = 0
        for _ in range(MOST_HOLES):
            kept.append(bytes(size - header))
            fresh += id(kept[-1]) % POOL == POOL_HEADER
            if fresh == 2:
                break
    return kept


def fill_heap() -> list[bytes]:
    """The same for what is larger than 512 bytes, which comes from malloc: gaps between what is used, largest first."""
    edge = id(bytes(LARGEST_GAP))  # no gap is so large: here the unused end begins
    header, kept = b"".__sizeof__(), []
    for size in (*range(LARGEST_GAP // 2, 4096, -1024), *range(4096, 528, -64), *range(1024, 512, -16)):
        for _ in range(MOST_HOLES):
            kept.append(bytes(size - header))
            if id(kept[-1]) > edge:
                kept.pop()
                break
    return kept


class NotHere(importlib.abc.MetaPathFinder):
    """Refuses packages that must stay in processes of their own."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in NEVER_HERE:
            raise ImportError(f"{name} is not for the warm process: run this program by exec (see netns/README.md)")
        return None


def preload(names: Sequence[str], execed: Sequence[str], skipped: dict[str, str]) -> None:
    """Imports libraries and node programs; one that cannot be imported is reported and left to its own node."""
    wanted = [*LIBRARIES, *names]
    with contextlib.suppress(ImportError):
        package = importlib.import_module(AGENTS)
        for found in pkgutil.iter_modules(package.__path__):
            if not found.ispkg and not found.name.startswith(("_", *execed)):
                wanted.append(f"{AGENTS}.{found.name}")
    load(wanted, skipped)


def load(names: Sequence[str], skipped: dict[str, str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as exc:  # a broken program must not stop the others; its node says so when used
            skipped[name] = f"{type(exc).__name__}: {exc}"


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    received = wire.receive(sock)
    if received is None:
        return
    config, _ = received
    sources = tree.Sources.here()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle; we end with its socket
    linux.set_title(f"lb-zygote owner={config['owner']}", "lb-zygote")
    skipped: dict[str, str] = {}
    try:
        if os.geteuid() == 0:
            rootdrop.prepare_as_root(rootdrop.account(config.get("user")), sources.paths())
            rootdrop.drop_privileges(config.get("user"))
        # At once, also in the middle of our imports, and when it has ended before we began; a drop would undo it.
        linux.die_with_parent(int(config["owner"].partition(".")[0]))
        sys.meta_path.insert(0, NotHere())
        preload(config["preload"], config["execed"], skipped)
        kept = [*fill_holes(), *fill_heap()]
        sys._clear_type_cache()
        rehearsal.rehearse(skipped)
        # Here once, for it writes to the pages of a thousand modules. From now on nothing of the package is imported here.
        tree.follow_package(sources.package)
        confine.filter_for_this_machine()
        os.environ.clear()  # what programs start inherits this; our own paths are not in sight there
        os.environ.update(tree.environment())
    except Exception as exc:  # the driver turns it into DriverUnavailable with a remedy
        wire.send(
            sock,
            {"event": "failed", "error": f"{type(exc).__name__}: {exc}", "remedy": str(getattr(exc, "remedy", ""))},
        )
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors are reaped by the kernel
    gc.collect()
    kept += [*fill_holes(), *fill_heap()]
    gc.freeze()
    linux.collapse_memory()
    wire.send(sock, {"event": "ready", "uid": os.geteuid(), "skipped": skipped})
    serve(sock, sources, config["owner"])
    del kept


def serve(sock: socket.socket, sources: tree.Sources, owner: str) -> None:
    supervisors: dict[int, int] = {}  # pids by the range's number
    while (received := wire.receive(sock)) is not None:
        message, fds = received
        if message["verb"] == "open":
            control, death = socket.socket(fileno=fds[0]), fds[1]
            try:
                pid = os.fork()
            except OSError as exc:
                wire.send(control, {"event": "failed", "error": f"fork: {exc}"})
                pid = -1
            if pid == 0:
                sock.close()
                fork_range(control, death, message, sources, owner)
            if len(supervisors) >= MOST_REMEMBERED:
                supervisors = {number: one for number, one in supervisors.items() if is_ours(one)}
            supervisors[message["number"]] = pid
            control.close()
            os.close(death)
        elif message["verb"] == "kill":
            pid = supervisors.pop(message["number"], 0)
            if pid > 0 and is_ours(pid):
                os.kill(pid, signal.SIGKILL)


def fork_range(control: socket.socket, death: int, message: dict[str, Any], sources: tree.Sources, owner: str) -> None:
    try:
        supervisor.run_range(control, death, message["range"], Limits(**message["limits"]), sources, owner)
    finally:
        os._exit(1)


def is_ours(pid: int) -> bool:
    """Whether that pid is still a child of ours: a number may have been given to somebody else meanwhile."""
    try:
        return int(linux.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1]) == os.getpid()
    except (OSError, IndexError, ValueError):
        return False


if __name__ == "__main__":
    main()
