"""A node's files as one archive and back, by the tar that stands on every node of the real drivers.

Archives are made and opened in the node, never on the host, so what a trainee writes into one can hurt that node alone.
"""

from __future__ import annotations

from cyber_range.engine.drivers.base import Driver
from cyber_range.engine.errors import DriverError

SECONDS = 60.0
# Where a folder is a link (docker: /root, /srv … lead into /tmp) its target is archived under its own name. What is mounted
# into a folder (Python's own prefix, when that lies below /root) is not the node's.
FOLDERS = 'cd / && set -- && for f in srv root home tmp; do [ -L $f ] || [ ! -d $f ] || set -- "$@" $f; done'
FOUND = 'find "$@" -xdev \\( -type f -o -type l -o -type d -empty \\) -print0'
TAKE = f"{FOLDERS}; {FOUND} | tar --warning=none --no-recursion --null -czf - -T -"
PUT = f'{FOLDERS}; find "$@" -xdev \\( -type f -o -type l \\) -delete; exec tar --warning=none --no-same-owner --no-overwrite-dir -xzf -'


async def take(driver: Driver, range_id: str, node: str, limit: int) -> bytes:
    """`limit`: bytes of output that driver hands through. A file that grows while it is read is no error (code 1)."""
    done = await driver.exec(range_id, node, ["sh", "-c", TAKE], timeout=SECONDS)
    if len(done.stdout) >= limit:
        raise DriverError(
            f"The files of node {node} take more than {limit >> 20} MiB even compressed",
            remedy="Delete what need not be kept there (captures, downloads), then try again",
            node=node,
        )
    if done.timed_out or done.code > 1:
        raise DriverError(f"The files of node {node} cannot be read: {why(done.stderr, done.timed_out)}", node=node)
    return done.stdout


async def put(driver: Driver, range_id: str, node: str, archive: bytes) -> None:
    done = await driver.exec(range_id, node, ["sh", "-c", PUT], stdin=archive, timeout=SECONDS)
    if done.timed_out or done.code:
        raise DriverError(f"The files of node {node} cannot be put back: {why(done.stderr, done.timed_out)}", node=node)


def why(stderr: bytes, timed_out: bool) -> str:
    said = stderr.decode(errors="replace").strip().splitlines()[:1]
    return said[0] if said else f"not done in {SECONDS:.0f} s" if timed_out else "no reason given"
