"""The capsule's first process: meets the driver at the one socket, forks one range, ends with either of them.

`python3 -I -m cyber_range.engine.drivers.netns.contained <socket> <title room>`. It speaks as the zygote of netns does
({"verb": "open", …} with two descriptors), but only once: a capsule holds one range. Node programs are imported by the
range's supervisor when it learns which ones there are (verb `preload`), not before: that would be half of the launch.
"""

from __future__ import annotations

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
    received = wire.receive(sock)
    if received is None:
        return
    message, fds = received
    control, death = socket.socket(fileno=fds[0]), fds[1]
    pid = os.fork()
    if pid == 0:
        sock.close()
        zygote.fork_range(control, death, message, sources, "capsule")
    control.close()
    os.close(death)
    watch(sock, pid)


def watch(sock: socket.socket, pid: int) -> None:
    """Returns when the driver hangs up, wants the range killed, or the range has ended; our end is the capsule's."""
    alarm = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(alarm, select.POLLIN)
    while True:
        poll.poll()
        while True:  # orphans come to us: we are pid 1 here
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if ended == pid:
                return
            if ended == 0:
                break
        if select.select([sock], [], [], 0)[0]:
            return


if __name__ == "__main__":
    main()
