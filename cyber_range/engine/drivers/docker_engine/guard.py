"""The wall between a range's bridges and the host: nftables rules, set by one small container per driver.

A bridge without an address still hands frames for its own MAC to the host's IP stack, which answers for every
address the host has (127/8 apart) and would forward the rest. An ingress chain on each bridge device drops all of
it, whatever the protocol (IPv4, ARP, IPv6 link-local), before any stack sees it and behind the packet taps, so the
sensor on the bridge keeps seeing everything. Frames that only cross the bridge never come by.

Each range has a table of its own name: two range hosts on one machine never touch each other's, and a sweep
knows them by name.

The container has the host's network and NET_ADMIN, no node has. It is a shell that waits for scripts on its stdin: a
container of its own for each launch and each teardown would be every eleventh of a range. The engine closes that stdin
with the connection that holds it (StdinOnce), so the keeper goes when its driver does, killed or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import docker
from docker.types import HostConfig, LogConfig

from cyber_range.engine.drivers.docker_engine.removal import remove_container
from cyber_range.engine.drivers.docker_engine.wires import Wire, demultiplexed
from cyber_range.engine.errors import DriverError

KEEPER = "lianbing.wall"  # label of the keeping container; its value is the owner
END = b"="  # begins the line behind what nft said
# one script a line, its line ends as \\n
LOOP = """
while IFS= read -r line; do
  if said=$(printf %b "$line" | nft -f - 2>&1); then end==taken; else end==refused; fi
  printf '%s\\n%s\\n' "$said" "$end"
done
"""
ANSWER_SECONDS = 30.0
FAMILY, PREFIX = "netdev", "lianbing_"  # of table names; the range id follows


def rules(range_id: str, bridges: Iterable[str], *, both_ways: bool = True) -> str:
    """Replaces this range's table; the bridges must exist. `both_ways` also keeps the host's own IPv6 chatter out of
    the range, which needs a kernel with egress hooks (5.16)."""
    devices = ", ".join(f'"{bridge}"' for bridge in sorted(bridges))
    chains = "".join(
        f"  chain {hook} {{\n    type filter hook {hook} devices = {{ {devices} }} priority -300; policy drop;\n  }}\n"
        for hook in (["ingress", "egress"] if both_ways else ["ingress"])
    )
    return f"{removal(range_id)}table {FAMILY} {PREFIX}{range_id} {{\n{chains}}}\n"


def removal(range_id: str) -> str:
    """Creating before deleting makes it work when nothing is there."""
    return f"table {FAMILY} {PREFIX}{range_id}\ndelete table {FAMILY} {PREFIX}{range_id}\n"


LISTED = f"list tables {FAMILY}\n"


def named(said: str) -> set[str]:
    """The ranges that have a table, from what nft prints for LISTED."""
    begin = f"table {FAMILY} {PREFIX}"
    return {line.strip().removeprefix(begin) for line in said.splitlines() if line.strip().startswith(begin)}


class Wall:
    """The keeper of one driver, from its first script on. `call` runs a blocking function in the driver's threads."""

    def __init__(self, owner: str, call: Callable[..., Awaitable[Any]]) -> None:
        self.owner = owner
        self._call = call
        self._lock = asyncio.Lock()
        self._wire: Wire | None = None
        self._said = asyncio.StreamReader()
        self._reading: asyncio.Task[None] | None = None
        self.container = ""

    async def warm(self, client: docker.DockerClient, image: str) -> None:
        async with self._lock:
            if self._wire is None:
                await self._begin(client, image)

    async def run(self, client: docker.DockerClient, image: str, *scripts: str) -> str:
        """One transaction in the host's network namespace: the first script that the kernel takes. What nft printed."""
        said = ""
        async with self._lock:
            for script in scripts:
                taken, said = await self._ask(client, image, script)
                if taken:
                    return said
        raise DriverError(
            f"The host's kernel does not take the rules that fence a range: {said[-300:]}",
            remedy="The docker driver needs nf_tables with ingress hooks: modprobe nf_tables nfnetlink",
        )

    async def _ask(self, client: docker.DockerClient, image: str, script: str) -> tuple[bool, str]:
        for last in (False, True):  # a keeper that somebody has swept away is followed by another
            try:
                if self._wire is None:
                    await self._begin(client, image)
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._answer(script)
            except (OSError, TimeoutError) as exc:
                await self._forget()
                if last:
                    raise DriverError(
                        f"The container that keeps the wall between ranges and this host does not answer: {exc!r}",
                        remedy="See the Docker engine's log",
                    ) from exc
        raise AssertionError("unreachable")

    async def _answer(self, script: str) -> tuple[bool, str]:
        if self._wire is None:
            raise BrokenPipeError
        await self._wire.write(script.replace("\n", "\\n").encode() + b"\n")
        said = []
        while not (line := await self._said.readline()).startswith(END):
            if not line:
                raise BrokenPipeError("it has ended")
            said.append(line.decode(errors="replace"))
        return line.strip() == b"=taken", "".join(said).strip()

    async def _begin(self, client: docker.DockerClient, image: str) -> None:
        made: str = await self._call(make_keeper, client, image, self.owner)
        self.container, before = made, self.container
        if before:  # it removes itself where it ran
            await self._call(remove_container, client, before)
        ways = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._wire = Wire(await self._call(client.api.attach_socket, made, params=ways))
        self._said = asyncio.StreamReader()
        self._reading = asyncio.get_running_loop().create_task(self._read(self._wire, self._said))
        await self._call(client.api.start, made)

    @staticmethod
    async def _read(wire: Wire, said: asyncio.StreamReader) -> None:
        try:
            await demultiplexed(wire, lambda kind, data: said.feed_data(data))
        finally:
            said.feed_eof()

    async def _forget(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    async def aclose(self, client: docker.DockerClient) -> None:
        async with self._lock:
            await self._forget()
            if self.container:
                await self._call(remove_container, client, self.container)
                self.container = ""


def make_keeper(client: docker.DockerClient, image: str, owner: str) -> str:
    """Created, not started. It removes itself when it ends."""
    config = client.api.create_container_config(
        image,
        ["-c", LOOP],
        entrypoint=["/bin/sh"],
        stdin_open=True,
        labels={KEEPER: owner},
        host_config=HostConfig(
            client.api.api_version,
            network_mode="host",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            security_opt=["no-new-privileges:true"],
            read_only=True,
            pids_limit=16,
            mem_limit="64m",
            auto_remove=True,
            init=False,
            log_config=LogConfig(type=LogConfig.types.NONE),
        ),
    )
    config["StdinOnce"] = True
    return str(client.api.create_container_from_config(config)["Id"])
