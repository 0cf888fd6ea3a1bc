"""Runs inside a node as its root and tries to get out; prints {attempt: outcome} as JSON. argv[1]: {name: value} of the host.

An outcome is the name of the error, or "DONE" when the attempt succeeded. Read by test_netns_isolation.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

host = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
outcome: dict[str, str] = {}
inherited = [fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")]


def attempt(name: str, what: Callable[[], object]) -> None:
    try:
        what()
        outcome[name] = "DONE"
    except OSError as exc:
        outcome[name] = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
    except Exception as exc:  # whatever it is, it is the outcome
        outcome[name] = type(exc).__name__


def call(number: int, *args: object) -> int:
    longs = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = libc.syscall(ctypes.c_long(number), *longs)
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return int(result)


def libcall(name: str, *args: object) -> None:
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), "")


def tcp(address: str, port: int, family: int = socket.AF_INET) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        sock.connect((address, port))


def unix(address: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(address)


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str, data: bytes = b"0") -> None:
    with open(path, "wb") as file:
        file.write(data)


def forked_clone(flags: int) -> None:
    if call(56, flags | 17, 0, 0, 0, 0) == 0:
        os._exit(0)


for address in host["addresses"]:
    attempt(f"tcp {address}", lambda a=address: tcp(a, host["port"]))
attempt("tcp loopback", lambda: tcp("127.0.0.1", host["port"]))
attempt("tcp metadata", lambda: tcp("169.254.169.254", 80))
attempt("tcp internet", lambda: tcp("192.0.2.1", 443))
attempt("tcp6 link-local", lambda: tcp("fe80::1", 80, socket.AF_INET6))
attempt("unix abstract", lambda: unix("\0" + host["abstract"]))
attempt("unix path", lambda: unix(host["path"]))
for path in host["files"]:
    attempt(f"read {path}", lambda p=path: read(p))
for name in ("1/environ", "1/mem", os.path.join("1/root", "etc/hostname"), "kcore", "1/ns/net"):
    attempt(f"read /proc/{name}", lambda p=f"/proc/{name}": read(p))
for path in (
    "/usr/escaped",
    host["python"],
    f"{host['prefix']}/escaped",
    "/opt/lianbing/escaped",
    "/opt/lianbing/cyber_range/engine/plan.py",
    "/proc/self/oom_score_adj",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches",
    "/dev/escaped",
    "/sys/escaped",
):
    attempt(f"write {path}", lambda p=path: write(p))

attempt("setns", lambda: libcall("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0))
attempt("unshare user", lambda: libcall("unshare", 0x10000000))
attempt("unshare mount", lambda: libcall("unshare", 0x00020000))
attempt("unshare net", lambda: libcall("unshare", 0x40000000))
attempt("clone user", lambda: forked_clone(0x10000000))
attempt("clone3", lambda: call(435, ctypes.create_string_buffer(88), 88))
attempt("mount", lambda: libcall("mount", b"x", b"/tmp", b"tmpfs", 0, None))
attempt("remount /usr", lambda: libcall("mount", None, b"/usr", None, 4096 | 32, None))
attempt("umount /proc", lambda: libcall("umount2", b"/proc", 2))
attempt("mount_setattr", lambda: call(442, -100, b"/usr", 0, struct.pack("QQQQ", 0, 1, 0, 0), 32))
attempt("fsopen", lambda: call(430, b"tmpfs", 0))
attempt("open_tree", lambda: call(428, -100, b"/", 1))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("pivot_root", lambda: call(155, b"/tmp", b"/tmp"))
attempt("ptrace init", lambda: call(101, 16, 1, 0, 0))
attempt("process_vm_readv", lambda: call(310, 1, 0, 0, 0, 0, 0))
attempt("pidfd_getfd", lambda: call(438, os.pidfd_open(1), 0, 0))
attempt("io_uring", lambda: call(425, 8, ctypes.create_string_buffer(120)))
attempt("bpf", lambda: call(321, 0, ctypes.create_string_buffer(120), 120))
attempt("userfaultfd", lambda: call(323, 0))
attempt("perf_event_open", lambda: call(298, ctypes.create_string_buffer(120), 0, -1, -1, 0))
attempt("keyctl", lambda: call(250, 0, -3, 0, 0, 0))
attempt("add_key", lambda: call(248, b"user", b"x", b"y", 1, -3))
attempt("memfd", lambda: os.memfd_create("x"))
attempt("shmget", lambda: call(29, 0, 4096, 0o1600))
attempt("sethostname", lambda: libcall("sethostname", b"x", 1))
attempt("mknod kvm", lambda: os.mknod("/tmp/kvm", 0o600 | 0o020000, os.makedev(10, 232)))
attempt("syslog", lambda: call(103, 3, ctypes.create_string_buffer(100), 100))
attempt("settimeofday", lambda: call(164, struct.pack("qq", 1, 1), 0))
attempt("reboot", lambda: call(169, 0xFEE1DEAD, 672274793, 0, 0))
attempt("personality", lambda: call(135, 0x0400000))
attempt("affinity", lambda: os.sched_setaffinity(0, {0}))
attempt("nice", lambda: os.nice(-5))
attempt("unknown syscall", lambda: call(4000))
attempt("mapped uid", lambda: os.setuid(1000))
attempt("rlimit nproc", lambda: resource.setrlimit(resource.RLIMIT_NPROC, (4000, 4000)))
attempt("tiocsti", lambda: fcntl.ioctl(0, 0x5412, b"x"))
for name, family in (
    ("vsock", 40),
    ("alg", 38),
    ("xdp", 44),
    ("bluetooth", 31),
    ("can", 29),
    ("tipc", 30),
    ("key", 15),
):
    attempt(f"socket {name}", lambda f=family: socket.socket(f, socket.SOCK_DGRAM, 0).close())
for name, protocol in (("xfrm", 6), ("audit", 9), ("uevent", 15)):
    attempt(f"netlink {name}", lambda p=protocol: socket.socket(16, socket.SOCK_RAW, p).close())

attempt("kill init", lambda: os.kill(1, 9))  # allowed to say, and nothing happens
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
sys.stdout.write(
    json.dumps(
        {
            "outcome": outcome,
            "descriptors": inherited,
            "pids": len(pids),
            "inet6": Path("/proc/net/if_inet6").read_text() if os.path.exists("/proc/net/if_inet6") else "",
            "links": sorted(name for _, name in socket.if_nameindex()),
            "routes": Path("/proc/net/route").read_text().splitlines()[1:],
            "root": sorted(os.listdir("/")),
            "groups": os.getgroups(),
        }
    )
)
