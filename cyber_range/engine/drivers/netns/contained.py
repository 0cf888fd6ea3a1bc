"""The capsule's first process: meets the driver at the one socket, forks one range, ends with either of them.

`python3 -I -m cyber_range.engine.drivers.netns.contained <socket> <title room>`. It speaks as the zygote of netns does
({"verb": "open", …} with two descriptors). A capsule holds one range: a second "open" (a reset) ends the first one whole,
so that its memory is free, before the next is forked. Nothing of the first outlives it: the container's root is
read-only, and all a range writes lies in its own mounts. Node programs are imported by the range's supervisor when it
learns which ones there are (verb `preload`), not before: that would be half of the launch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import select
import signal
import socket
import sys

from cyber_range.engine.drivers.netns import linux, tree, wire, zygote

LIBRARIES = f"{tree.NEUTRAL}/site"  # where the image has its Python libraries
EARLY = ("asyncio", "pymodbus.server", f"{zygote.AGENTS}.runner")  # needed in every range, imported while nobody waits


def meet(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)
    return sock


def main() -> None:
    sock = meet(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    linux.set_title("lb-capsule")
    sys.meta_path.insert(0, zygote.NotHere())
    sources = tree.Sources.here()
    if os.path.isdir(LIBRARIES):
        sources = dataclasses.replace(sources, prefixes=(*sources.prefixes, LIBRARIES))
    os.environ.clear()
    os.environ.update(tree.environment())
    gc.disable()
    zygote.load(EARLY, {})
    gc.freeze()
    wire.send(sock, {"event": "ready"})
    pid = 0
    while watch(sock, pid) and (received := wire.receive(sock)) is not None:
        if pid:
            end(pid)
        message, fds = received
        control, death = socket.socket(fileno=fds[0]), fds[1]
        pid = os.fork()
        if pid == 0:
            sock.close()
            zygote.fork_range(control, death, message, sources, "capsule")
        control.close()
        os.close(death)


def watch(sock: socket.socket, pid: int) -> bool:
    """Whether the driver has said something, or hung up; False when the range has ended by itself: our end is the
    capsule's."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    alarm = os.pidfd_open(pid) if pid else -1
    try:
        if pid:
            poll.register(alarm, select.POLLIN)
        while True:
            ready = poll.poll()
            if any(fd == sock.fileno() for fd, _ in ready):
                return True
            while True:  # orphans come to us: we are pid 1 here
                try:
                    ended, _ = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    return False
                if ended == pid:
                    return False
                if ended == 0:
                    break
    finally:
        if pid:
            os.close(alarm)


def end(pid: int) -> None:
    """Returns when nothing of the range is left: its outer process takes the inner one along, that one all others."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


if __name__ == "__main__":
    main()
