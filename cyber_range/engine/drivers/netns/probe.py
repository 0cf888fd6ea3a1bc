"""Can rootless ranges work here? Tries each step of the recipe in a process of its own and names what forbids it.

`python -m cyber_range.engine.drivers.netns.probe` prints the first failing step as JSON ({} when all went well).
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cyber_range.engine.drivers.base import Probe
from cyber_range.engine.drivers.netns import confine, linux, rootdrop, rtnetlink, seccomp, tree

PROBE_SECONDS = 12.0
PROJECT = str(Path(__file__).resolve().parents[4])
COVERED = "/tmp"  # noqa: S108 - any folder that exists everywhere; in a mount namespace of our own nobody else sees it
UNBOUNDED = (
    "memory of a whole range is watched twice a second and not bounded by the kernel (no cgroup): a burst may exceed it",
    "CPU share between ranges and terminals (no cgroup)",
    "kernel memory of nodes with NET_ADMIN (links, rules, routes)",
    "pools the kernel counts per user id (pipe buffers, inotify): shared by all ranges of this host",
)
KNOBS = {
    "max_user_namespaces": "/proc/sys/user/max_user_namespaces",
    "unprivileged_userns_clone": "/proc/sys/kernel/unprivileged_userns_clone",
    "apparmor_restrict": "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "max_net_namespaces": "/proc/sys/user/max_net_namespaces",
}


async def look() -> Probe:
    """Runs the steps in a child process; under half a second."""
    if sys.platform != "linux":
        return Probe(
            False, f"Rootless ranges need Linux namespaces; this is {sys.platform}", "Use the docker or memory driver"
        )
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-s",
            "-m",
            "cyber_range.engine.drivers.netns.probe",
            cwd="/",
            env={"PYTHONPATH": PROJECT, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        return Probe(False, f"{sys.executable} cannot be started: {exc}", "Start the range host from a readable folder")
    try:
        out, err = await asyncio.wait_for(child.communicate(), PROBE_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()
        return Probe(False, f"The trial of namespaces hung for {PROBE_SECONDS:.0f} s", "Look at the kernel log: dmesg")
    try:
        failed = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        return Probe(False, f"The trial of namespaces failed: {last[0]}", "")
    if not failed:
        return Probe(True, unbounded=UNBOUNDED)
    reason, remedy = explain(failed["step"], failed["errno"], failed["error"], facts())
    return Probe(False, reason, remedy, UNBOUNDED)


def facts() -> dict[str, str]:
    """The kernel's switches that decide, as text; missing ones are absent."""
    found = {}
    for name, path in KNOBS.items():
        try:
            found[name] = linux.read_text(path).strip()
        except OSError:
            continue
    for line in linux.read_text("/proc/self/status").splitlines():
        if line.startswith("Seccomp:"):
            found["seccomp"] = line.split()[1]
    found["container"] = "1" if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv") else ""
    return found


def explain(step: str, number: int, error: str, known: Mapping[str, str]) -> tuple[str, str]:
    """(reason, remedy) of a failed step. Pure, so that every machine's trouble can be tested on this one."""
    if step == "machine":
        return (
            f"There is no system call table for {error}; only {', '.join(sorted(seccomp.REFUSED))} are known",
            "Use the docker driver",
        )
    if step == "user":
        if known.get("max_user_namespaces") == "0":
            return (
                "User namespaces are switched off (user.max_user_namespaces is 0)",
                "sudo sysctl -w user.max_user_namespaces=15000",
            )
        if known.get("unprivileged_userns_clone") == "0":
            return (
                "User namespaces are for root alone here (kernel.unprivileged_userns_clone is 0)",
                "sudo sysctl -w kernel.unprivileged_userns_clone=1",
            )
        if number == errno.ENOSPC:
            return "No user namespace is left (limit reached)", "sudo sysctl -w user.max_user_namespaces=15000"
        if number in (errno.EPERM, errno.EACCES) and known.get("apparmor_restrict") == "1":
            return apparmor()
        if number == errno.EPERM and known.get("seccomp") == "2":
            return in_container("forbids new user namespaces (seccomp)")
        return f"User namespaces cannot be made ({error})", "Use the docker driver"
    if known.get("apparmor_restrict") == "1" and number in (errno.EPERM, errno.EACCES):
        return apparmor()  # Ubuntu 24.04: the namespace is made, but powerless
    if step == "map":
        return f"The user id map of a new namespace cannot be written ({error})", "Use the docker driver"
    if step == "namespaces":
        if number == errno.ENOSPC or known.get("max_net_namespaces") == "0":
            return f"No more namespaces are allowed ({error})", "sudo sysctl -w user.max_net_namespaces=15000"
        return f"The kernel lacks a kind of namespace, or something forbids it ({error})", "Use the docker driver"
    if step == "nested":
        return (
            f"A user namespace inside a user namespace is refused ({error})",
            "sudo sysctl -w user.max_user_namespaces=15000",
        )
    if step == "mount":
        if known.get("seccomp") == "2" or known.get("container"):
            return in_container("forbids mounts")
        return f"Mounting inside a user namespace is refused ({error})", "Use the docker driver"
    if step == "proc":
        return in_container("masks /proc, so a namespace cannot have a /proc of its own")
    if step == "links":
        return (f"Bridges or veth pairs cannot be made ({error})", "sudo modprobe -a bridge veth")
    if step == "filter":
        return (
            f"The kernel takes no system call filter ({error})",
            "A kernel with CONFIG_SECCOMP_FILTER, or the docker driver",
        )
    return f"{step}: {error}", "Use the docker driver"


def apparmor() -> tuple[str, str]:
    profile = f"or an AppArmor profile with `userns,` for {sys.executable}"
    return (
        "AppArmor restricts user namespaces of ordinary programs (kernel.apparmor_restrict_unprivileged_userns is 1)",
        f"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0  ({profile})",
    )


def in_container(what: str) -> tuple[str, str]:
    return (
        f"The container we run in {what}",
        "Run the range host on the machine itself, or use the docker or capsule driver",
    )


class Failed(Exception):
    def __init__(self, step: str, number: int, error: str) -> None:
        super().__init__(error)
        self.said = {"step": step, "errno": number, "error": error}


def attempt(step: str, what: Callable[[], object]) -> None:
    try:
        what()
    except OSError as exc:
        raise Failed(step, exc.errno or 0, str(exc)) from exc


def steps() -> None:
    """The recipe in small. Changes nothing outside the namespaces that end with this process."""
    if linux.MACHINE not in seccomp.REFUSED:
        raise Failed("machine", 0, linux.MACHINE)
    if os.geteuid() == 0:
        rootdrop.drop_privileges()
    linux.set_dumpable(True)
    outside, group = os.geteuid(), os.getegid()
    attempt("user", lambda: linux.unshare(linux.CLONE_NEWUSER))
    attempt("map", lambda: linux.new_user_namespace_maps(0, outside, group))
    attempt(
        "namespaces",
        lambda: linux.unshare(
            linux.CLONE_NEWNS
            | linux.CLONE_NEWPID
            | linux.CLONE_NEWNET
            | linux.CLONE_NEWUTS
            | linux.CLONE_NEWIPC
            | linux.CLONE_NEWCGROUP
        ),
    )
    attempt("mount", lambda: linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE))
    attempt("mount", lambda: tree.tmpfs(COVERED, "64k", "64"))
    os.mkdir(f"{COVERED}/proc")
    attempt("links", links)
    in_child(
        "proc",
        lambda: linux.mount("proc", f"{COVERED}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC),
    )
    attempt("nested", lambda: linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    attempt("filter", lambda: linux.load_seccomp(confine.filter_for_this_machine()))


def links() -> None:
    with rtnetlink.Netlink() as kernel:
        kernel.add_bridge("probe0", "probe")
        net = os.open("/proc/self/ns/net", os.O_RDONLY)
        kernel.add_veth("probe1", "probe", "probe0", "probe2", "02:00:00:00:00:01", net)
        os.close(net)


def in_child(step: str, what: Callable[[], object]) -> None:
    """A new pid namespace holds only children, and /proc can be mounted only from inside."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(PROBE_SECONDS))
        try:
            what()
        except OSError as exc:
            os.write(writer, json.dumps({"step": step, "errno": exc.errno or 0, "error": str(exc)}).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    said = os.read(reader, 4096)
    os.close(reader)
    if said:
        found = json.loads(said)
        raise Failed(found["step"], found["errno"], found["error"])


def main() -> None:
    try:
        steps()
    except Failed as failed:
        sys.stdout.write(json.dumps(failed.said) + "\n")
    else:
        sys.stdout.write("{}\n")


if __name__ == "__main__":
    main()
