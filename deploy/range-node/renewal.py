"""Makes a node new without a new container: nothing runs in it but process 1, nothing is stored in it.

What a node can keep lies in three places: its processes, its small tmpfs, its own IPC objects. Root is read-only, and so are
/proc/sys and /sys; its network is as process 1 wired it, for nobody after that has the right to change it (nodes that keep
NET_ADMIN are replaced instead). Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time

STORES = ("/tmp", "/dev/shm", "/dev/mqueue")  # noqa: S108 - the node's own
KILLING_SECONDS = 10.0
IPC_RMID = 0
libc = ctypes.CDLL(None, use_errno=True)


def renew() -> None:
    """OSError or RecursionError when something is left: such a node has to be replaced."""
    end_everybody()
    for store in STORES:
        empty(store)
    remove_ipc()


def end_everybody() -> None:
    """Every process of this PID namespace but the first, which the kernel leaves out of kill(-1)."""
    deadline = time.monotonic() + KILLING_SECONDS
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        if not alive():
            return
        if time.monotonic() > deadline:
            raise TimeoutError("a process of the node does not end")
        time.sleep(0.002)


def alive() -> bool:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and entry != "1":
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    if file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                        return True
            except OSError:
                continue  # it has just ended
    return False


def empty(folder: str) -> None:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def remove_ipc() -> None:
    for kind, remove in (
        ("shm", lambda number: libc.shmctl(number, IPC_RMID, None)),
        ("sem", lambda number: libc.semctl(number, 0, IPC_RMID, 0)),
        ("msg", lambda number: libc.msgctl(number, IPC_RMID, None)),
    ):
        try:
            with open(f"/proc/sysvipc/{kind}") as file:
                numbers = [int(line.split()[1]) for line in file.readlines()[1:]]
        except FileNotFoundError:
            continue
        for number in numbers:
            if remove(number) != 0:
                raise OSError(ctypes.get_errno(), f"{kind} {number} stays")
