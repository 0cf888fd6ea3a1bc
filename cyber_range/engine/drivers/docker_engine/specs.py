"""From plan values to the words of the Docker API: names, labels, fences (pure).

Networks are ordinary bridges, not `internal` ones: where br_netfilter is on, Docker's rules for an internal network
drop whatever a range's firewall forwards (its source lies outside the second network). The fence is ours instead:
no address on the bridge, no masquerading, and `guard`, which lets nothing from these bridges into the host's own
stack, raw frames to the bridge's MAC and IPv6 link-local included.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

from docker.types import EndpointConfig, HostConfig, IPAMConfig, IPAMPool, LogConfig, Ulimit

from cyber_range.engine.plan import Limits, NodePlan, ZonePlan

RANGE, OWNER, KIND, NAME = "lianbing.range", "lianbing.owner", "lianbing.kind", "lianbing.name"
BRIDGE, HIDDEN, PLACEMENT = "lianbing.bridge", "lianbing.hidden", "lianbing.placement"
SHELL, KEEP_ADMIN = "lianbing.shell", "lianbing.net-admin"
GENERATION = "lianbing.generation"  # how often the range was reset before this node was made
BASE_CAPS = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "NET_RAW"]
WIRING_CAPS = ["NET_ADMIN", "SETPCAP"]  # given up by init.py before anything else runs, and by enter.py
TOOL_CAPS = ["SETGID", "SETUID"]  # tcpdump will not run as root without changing its user; nodes with a shell only
HUB_CAPS = ["NET_RAW"]
MAC_PER_LEG_API = (1, 44)  # from here Docker takes a MAC for every network, and has a default gateway per network
OPEN_FILES = 4096


def labels(range_id: str, owner: str, kind: str, name: str, **more: str) -> dict[str, str]:
    return {RANGE: range_id, OWNER: owner, KIND: kind, NAME: name, **more}


def network_name(range_id: str, zone: str) -> str:
    return f"lb-{range_id}-{zone}"


def container_name(range_id: str, node: str, generation: int = 0) -> str:
    """Of its own per generation: after a reset the old containers are still there for a while."""
    return f"lb-{range_id}-{node}" + (f".{generation}" if generation else "")


def unused_address(zone: ZonePlan, taken: Iterable[str]) -> str:
    """Docker insists on a gateway address of its own; one that no node has. ValueError when the block is full."""
    used = set(taken)
    for address in reversed(list(ipaddress.IPv4Network(zone.subnet).hosts())):
        if str(address) not in used:
            return str(address)
    raise ValueError(f"zone {zone.name} has no free address in {zone.subnet} for Docker's gateway")


def network(range_id: str, owner: str, zone: ZonePlan, taken: Iterable[str], server: tuple[int, ...]) -> dict[str, Any]:
    """Keyword arguments of APIClient.create_network."""
    options = {
        "com.docker.network.bridge.name": zone.bridge,
        "com.docker.network.bridge.inhibit_ipv4": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
        "com.docker.network.bridge.enable_icc": "true",
    }
    if server >= (28,):  # its default drops what another bridge brought for a container's address
        options["com.docker.network.bridge.gateway_mode_ipv4"] = "nat-unprotected"
    pool = IPAMPool(subnet=zone.subnet, gateway=unused_address(zone, taken))
    return {
        "name": network_name(range_id, zone.name),
        "driver": "bridge",
        "options": options,
        "ipam": IPAMConfig(pool_configs=[pool]),
        "check_duplicate": True,
        "enable_ipv6": False,
        "labels": labels(range_id, owner, "zone", zone.name, **{BRIDGE: zone.bridge, HIDDEN: str(zone.hidden).lower()}),
    }


def init_argument(node: NodePlan) -> str:
    return json.dumps(
        {
            "node": node.name,
            "legs": [{"ifname": leg.ifname, "ip": leg.ip, "mac": leg.mac} for leg in node.interfaces],
            "routes": [list(route) for route in node.routes],
            "neighbours": [list(neighbour) for neighbour in node.neighbours],
            "keep_net_admin": "net_admin" in node.caps,
        }
    )


def container(
    range_id: str, owner: str, node: NodePlan, image: str, limits: Limits, api: tuple[int, ...], generation: int = 0
) -> dict[str, Any]:
    """Name and keyword arguments of APIClient.create_container_config, for the first leg alone; the others are connected later."""
    hub = node.placement == "hub"
    first = None if hub or not node.interfaces else node.interfaces[0]
    return {
        "image": image,
        "command": [init_argument(node)],
        "name": container_name(range_id, node.name, generation),
        "hostname": None if hub else node.name,
        "stdin_open": True,
        "tty": False,
        "stop_signal": "KILL",
        "labels": labels(
            range_id,
            owner,
            "node",
            node.name,
            **{
                PLACEMENT: node.placement,
                SHELL: str(node.shell and not hub).lower(),
                KEEP_ADMIN: str("net_admin" in node.caps and not hub).lower(),
                GENERATION: str(generation),
            },
        ),
        "mac_address": first.mac if first is not None and api < MAC_PER_LEG_API else None,
        "networking_config": None
        if first is None
        else {"EndpointsConfig": {network_name(range_id, first.zone): endpoint(first.ip, first.mac, api)}},
        "host_config": host_config(range_id, node, limits, api, first.zone if first is not None else None),
    }


def endpoint(ip: str, mac: str, api: tuple[int, ...]) -> EndpointConfig:
    version = ".".join(map(str, api))
    return EndpointConfig(version, ipv4_address=ip, mac_address=mac if api >= MAC_PER_LEG_API else None)


def host_config(range_id: str, node: NodePlan, limits: Limits, api: tuple[int, ...], zone: str | None) -> HostConfig:
    hub = node.placement == "hub"
    caps = HUB_CAPS if hub else [*BASE_CAPS, *WIRING_CAPS, *(TOOL_CAPS if node.shell else [])]
    sysctls = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}
    if node.forwards:
        sysctls["net.ipv4.ip_forward"] = "1"
    return HostConfig(
        ".".join(map(str, api)),
        network_mode="host" if hub else ("none" if zone is None else network_name(range_id, zone)),
        cap_drop=["ALL"],
        cap_add=caps,
        security_opt=["no-new-privileges:true"],
        read_only=True,
        # the node's only store: /run, /root, /home, /srv and /var/log are links of the image that lead into it
        tmpfs={
            "/tmp": f"rw,nosuid,nodev,size={limits.node_store_mib}m,nr_inodes=4k,mode=1777",  # noqa: S108
            "/dev/shm": "rw,nosuid,nodev,noexec,size=1m,nr_inodes=1k,mode=1777",  # noqa: S108 - Docker's own counts no files
        },
        mem_limit=f"{limits.node_memory_mib}m",
        memswap_limit=f"{limits.node_memory_mib}m",
        nano_cpus=int(limits.cpus * 1e9),
        pids_limit=limits.node_pids,
        ulimits=[Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES), Ulimit(name="core", soft=0, hard=0)],
        oom_score_adj=500,
        log_config=LogConfig(type=LogConfig.types.NONE),
        restart_policy=None,
        init=False,
        ipc_mode="private",
        # Docker's own resolver asks from the container when the server is named, and there nothing answers;
        # left alone it may ask from the host's namespace and carry names out of the range.
        dns=None if hub else ["127.0.0.1"],
        dns_opt=None if hub else ["timeout:1", "attempts:1"],  # an unknown name is known to be unknown soon
        extra_hosts=None if hub else [f"{name}:{ip}" for ip, name in node.hosts],
        sysctls=None if hub else sysctls,
    )
