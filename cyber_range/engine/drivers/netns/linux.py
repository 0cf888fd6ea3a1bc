"""The system calls Python 3.11 has no word for, by ctypes. Linux on x86_64 and aarch64 only.

Every function raises OSError with the call's name, so that an error message says which step of the recipe failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_IDMAP = 1, 2, 4, 8, 0x100000
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME = 1, 4, 15
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

HUGE, MADV_COLLAPSE = 2 << 20, 25

MACHINE = platform.machine()
SYSCALLS = {  # number of the calls glibc 2.31 does not wrap; the new ones are equal on both machines
    "x86_64": {"pivot_root": 155, "capset": 126, "seccomp": 317, "close_range": 436, "clone": 56},
    "aarch64": {"pivot_root": 41, "capset": 91, "seccomp": 277, "close_range": 436, "clone": 220},
}
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442

CAPABILITIES = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "kill": 5,
    "net_bind_service": 10,
    "net_admin": 12,
    "net_raw": 13,
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)


def call(name: str, *args: object) -> int:
    """A libc function by name; OSError names it."""
    result = getattr(_libc, name)(*args)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)


def syscall(name: str, number: int, *args: object) -> int:
    """A system call by number. Integers go as C longs, so that no upper half is left undefined."""
    longs = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = _libc.syscall(ctypes.c_long(number), *longs)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return int(result)


def clone_into(flags: int) -> int:
    """fork(2) and new namespaces in one step: pid in the parent, 0 in the child, which is pid 1 of its own pid namespace.

    A third of the cost of unshare, fork and fork again. Python's fork hooks do not run in the child (ours forks again
    with os.fork for anything that is not ours); the GIL stays held (PyDLL), and there must be one thread only.
    """
    longs = [ctypes.c_long(value) for value in (SYSCALLS[MACHINE]["clone"], flags | signal.SIGCHLD, 0, 0, 0, 0)]
    result = int(_libc_with_gil.syscall(*longs))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"clone: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    call("unshare", ctypes.c_int(flags))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    def encoded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    try:
        call("mount", encoded(source), encoded(target), encoded(kind), ctypes.c_ulong(flags), encoded(data))
    except OSError as exc:
        raise OSError(exc.errno, f"mount {kind or source} on {target}: {os.strerror(exc.errno or 0)}") from None


def umount(target: str) -> None:
    call("umount2", os.fsencode(target), ctypes.c_int(MNT_DETACH))


def mount_attributes(target: str, attributes: int, *, recursive: bool = True) -> None:
    """mount_setattr: adds attributes to a mount and everything under it. Kernels before 5.12 have none: remount."""
    request = struct.pack("QQQQ", attributes, 0, 0, 0)
    try:
        syscall(
            "mount_setattr",
            MOUNT_SETATTR,
            AT_FDCWD,
            os.fsencode(target),
            AT_RECURSIVE if recursive else 0,
            request,
            len(request),
        )
    except OSError as exc:
        if exc.errno != 38:  # ENOSYS
            raise OSError(exc.errno, f"mount_setattr on {target}: {os.strerror(exc.errno or 0)}") from None
        remount_each(target, attributes, recursive=recursive)


def remount_each(target: str, attributes: int, *, recursive: bool) -> None:
    """The old way: every mount point at or below `target` is remounted with its locked flags kept."""
    kept = {
        os.ST_NOSUID: MS_NOSUID,
        os.ST_NODEV: MS_NODEV,
        os.ST_NOEXEC: MS_NOEXEC,
        os.ST_NOATIME: 1024,
        os.ST_NODIRATIME: 2048,
        os.ST_RELATIME: 1 << 21,
        os.ST_RDONLY: MS_RDONLY,
    }
    points = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            point = line.split()[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
            if point == target or (recursive and point.startswith(target.rstrip("/") + "/")):
                points.append(point)
    for point in points:
        flags = MS_REMOUNT | MS_BIND | attributes  # RDONLY NOSUID NODEV NOEXEC have the same bits in both worlds
        have = os.statvfs(point).f_flag
        for bit, flag in kept.items():
            flags |= flag if have & bit else 0
        mount(None, point, None, flags)


def pivot_here(root: str) -> None:
    """Makes `root` the root of this mount namespace and lets go of everything else."""
    os.chdir(root)
    syscall("pivot_root", SYSCALLS[MACHINE]["pivot_root"], b".", b".")
    umount(".")
    os.chdir("/")


def clone_tree(path: str) -> int:
    """A detached copy of the mount at `path`, as a descriptor (open_tree)."""
    return syscall(
        "open_tree", OPEN_TREE, AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    )


def map_owner(tree: int, user_namespace: int) -> None:
    """Idmaps a detached mount: owners on disk are read through that user namespace (kernel 5.12, ext4 xfs btrfs…)."""
    request = struct.pack("QQQQ", ATTR_IDMAP, 0, 0, user_namespace)
    syscall("mount_setattr", MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH | AT_RECURSIVE, request, len(request))


def attach_tree(tree: int, target: str) -> None:
    syscall("move_mount", MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)


def prctl(option: int, value: int = 0, third: int = 0) -> None:
    call(
        "prctl",
        ctypes.c_int(option),
        ctypes.c_ulong(value),
        ctypes.c_ulong(third),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )


def die_with_parent(expected_parent: int) -> None:
    """SIGKILL when the parent's main thread ends, and at once when it has ended already."""
    prctl(PR_SET_PDEATHSIG, 9)
    if os.getppid() != expected_parent:
        os._exit(1)


def set_dumpable(value: bool) -> None:
    prctl(PR_SET_DUMPABLE, int(value))


def set_hostname(name: str) -> None:
    raw = name.encode()
    call("sethostname", raw, ctypes.c_size_t(len(raw)))


def close_all_but(keep: set[int]) -> None:
    """Closes every descriptor above 2 that is not kept."""
    start = 3
    for fd in sorted(fd for fd in keep if fd > 2):
        if fd > start:
            close_range(start, fd - 1)
        start = fd + 1
    close_range(start, 0xFFFFFFFF)


def close_range(first: int, last: int) -> None:
    try:
        syscall("close_range", SYSCALLS[MACHINE]["close_range"], first, last, 0)
    except OSError as exc:
        if exc.errno != 38:
            raise
        for fd in (int(name) for name in os.listdir("/proc/self/fd")):
            if first <= fd <= last:
                with contextlib.suppress(OSError):  # the listing's own descriptor is gone already
                    os.close(fd)


def null_stdio() -> None:
    """Points descriptors 0, 1, 2 at /dev/null (the current tree's)."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def keep_capabilities(keep: frozenset[int]) -> None:
    """Bounding, permitted and effective sets become exactly `keep`; inheritable and ambient become empty.

    securebits are left alone: exec by uid 0 refills only up to the bounding set.
    """
    last = int(read_text("/proc/sys/kernel/cap_last_cap"))
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(last + 1):
        if number not in keep:
            prctl(PR_CAPBSET_DROP, number)
    mask = sum(1 << number for number in keep)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, ourselves
    data = struct.pack("IIIIII", low, low, 0, high, high, 0)
    syscall("capset", SYSCALLS[MACHINE]["capset"], header, data)


def load_seccomp(program: bytes) -> None:
    """Loads a BPF filter; NO_NEW_PRIVS must be set already."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    syscall("seccomp", SYSCALLS[MACHINE]["seccomp"], 1, 0, fprog)


def collapse_memory() -> int:
    """Puts our anonymous memory into huge pages (MADV_COLLAPSE, Linux 6.1); how many mebibytes. A kernel without: 0.

    A fork then copies one entry for 2 MiB instead of 512; a child that writes gets its own 4 KiB as before.
    """
    done = 0
    for line in read_text("/proc/self/maps").splitlines():
        fields = line.split()
        if fields[1] != "rw-p" or (len(fields) > 5 and fields[5] != "[heap]"):
            continue
        first, last = (int(part, 16) for part in fields[0].split("-"))
        first, last = -(-first // HUGE) * HUGE, last // HUGE * HUGE
        for place in range(first, last, HUGE):
            if _libc.madvise(ctypes.c_void_p(place), ctypes.c_size_t(HUGE), ctypes.c_int(MADV_COLLAPSE)) == 0:
                done += HUGE >> 20
    return done


def read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def new_user_namespace_maps(inside: int, outside: int, group: int) -> None:
    """One uid and one gid: `inside` here is uid `outside` and gid `group` out there; setgroups is given up for good.

    Ids must be read before the unshare: after it they are all the overflow id.
    """
    write_text("/proc/self/setgroups", "deny")
    write_text("/proc/self/uid_map", f"{inside} {outside} 1")
    write_text("/proc/self/gid_map", f"{inside} {group} 1")


_argv: tuple[int, int] | None = None


def set_title(title: str, name: str = "") -> None:
    """Overwrites our argv (what ps and sweep read) within the room the command line took, and the thread's name."""
    global _argv
    if sys.platform != "linux":
        return
    if _argv is None:
        fields = read_text("/proc/self/stat").rpartition(")")[2].split()
        _argv = int(fields[45]), int(fields[46])  # arg_start, arg_end: fields 48 and 49 of proc(5)
    start, end = _argv
    if start and end - start > 1:
        room = end - start - 1
        ctypes.memmove(start, title.encode()[:room].ljust(room + 1, b"\0"), room + 1)
    call(
        "prctl",
        ctypes.c_int(PR_SET_NAME),
        (name or title).encode()[:15],
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
