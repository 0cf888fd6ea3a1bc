"""Gives rights up for good: out of the bounding set and out of this process, with no_new_privileges behind it.

A module of its own because every `docker exec` needs it (enter.py) and nothing else of process 1. Standard library only.
"""

from __future__ import annotations

import ctypes
import struct

NET_ADMIN, SETPCAP = 12, 8  # linux/capability.h
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
libc = ctypes.CDLL(None, use_errno=True)


def drop_rights(names: tuple[int, ...]) -> None:
    """Out of the bounding set, then out of this process; PR_CAPBSET_DROP needs SETPCAP, so SETPCAP goes last."""
    for number in sorted(names, key=lambda number: number == SETPCAP):
        if libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1 and libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"capability {number} does not leave the bounding set")
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("=6I", data.raw))
    for number in names:
        for at in range(3):  # effective, permitted, inheritable of the low 32 capabilities
            words[at] &= ~(1 << number)
    if libc.capset(header, struct.pack("=6I", *words)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
