"""The wall between a range's bridges and the host: nftables rules set by a short-lived container.

A bridge without an address still hands frames for its own MAC to the host's IP stack, which answers for every
address the host has (127/8 apart) and would forward the rest. An ingress chain on each bridge device drops all of
it, whatever the protocol (IPv4, ARP, IPv6 link-local), before any stack sees it and behind the packet taps, so the
sensor on the bridge keeps seeing everything. Frames that only cross the bridge never come by.

Each range has a table of its own name: two range hosts on one machine never touch each other's, and a sweep
knows them by name.
"""

from __future__ import annotations

from collections.abc import Iterable

import docker
import docker.errors

from cyber_range.engine.drivers.docker_engine.specs import KIND, OWNER, RANGE
from cyber_range.engine.errors import DriverError

EACH = 'for script; do printf %s "$script" | nft -f - && exit 0; done; exit 1'
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


def run_nft(client: docker.DockerClient, image: str, owner: str, range_id: str, *scripts: str) -> str:
    """One transaction in the host's network namespace: the first script that the kernel takes."""
    try:
        done = client.containers.run(
            image,
            [EACH, "guard", *scripts],
            entrypoint=["/bin/sh", "-c"],
            network_mode="host",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            security_opt=["no-new-privileges:true"],
            read_only=True,
            pids_limit=16,
            mem_limit="64m",
            remove=True,
            stderr=True,
            labels={RANGE: range_id, OWNER: owner, KIND: "guard"},
        )
    except docker.errors.ContainerError as exc:
        said = (exc.stderr or b"").decode(errors="replace").strip()[-300:]
        raise DriverError(
            f"The host's kernel does not take the rules that fence a range: {said}",
            remedy="The docker driver needs nf_tables with ingress hooks: modprobe nf_tables nfnetlink",
            range=range_id,
        ) from exc
    return bytes(done).decode(errors="replace")
