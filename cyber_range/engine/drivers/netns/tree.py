"""The file trees: one read-only tree per range, and on it one small writable tree per node.

Range tree: a 2 MiB tmpfs with read-only binds of /usr and the Python prefixes at their own paths, the engine package at a
neutral path, a handful of copied /etc files, six devices, and nothing else. Nodes bind from it; being less
privileged than the range's user namespace, they cannot undo the read-only flag even with every capability.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cyber_range.engine.drivers.netns import linux
from cyber_range.engine.drivers.netns.linux import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)

NEUTRAL = "/opt/lianbing"  # where the engine package lies in every node; PYTHONPATH of what is exec'd there
TOOLS = ("scan", "capture", "modbus", "plc", "fw", "ssh", "web", "arp", "attack")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
ETC_FILES = (
    "ld.so.cache",
    "nsswitch.conf",
    "services",
    "protocols",
    "localtime",
    "profile",
    "bash.bashrc",
    "inputrc",
    "ethertypes",
    "rpc",
    "timezone",
    "debian_version",
    "os-release",
)
ETC_FOLDERS = ("alternatives", "iproute2", "terminfo", "wireshark", "ssl/openssl.cnf", "ssl/certs")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
LINKS = ("bin", "sbin", "lib", "lib64", "lib32")
READ_ONLY = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
DEVICE_ONLY = ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC  # never NODEV: it would make the devices dead
MASKED_FILES = (
    "kcore",
    "keys",
    "key-users",
    "kallsyms",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "timer_list",
    "sched_debug",
    "cmdline",
    "config.gz",
    "modules",
    "sysrq-trigger",
    "interrupts",
    "latency_stats",
    "vmallocinfo",
    "slabinfo",
    "kmsg",
    "mtrr",
    "iomem",
    "ioports",
    "pagetypeinfo",
)
MASKED_FOLDERS = (
    "acpi",
    "scsi",
    "bus",
    "irq",
    "fs",
    "driver",
    "asound",
    "pressure",
    "sys/kernel/keys",
    "sys/fs",
    "sys/dev",
    "sys/debug",
    "sys/abi",
)

ACCOUNTS = """root:x:0:0:root:/root:/bin/bash
tcpdump:x:0:0:tcpdump:/root:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"
BASHRC = """PS1='\\u@\\h:\\w\\$ '
HISTFILE=
alias ls='ls --color=auto' ll='ls -l' grep='grep --color=auto'
cd "$HOME"
"""


@dataclass(frozen=True, slots=True)
class Sources:
    """What of the machine nodes may see, read-only. `python` is the interpreter nodes exec."""

    package: str  # folder of the package cyber_range
    prefixes: tuple[str, ...]  # Python's own folders, bound at the same paths
    python: str

    @classmethod
    def here(cls) -> Sources:
        """The package and the Python that run this very process."""
        package = Path(__file__).resolve().parents[3]
        prefixes = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
        prefixes |= {os.path.abspath(path) for path in (sys.prefix, sys.base_prefix)}  # the name pyvenv.cfg uses
        outside = sorted(path for path in prefixes if not under(path, "/usr"))
        topmost = [path for path in outside if not any(under(path, other) for other in outside if other != path)]
        return cls(str(package), tuple(topmost), os.path.abspath(sys.executable))

    def paths(self) -> tuple[str, ...]:
        """Every folder that must be readable for a range to be built."""
        return (*self.prefixes, f"{self.package}/engine", f"{self.package}/scenarios", f"{self.package}/__init__.py")


def under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def tmpfs(target: str, size: str, inodes: str, flags: int = MS_NOSUID | MS_NODEV) -> None:
    linux.mount("tmpfs", target, "tmpfs", flags, f"size={size},nr_inodes={inodes},mode=755")


def put(path: str, text: str, mode: int = 0o644) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def bind(source: str, target: str, attributes: int | None) -> None:
    linux.mount(source, target, None, MS_BIND | MS_REC)
    if attributes is not None:
        linux.mount_attributes(target, attributes)


def bind_fd(fd: int, target: str, attributes: int) -> None:
    """Binds an open O_PATH descriptor: the way to a folder that something else has been mounted over meanwhile."""
    is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
    if is_folder:
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    bind(f"/proc/self/fd/{fd}", target, attributes)


def open_sources(sources: Sources) -> dict[str, int]:
    """Target path in the tree to O_PATH descriptor. Opened in the namespace that will bind them."""
    wanted = {"/usr": "/usr"} | {path: path for path in sources.prefixes}
    for name in LINKS:
        if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
            wanted[f"/{name}"] = f"/{name}"
    for name in ETC_FOLDERS:
        if os.path.exists(f"/etc/{name}"):
            wanted[f"{NEUTRAL}/etc/{name}"] = f"/etc/{name}"
    package = f"{NEUTRAL}/cyber_range"
    wanted[f"{package}/engine"] = f"{sources.package}/engine"
    scenarios = Path(sources.package, "scenarios")
    if scenarios.is_dir():  # programs of packaged scenarios, never their answers: scenario.yml stays outside
        for folder in sorted(scenarios.iterdir()):
            if (folder / "nodes").is_dir():
                wanted[f"{package}/scenarios/{folder.name}/nodes"] = str(folder / "nodes")
    return {target: os.open(source, os.O_PATH | os.O_CLOEXEC) for target, source in sorted(wanted.items())}


def build_range_tree(sources: Sources) -> None:
    """Builds the tree over /tmp of a fresh mount namespace and makes it the root. Nothing of the host stays in sight."""
    linux.mount(None, "/", None, MS_REC | MS_PRIVATE)
    fds = open_sources(sources)
    devices = {name: os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in DEVICES}
    texts = {}
    for name in ETC_FILES:
        try:
            texts[name] = Path("/etc", name).read_bytes()
        except OSError:  # not every machine has each of them, and none is needed
            continue
    symlinks = {name: os.readlink(f"/{name}") for name in LINKS if os.path.islink(f"/{name}")}

    base = "/tmp"  # noqa: S108 - a folder that exists everywhere, in a mount namespace of our own
    tmpfs(base, "2m", "2k")
    for name in ("etc", "dev", "dev/pts", "dev/shm", "proc", "mnt"):
        os.mkdir(f"{base}/{name}")
    for name, target in symlinks.items():
        os.symlink(target, f"{base}/{name}")
    neutral = f"{base}{NEUTRAL}"
    for name in ("bin", "etc", "empty", "cyber_range"):
        os.makedirs(f"{neutral}/{name}")
    for name, data in texts.items():
        Path(neutral, "etc", name).write_bytes(data)
    put(f"{neutral}/etc/shells", "/bin/sh\n/bin/bash\n")
    put(f"{neutral}/etc/lianbing.bashrc", BASHRC)
    put(f"{neutral}/cyber_range/__init__.py", "")
    write_wrappers(f"{neutral}/bin", sources.python)
    for target, fd in fds.items():
        bind_fd(fd, base + target, READ_ONLY)
        os.close(fd)
    hide_project(base, sources)
    for name, fd in devices.items():
        bind_fd(fd, f"{base}/dev/{name}", DEVICE_ONLY)
        os.close(fd)
    for name, place in DEVICE_LINKS.items():
        os.symlink(place, f"{base}/dev/{name}")
    for folder in ("/dev", NEUTRAL):  # each one mount with all that lies under it, so that a node takes it in one step
        linux.mount(base + folder, base + folder, None, MS_BIND | MS_REC)
        linux.mount_attributes(
            base + folder, ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC if folder == "/dev" else READ_ONLY
        )
    linux.mount("proc", f"{base}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    linux.pivot_here(base)
    linux.mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


@dataclass(frozen=True, slots=True)
class Masks:
    """Which of the names to hide this kernel's /proc has."""

    files: tuple[str, ...]
    folders: tuple[str, ...]


def masks() -> Masks:
    return Masks(
        tuple(name for name in MASKED_FILES if os.path.exists(f"/proc/{name}")),
        tuple(name for name in MASKED_FOLDERS if os.path.isdir(f"/proc/{name}")),
    )


def write_wrappers(folder: str, python: str) -> None:
    """lb-scan and its sisters: short scripts on the PATH of every shell and exec."""
    for tool in TOOLS:
        put(
            f"{folder}/lb-{tool}",
            f"#!/bin/sh\nPYTHONPATH={NEUTRAL} PYTHONDONTWRITEBYTECODE=1 "
            f'exec "{python}" -m cyber_range.engine.agents.tools {tool} "$@"\n',
            0o755,
        )


def hide_project(base: str, sources: Sources) -> None:
    """A project that lies below /usr (or below a Python prefix) would show through that bind: cover it."""
    project = os.path.dirname(sources.package)
    inside = [path for path in ("/usr", *sources.prefixes) if under(project, path) and project != path]
    if not inside:
        return
    kept = {
        path: os.open(base + path, os.O_PATH | os.O_CLOEXEC)
        for path in sources.prefixes
        if under(path, project) and path != project
    }
    tmpfs(base + project, "64k", "64")
    for path, fd in kept.items():
        bind_fd(fd, base + path, READ_ONLY)
        os.close(fd)
    linux.mount_attributes(base + project, READ_ONLY)


def build_node_tree(
    sources: Sources, hidden: Masks, store_mib: int, hosts: Sequence[tuple[str, str]], hostname: str
) -> int:
    """Called as pid 1 of a node, in its namespaces, standing in the range tree. Returns a descriptor of its /dev/pts.

    One tmpfs is the root and the only writable store: /tmp, /home, /var … share its quota.
    """
    linux.mount(None, "/", None, MS_REC | MS_PRIVATE)
    base = "/mnt"
    tmpfs(base, f"{store_mib}m", "4k")
    for name in (
        "dev",
        "proc",
        "sys",
        "mnt",
        "tmp",
        "run",
        "run/shm",
        "opt",
        "root",
        "home",
        "var",
        "var/log",
        "var/tmp",
        "etc",
        "usr",
    ):
        os.mkdir(f"{base}/{name}")
    for name in ("tmp", "var/tmp", "run/shm"):
        os.chmod(f"{base}/{name}", 0o1777)  # noqa: S103 - what /tmp is
    for entry in os.scandir("/"):
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), f"{base}/{entry.name}")
    links = [f"/{name}" for name in LINKS if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")]
    for point in ("/usr", *links, *sources.prefixes, NEUTRAL, "/dev"):
        os.makedirs(base + point, exist_ok=True)
        linux.mount(point, base + point, None, MS_BIND | MS_REC)
    fill_etc(f"{base}/etc", hosts, hostname)
    linux.mount(f"{base}/run/shm", f"{base}/dev/shm", None, MS_BIND)  # noqa: S108 - the node's own
    linux.mount("devpts", f"{base}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    mount_proc(f"{base}/proc", hidden)
    linux.mount(f"{NEUTRAL}/empty", f"{base}/sys", None, MS_BIND)
    linux.pivot_here(base)
    return os.open("/dev/pts", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def fill_etc(etc: str, hosts: Sequence[tuple[str, str]], hostname: str) -> None:
    """Links to the range's read-only files, and the few that are the node's own (a trainee may edit them)."""
    for name in os.listdir(f"{NEUTRAL}/etc"):
        os.symlink(f"{NEUTRAL}/etc/{name}", f"{etc}/{name}")
    put(f"{etc}/passwd", ACCOUNTS)
    put(f"{etc}/group", GROUP)
    put(f"{etc}/resolv.conf", "# no name server: names of this network stand in /etc/hosts\n")
    put(f"{etc}/hostname", f"{hostname}\n")
    lines = ["127.0.0.1 localhost", f"127.0.1.1 {hostname}", *(f"{ip} {name}" for ip, name in hosts)]
    put(f"{etc}/hosts", "\n".join(lines) + "\n")


def mount_proc(place: str, hidden: Masks) -> None:
    """The node's own /proc: masked, then read-only. Without that, node root could lower oom_score_adj.

    /proc/sys/net is a mount of its own: pid 1 closes it after configuring the legs, except where the node has NET_ADMIN.
    """
    linux.mount("proc", place, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name in hidden.files:
        linux.mount("/dev/null", f"{place}/{name}", None, MS_BIND)
    for name in hidden.folders:
        linux.mount(f"{NEUTRAL}/empty", f"{place}/{name}", None, MS_BIND)
    linux.mount(f"{place}/sys/net", f"{place}/sys/net", None, MS_BIND)
    linux.mount_attributes(place, ATTR_RDONLY, recursive=False)


_followed: set[str] = set()


def follow_package(package: str) -> None:
    """Points the already imported package at its place in the tree, so that lazy imports in forked programs work. Once."""
    if package in _followed:
        return
    _followed.add(package)
    old = os.path.dirname(package)
    sys.path[:] = [NEUTRAL if os.path.abspath(entry or ".") == old else entry for entry in sys.path]
    if NEUTRAL not in sys.path:
        sys.path.insert(0, NEUTRAL)
    sys.path_importer_cache.clear()
    for name, module in list(sys.modules.items()):
        if name == "cyber_range" or name.startswith("cyber_range."):
            paths = getattr(module, "__path__", None)
            if paths is not None:
                module.__path__ = [NEUTRAL + path[len(old) :] if under(path, old) else path for path in paths]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The clean environment of everything exec'd in a node."""
    return {
        "PATH": f"{NEUTRAL}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "PYTHONPATH": NEUTRAL,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **(extra or {}),
    }
