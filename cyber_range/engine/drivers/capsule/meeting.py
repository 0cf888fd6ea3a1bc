"""The folder where a capsule and its driver meet: one socket, one connection, then the folder is gone.

The outer folder is its owner's alone (0700); only the inner one is bound into the container, where the capsule's own user
may connect. Names carry the owner's pid and start time, so that a sweep knows what a killed driver left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

from cyber_range.engine.drivers.netns.sweep import Owner

FOLDER_VARIABLE = "LIANBING_CAPSULE_FOLDER"  # where the Docker engine sees the same files as we do
NAMES = re.compile(r"lb-capsule-(?P<pid>\d+)\.(?P<start>\d+)-")


def place() -> str:
    return os.environ.get(FOLDER_VARIABLE) or tempfile.gettempdir()


class Meeting:
    def __init__(self, owner: Owner) -> None:
        self._outer = tempfile.mkdtemp(prefix=f"lb-capsule-{owner}-", dir=place())
        self.folder = os.path.join(self._outer, "in")
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o711)  # noqa: S103 - the outer folder lets nobody come this far
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(f"{self.folder}/socket")
        os.chmod(f"{self.folder}/socket", 0o666)  # noqa: S103 - as above
        self._listener.listen(1)

    async def connection(self) -> socket.socket:
        """The capsule's one connection."""
        found, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        found.setblocking(False)
        return found

    def end(self) -> None:
        self._listener.close()
        shutil.rmtree(self._outer, ignore_errors=True)


def forget_left_over() -> int:
    """Folders whose owner is no more."""
    removed = 0
    for folder in Path(place()).glob("lb-capsule-*"):
        match = NAMES.match(folder.name)
        if match and not Owner(int(match["pid"]), int(match["start"])).alive():
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
                removed += 1
    return removed
