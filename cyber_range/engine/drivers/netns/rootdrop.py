"""From root to a user of its own, and how that user still reads a project that only its owner may enter.

As root, `prepare_as_root` gives the calling process a private mount namespace in which every needed folder can be
reached: the topmost folder that the new user may not enter is covered by an empty tmpfs and the needed folders are bound
back at their own paths (opened by O_PATH descriptors before anything is covered). Where the files themselves are closed
too (umask 077), the bind is idmapped, so that they belong to the new user there. Nothing changes for other processes.
Then `drop_privileges` gives root up for good. Both before the process makes any thread.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from cyber_range.engine.drivers.netns import linux
from cyber_range.engine.drivers.netns.tree import Sources, bind_fd, tmpfs, under
from cyber_range.engine.errors import DriverUnavailable

USER = "lianbing-range"
FALLBACK_UID = 64042  # of the block Debian leaves to local agreements (60000-64999); used when there is no such account
SAMPLES = 200  # files looked at per folder to learn whether others may read them


def account(user: str | int | None = None) -> tuple[int, int]:
    """(uid, gid) to become: the named account, else lianbing-range, else a number nobody has."""
    if isinstance(user, int):
        return user, user
    try:
        found = pwd.getpwnam(user or USER)
    except KeyError:
        if user is not None:
            raise DriverUnavailable(
                f"There is no account {user!r} for the range host",
                remedy=f"useradd --system --shell /usr/sbin/nologin {user}",
            ) from None
        return FALLBACK_UID, FALLBACK_UID
    return found.pw_uid, found.pw_gid


def drop_privileges(user: str | int | None = None) -> tuple[int, int]:
    """Becomes that user for good; (uid, gid). Nothing happens when we are not root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    uid, gid = account(user)
    if uid == 0:
        raise DriverUnavailable("The range host may not run as root", remedy=f"useradd --system {USER}")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.geteuid() != uid or regained():
        raise DriverUnavailable(
            "Root privileges could not be given up", remedy="Start the range host as an ordinary user"
        )
    return uid, gid


def regained() -> bool:
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return False
    return True


def may(status: os.stat_result, who: tuple[int, int], bits: int) -> bool:
    """Whether mode bits (rwx = 4 2 1) let this uid and gid in. Access lists are not looked at: bind when in doubt."""
    uid, gid = who
    if status.st_uid == uid:
        return (status.st_mode >> 6) & bits == bits
    if status.st_gid == gid:
        return (status.st_mode >> 3) & bits == bits
    return status.st_mode & bits == bits


def first_closed(path: str, who: tuple[int, int]) -> str | None:
    """The topmost folder above `path` that this user may not enter."""
    for folder in reversed(Path(path).parents):
        if not may(os.stat(folder), who, 1):
            return str(folder)
    return None


def readable(path: str, who: tuple[int, int]) -> bool:
    """Whether a folder and a sample of what is in it can be read; a file by itself."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        return may(status, who, 4)
    seen = 0
    for folder, folders, files in os.walk(path):
        if not may(os.stat(folder), who, 5):
            return False
        for name in files:
            place = os.path.join(folder, name)
            if not os.path.islink(place):
                seen += 1
                if not may(os.stat(place), who, 4):
                    return False
        if seen >= SAMPLES:
            folders.clear()
    return True


def prepare_as_root(
    who: tuple[int, int], needed: Iterable[str] | None = None, writable: Sequence[str] = ()
) -> list[str]:
    """Makes `needed` (default: this Python and the engine package) and `writable` reachable for uid, gid `who`.

    Call once, as root, before threads. `writable` folders (the range host's own data) are bound back read-write and
    must already belong to the user. Returns what had to be covered; empty when all was open anyway.
    """
    wanted = list(
        dict.fromkeys(
            real
            for path in (needed if needed is not None else Sources.here().paths())
            if os.path.exists(real := os.path.abspath(path))
        )
    )
    # a name may lead through links to a closed place: both ends are needed
    wanted = list(dict.fromkeys([*wanted, *(os.path.realpath(path) for path in wanted)]))
    closed = {path: first_closed(path, who) for path in (*wanted, *writable)}
    unreadable = {path for path in wanted if not readable(path, who)}
    covers = sorted({cover for cover in closed.values() if cover})
    covers = [path for path in covers if not any(under(path, other) and path != other for other in covers)]
    if not covers and not unreadable:
        return []
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    opened: dict[str, int] = {}
    for path in sorted({*wanted, *writable}, key=len):
        if any(under(path, seen) for seen in opened) and path not in unreadable and path not in writable:
            continue
        if closed[path] or path in unreadable:
            opened[path] = os.open(path, os.O_PATH | os.O_CLOEXEC)
    for cover in covers:
        tmpfs(cover, "256k", "256")
    for path, fd in opened.items():
        if path in unreadable:
            bind_as_owned(fd, path, who)
        else:
            bind_fd(fd, path, 0 if path in writable else linux.ATTR_RDONLY)
        os.close(fd)
    restore_links([*wanted], covers)
    still = [path for path in wanted if first_closed(path, who) is not None or not readable(path, who)]
    if still:
        raise DriverUnavailable(
            f"{still[0]} cannot be made readable for uid {who[0]}",
            remedy=f"chmod -R go+rX {still[0]}, or start the range host as the user who owns it",
        )
    return covers


def restore_links(paths: Sequence[str], covers: Sequence[str]) -> None:
    """Nothing to do for real folders; a path that is a link inside a covered folder became a bind of its target."""
    for path in paths:
        if any(under(path, cover) for cover in covers) and not os.path.exists(path):
            raise DriverUnavailable(f"{path} vanished while folders were bound back", remedy="Report this as a fault")


def bind_as_owned(fd: int, path: str, who: tuple[int, int]) -> None:
    """Binds a closed folder so that its owner's files belong to `who` there (an idmapped mount, Linux 5.12)."""
    owner = os.fstat(fd)
    namespace = owner_namespace((owner.st_uid, owner.st_gid), who)
    try:
        detached = linux.clone_tree(f"/proc/self/fd/{fd}")
        linux.map_owner(detached, namespace)
        if stat.S_ISDIR(owner.st_mode):
            os.makedirs(path, exist_ok=True)
        elif not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).touch()
        linux.attach_tree(detached, path)
        linux.mount_attributes(path, linux.ATTR_RDONLY)
        os.close(detached)
    except OSError as exc:
        raise DriverUnavailable(
            f"{path} may be read by its owner only, and this kernel or file system cannot lend it to uid {who[0]} ({exc})",
            remedy=f"chmod -R go+rX {path}, or start the range host as the user who owns it",
        ) from exc
    finally:
        os.close(namespace)


def owner_namespace(disk: tuple[int, int], who: tuple[int, int]) -> int:
    """A user namespace whose only purpose is its map: on disk `disk`, seen as `who`. Its descriptor."""
    ready, told = os.pipe()
    waiting, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(told, b"1")
            os.close(go)
            os.read(waiting, 1)
        finally:
            os._exit(0)
    os.close(told)
    os.close(waiting)
    try:
        if os.read(ready, 1) != b"1":
            raise OSError("no user namespace for the map")
        linux.write_text(f"/proc/{child}/uid_map", f"{disk[0]} {who[0]} 1")
        linux.write_text(f"/proc/{child}/gid_map", f"{disk[1]} {who[1]} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(go)
        os.close(ready)
        os.waitpid(child, 0)
