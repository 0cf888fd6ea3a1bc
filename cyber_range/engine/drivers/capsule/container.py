"""From a range's limits to the container that holds it, in the words of the Docker API (pure)."""

from __future__ import annotations

import json
from typing import Any

from docker.types import HostConfig, LogConfig, Mount, Ulimit

from cyber_range.engine.drivers.capsule.profile import profile
from cyber_range.engine.plan import Limits

RANGE, OWNER = (
    "lianbing.capsule",
    "lianbing.capsule.owner",
)  # labels; the docker driver's are others, so nobody sweeps both
MEETING = "/capsule"  # folder in the container that holds the one socket
MODULE = "cyber_range.engine.drivers.netns.contained"
KEEPERS_MIB, KEEPERS_PIDS = 96, 16  # for the warm process and the range's two supervisors, beside the nodes
FIRST_UID = 1_000_000_000  # a user of its own for each capsule: what the kernel counts per user is nobody else's
CPU_PERIOD = 400_000  # µs, four times the usual one: a launch, which takes all cores for a moment, is not cut to pieces
OPEN_FILES = 16_384
TITLE_ROOM = "-" * 64


def name(range_id: str) -> str:
    return f"lb-{range_id}-capsule"


def uid(range_id: str) -> int:
    """From the range's id; two of one host collide once in 200 million, and then share pools, nothing else."""
    return FIRST_UID + int.from_bytes(range_id.encode(), "big") % 200_000_000


def container(
    range_id: str, owner: str, image: str, limits: Limits, folder: str, architecture: str, api: str, *, apparmor: bool
) -> dict[str, Any]:
    """Keyword arguments of APIClient.create_container_config, and `name`."""
    user = uid(range_id)
    return {
        "name": name(range_id),
        "image": image,
        "entrypoint": ["python3", "-I", "-m", MODULE],
        "command": [f"{MEETING}/socket", TITLE_ROOM],
        "user": f"{user}:{user}",
        "hostname": "capsule",
        "stop_signal": "KILL",
        "labels": {RANGE: range_id, OWNER: owner},
        "host_config": host_config(limits, folder, architecture, api, apparmor=apparmor),
    }


def host_config(limits: Limits, folder: str, architecture: str, api: str, *, apparmor: bool) -> HostConfig:
    memory = f"{limits.memory_mib + KEEPERS_MIB}m"
    fences = ["no-new-privileges:true", f"seccomp={json.dumps(profile(architecture))}"]
    if apparmor:  # docker-default forbids every mount, in a namespace of one's own too
        fences.append("apparmor=unconfined")
    made = HostConfig(
        api,
        auto_remove=True,  # its first process ends with our socket: a killed range host leaves no container
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=fences,
        read_only=True,
        tmpfs={"/tmp": "rw,nosuid,nodev,noexec,size=8m,mode=1777"},  # noqa: S108
        mounts=[Mount(MEETING, folder, type="bind", read_only=True)],
        shm_size="1m",
        mem_limit=memory,
        memswap_limit=memory,
        cpu_period=CPU_PERIOD,
        cpu_quota=int(limits.cpus * CPU_PERIOD),
        pids_limit=limits.range_pids + KEEPERS_PIDS,
        ulimits=[Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES), Ulimit(name="core", soft=0, hard=0)],
        oom_score_adj=500,
        log_config=LogConfig(type=LogConfig.types.NONE),
        init=False,
        ipc_mode="private",
    )
    # `--security-opt systempaths=unconfined`, which is a word of the client: a /proc with covered places cannot be
    # mounted again in the namespaces within. Nodes cover theirs themselves (netns/tree.py).
    made["MaskedPaths"], made["ReadonlyPaths"] = [], []
    return made
