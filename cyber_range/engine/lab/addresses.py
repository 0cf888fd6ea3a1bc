"""Small address blocks for ranges, from configured pools, never overlapping what the host already uses.

Docker's default pools end at about 31 networks and overlap in silence; here every range gets an explicit block, and when
none is left the error names the network that stands in the way.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cyber_range.engine.errors import AddressSpaceTaken

Block = ipaddress.IPv4Network

# Away from what homes and factories use (192.168/16, 10.0/16) and from Docker's own 172.17/16..172.31/16.
DEFAULT_POOLS = (Block("10.213.0.0/16"), Block("10.77.0.0/16"), Block("172.30.0.0/15"))


class Claims:
    """Blocks that engines of this user have chosen and not made yet: record locks on one file, an octet per address.

    Between the choice of a block and the network that shows it lie seconds in which a second engine (another range-host, a
    command line) would choose the same one. Locks of an open file description end with it, so a killed engine leaves none.
    Without a file to lock everything works as if this were the only engine.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._fd = -1
        path = path or Path(tempfile.gettempdir()) / f"lianbing-blocks-{os.getuid()}"
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def take(self, block: Block) -> bool:
        """False when another engine holds an address of it."""
        return self._set(fcntl.F_WRLCK, block)

    def give_back(self, block: Block) -> None:
        self._set(fcntl.F_UNLCK, block)

    def _set(self, kind: int, block: Block) -> bool:
        if self._fd < 0:
            return True
        lock = struct.pack("@hhqqi", kind, os.SEEK_SET, int(block.network_address), block.num_addresses, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError:
            return False
        except OSError:  # a file system without such locks
            return True
        return True


class AddressPool:
    """Gives blocks out and takes them back. `used_by_host` says network -> who has it, asked anew for every block."""

    def __init__(
        self,
        pools: Iterable[Block] = DEFAULT_POOLS,
        *,
        used_by_host: Callable[[], Mapping[Block, str]] | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._pools = tuple(pools)
        self._used_by_host = used_by_host or used_by_this_host
        self._claims = claims or Claims()
        self._given: dict[str, Block] = {}

    @property
    def given(self) -> Mapping[str, Block]:
        return dict(self._given)

    def take(self, range_id: str, prefix: int) -> Block:
        """A free block of that size; the same block when the range has one already."""
        if range_id in self._given:
            return self._given[range_id]
        host = self._used_by_host()
        # A network of a range of ours is there because we made it.
        own = tuple(self._given.values())
        foreign = {network: who for network, who in host.items() if not any(network.subnet_of(block) for block in own)}
        blockers: dict[str, None] = {}
        for pool in self._pools:
            if prefix < pool.prefixlen:
                blockers[f"pool {pool} is smaller than /{prefix}"] = None
                continue
            cursor = int(pool.network_address)
            size = 2 ** (32 - prefix)
            while cursor <= int(pool.broadcast_address):
                block = Block((cursor, prefix))
                taken = next((other for other in own if other.overlaps(block)), None)
                if taken is None:
                    taken = next((network for network in foreign if network.overlaps(block)), None)
                    if taken is not None:
                        blockers[f"{foreign[taken]} uses {taken}"] = None
                if taken is None and not self._claims.take(block):
                    taken = block
                    blockers[f"another engine on this machine has chosen {block}"] = None
                if taken is None:
                    self._given[range_id] = block
                    return block
                # Jump behind what is in the way, to the next aligned start.
                after = max(int(taken.broadcast_address) + 1, cursor + 1)
                cursor = -(-after // size) * size
        said = list(blockers) or [f"{len(own)} ranges hold all of it"]
        raise AddressSpaceTaken(
            f"no free /{prefix} is left in {', '.join(str(pool) for pool in self._pools)}: {'; '.join(said[:5])}",
            remedy="Destroy ranges that are not needed, remove that network, or give range-host another --pool",
            blocking=said,
        )

    def hold(self, range_id: str, block: Block) -> None:
        """Notes the block of a range that was found again."""
        self._claims.take(block)
        self._given[range_id] = block

    def claim(self, range_id: str, block: Block) -> None:
        """Takes exactly this block again; AddressSpaceTaken when it was given to another range meanwhile."""
        for other, taken in self._given.items():
            if other != range_id and taken.overlaps(block):
                raise AddressSpaceTaken(
                    f"block {block} of range {range_id} was given to range {other}",
                    remedy="Launch the scenario under a new id", blocking=[f"range {other} uses {taken}"],
                )  # fmt: skip
        if self._given.get(range_id) != block and not self._claims.take(block):
            raise AddressSpaceTaken(
                f"block {block} of range {range_id} was given to a range of another engine on this machine",
                remedy="Launch the scenario under a new id", blocking=[f"another engine uses {block}"],
            )  # fmt: skip
        self._given[range_id] = block

    def give_back(self, range_id: str) -> None:
        block = self._given.pop(range_id, None)
        if block is not None:
            self._claims.give_back(block)


def used_by_this_host() -> dict[Block, str]:
    """Every IPv4 network of the main routing table, and every Docker network where a `docker` command answers."""
    used = _routes(Path("/proc/net/route"))
    used.update(_docker_networks())
    return used


def _routes(table: Path) -> dict[Block, str]:
    """/proc/net/route: addresses are little-endian hex. The default route uses nothing."""
    used: dict[Block, str] = {}
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return used
    for line in lines:
        fields = line.split()
        if len(fields) < 8:
            continue
        address = ipaddress.IPv4Address(bytes.fromhex(fields[1])[::-1])
        mask = ipaddress.IPv4Address(bytes.fromhex(fields[7])[::-1])
        network = Block(f"{address}/{mask}", strict=False)
        if network.prefixlen > 0:
            used[network] = f"interface {fields[0]}"
    return used


def _docker_networks() -> dict[Block, str]:
    """Docker networks without a running container have no route, and yet the engine refuses to overlap them."""
    docker = shutil.which("docker")
    if docker is None or not Path("/var/run/docker.sock").exists():
        return {}
    try:
        listed = subprocess.run(  # noqa: S603 - the docker found on PATH, no word of anybody else's
            [docker, "network", "ls", "-q"], capture_output=True, timeout=5, check=True
        )
        names = listed.stdout.split()
        if not names:
            return {}
        found = subprocess.run(  # noqa: S603 - likewise; the ids are docker's own
            [docker, "network", "inspect", *[name.decode() for name in names]],
            capture_output=True,
            timeout=5,
            check=False,
        )
        networks = json.loads(found.stdout or b"[]")
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}  # no engine that answers: then it has no networks to overlap
    used: dict[Block, str] = {}
    for network in networks:
        for config in (network.get("IPAM") or {}).get("Config") or []:
            try:
                used[Block(config.get("Subnet", ""), strict=False)] = f"Docker network {network.get('Name')}"
            except ValueError:
                continue  # IPv6
    return used
