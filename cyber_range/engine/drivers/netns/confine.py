"""The last steps before a program or shell of a node runs: limits, capabilities, system call filter. No way back."""

from __future__ import annotations

import functools
import resource
from dataclasses import asdict, dataclass
from typing import Any

from cyber_range.engine.drivers.netns import linux, seccomp
from cyber_range.engine.plan import Limits

BASE_CAPABILITIES = frozenset({"chown", "dac_override", "fowner", "kill", "net_bind_service"})
OPEN_FILES = 256
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Fence:
    """What a node's processes may have at most."""

    memory_mib: int  # private memory of one process (RLIMIT_DATA)
    pids: int  # processes of the whole node
    store_mib: int  # largest file, as large as the store
    caps: tuple[str, ...]  # beyond the base set

    @classmethod
    def of(cls, limits: Limits, caps: frozenset[str]) -> Fence:
        return cls(limits.node_memory_mib, limits.node_pids, limits.node_store_mib, tuple(sorted(caps)))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Fence:
        return cls(**{**data, "caps": tuple(data["caps"])})


def capabilities(names: tuple[str, ...]) -> frozenset[int]:
    """Numbers of the base set and of these; KeyError names one we do not hand out."""
    return frozenset(linux.CAPABILITIES[name] for name in BASE_CAPABILITIES | frozenset(names))


def set_limits(fence: Fence) -> None:
    """Hard limits. Address space is bounded generously (libraries map much), private memory tightly."""
    values = {
        resource.RLIMIT_DATA: fence.memory_mib * MIB,
        resource.RLIMIT_AS: (2 * fence.memory_mib + 512) * MIB,
        resource.RLIMIT_NPROC: fence.pids,
        resource.RLIMIT_FSIZE: fence.store_mib * MIB,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_STACK: 8 * MIB,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 64 << 10,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_SIGPENDING: 256,
    }
    for kind, value in values.items():
        hard = resource.getrlimit(kind)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bounded, bounded))


def confine(fence: Fence, filter_program: bytes) -> None:
    """Order matters: limits while we may, no new privileges, capabilities, the filter last."""
    set_limits(fence)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.keep_capabilities(capabilities(fence.caps))
    linux.load_seccomp(filter_program)


@functools.cache
def filter_for_this_machine() -> bytes:
    return seccomp.build(linux.MACHINE)
