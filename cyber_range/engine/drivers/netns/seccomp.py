"""The system call filter of node programs and shells, as classic BPF, without any library.

A denylist with a closed upper end: what this table has never heard of does not exist (ENOSYS), what makes
namespaces, mounts, kernel objects outside the limits or looks into other processes is refused (EPERM), and of
socket families only those a plant node needs are left. Numbers: asm/unistd_64.h and asm-generic/unistd.h of
Linux 6.1; calls 424 and up are equal on every machine.
"""

from __future__ import annotations

import errno
import struct

ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LD_W_ABS, JEQ, JGT, JGE, JSET, AND, RET = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
NR, ARCH, ARG = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes each, low half first (little endian)
NEWEST = 462  # mseal, Linux 6.10: later calls answer ENOSYS until somebody has read what they do
X32 = 0x40000000
NAMESPACE_FLAGS = 0x7E020080  # CLONE_NEW{CGROUP,UTS,IPC,USER,PID,NET,NS,TIME}

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

COMMON_REFUSED = {  # equal on both machines
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "process_mrelease": 448,
    "set_mempolicy_home_node": 450,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
}
REFUSED = {
    "x86_64": COMMON_REFUSED
    | {
        "shmget": 29,
        "shmat": 30,
        "shmctl": 31,
        "semget": 64,
        "msgget": 68,
        "ptrace": 101,
        "syslog": 103,
        "uselib": 134,
        "ustat": 136,
        "sysfs": 139,
        "vhangup": 153,
        "modify_ldt": 154,
        "pivot_root": 155,
        "_sysctl": 156,
        "adjtimex": 159,
        "chroot": 161,
        "acct": 163,
        "settimeofday": 164,
        "mount": 165,
        "umount2": 166,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "sethostname": 170,
        "setdomainname": 171,
        "iopl": 172,
        "ioperm": 173,
        "create_module": 174,
        "init_module": 175,
        "delete_module": 176,
        "get_kernel_syms": 177,
        "query_module": 178,
        "quotactl": 179,
        "nfsservctl": 180,
        "sched_setaffinity": 203,
        "lookup_dcookie": 212,
        "clock_settime": 227,
        "mbind": 237,
        "set_mempolicy": 238,
        "mq_open": 240,
        "kexec_load": 246,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "migrate_pages": 256,
        "unshare": 272,
        "move_pages": 279,
        "perf_event_open": 298,
        "fanotify_init": 300,
        "name_to_handle_at": 303,
        "open_by_handle_at": 304,
        "clock_adjtime": 305,
        "setns": 308,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "finit_module": 313,
        "memfd_create": 319,
        "kexec_file_load": 320,
        "bpf": 321,
        "userfaultfd": 323,
    },
    "aarch64": COMMON_REFUSED
    | {
        "umount2": 39,
        "mount": 40,
        "pivot_root": 41,
        "nfsservctl": 42,
        "chroot": 51,
        "vhangup": 58,
        "quotactl": 60,
        "acct": 89,
        "unshare": 97,
        "kexec_load": 104,
        "init_module": 105,
        "delete_module": 106,
        "clock_settime": 112,
        "syslog": 116,
        "ptrace": 117,
        "sched_setaffinity": 122,
        "reboot": 142,
        "sethostname": 161,
        "setdomainname": 162,
        "settimeofday": 170,
        "adjtimex": 171,
        "mq_open": 180,
        "msgget": 186,
        "semget": 190,
        "shmget": 194,
        "shmctl": 195,
        "shmat": 196,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "swapon": 224,
        "swapoff": 225,
        "mbind": 235,
        "set_mempolicy": 237,
        "migrate_pages": 238,
        "move_pages": 239,
        "perf_event_open": 241,
        "fanotify_init": 262,
        "name_to_handle_at": 264,
        "open_by_handle_at": 265,
        "clock_adjtime": 266,
        "setns": 268,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "finit_module": 273,
        "lookup_dcookie": 18,
        "memfd_create": 279,
        "bpf": 280,
        "userfaultfd": 282,
        "kexec_file_load": 294,
    },
}
ASKED = {  # calls whose arguments decide
    "x86_64": {"clone": 56, "ioctl": 16, "socket": 41, "socketpair": 53, "personality": 135, "setgroups": 116},
    "aarch64": {"clone": 220, "ioctl": 29, "socket": 198, "socketpair": 199, "personality": 92, "setgroups": 159},
}
CLONE3 = 435
FAMILIES = (1, 2, 10, 17)  # AF_UNIX AF_INET AF_INET6 AF_PACKET (the last still needs CAP_NET_RAW)
AF_NETLINK = 16
NETLINKS = (0, 4, 12, 16)  # ROUTE SOCK_DIAG NETFILTER GENERIC
IOCTLS_REFUSED = (0x5412, 0x541C, 0x541D, 0x5423)  # TIOCSTI TIOCLINUX TIOCCONS TIOCSETD
PERSONALITIES = (0, 0x0040000, 0xFFFFFFFF)  # default, ADDR_NO_RANDOMIZE, "what is it"


def instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def refuse(number: int) -> bytes:
    return instruction(RET, ERRNO | number)


def when_call(number: int, body: list[bytes]) -> list[bytes]:
    """`body` runs for this call only; it must end in RET on every path. The accumulator holds the call's number."""
    return [instruction(JEQ, number, 0, len(body)), *body]


def one_of(offset: int, values: tuple[int, ...], otherwise: int) -> list[bytes]:
    """Allow when the word at `offset` is one of `values`, else refuse."""
    body = [instruction(LD_W_ABS, offset)]
    for value in values:
        body += [instruction(JEQ, value, 0, 1), instruction(RET, ALLOW)]
    return [*body, refuse(otherwise)]


def build(machine: str) -> bytes:
    """The whole filter. KeyError for a machine without a table: the driver's probe says so."""
    asked = ASKED[machine]
    allow, load_nr = instruction(RET, ALLOW), instruction(LD_W_ABS, NR)
    program = [
        instruction(LD_W_ABS, ARCH),
        instruction(JEQ, AUDIT_ARCH[machine], 1, 0),
        instruction(RET, KILL),
        load_nr,
        # also ends x32, whose numbers carry bit 30, and aarch64 has no such thing
        instruction(JGT, NEWEST, 0, 1),
        refuse(errno.ENOSYS),
        *when_call(CLONE3, [refuse(errno.ENOSYS)]),  # its flags lie in memory; libc falls back to clone
    ]
    for number in sorted(set(REFUSED[machine].values())):
        program += [instruction(JEQ, number, 0, 1), refuse(errno.EPERM)]
    program += when_call(
        asked["clone"],
        [instruction(LD_W_ABS, ARG), instruction(JSET, NAMESPACE_FLAGS & ~0xFF, 0, 1), refuse(errno.EPERM), allow],
    )
    # setgroups: a faked success, because tcpdump and others give groups up and a single-uid namespace cannot
    program += when_call(asked["setgroups"], [refuse(0)])
    body = [instruction(LD_W_ABS, ARG + 8)]
    for request in IOCTLS_REFUSED:
        body += [instruction(JEQ, request, 0, 1), refuse(errno.EPERM)]
    program += when_call(asked["ioctl"], [*body, allow])
    program += when_call(asked["personality"], one_of(ARG, PERSONALITIES, errno.EPERM))
    program += when_call(asked["socketpair"], one_of(ARG, (1,), errno.EAFNOSUPPORT))
    netlink = one_of(ARG + 16, NETLINKS, errno.EPROTONOSUPPORT)
    program += when_call(
        asked["socket"],
        [
            instruction(LD_W_ABS, ARG),
            instruction(JEQ, AF_NETLINK, 0, len(netlink)),
            *netlink,
            *one_of(ARG, FAMILIES, errno.EAFNOSUPPORT),
        ],
    )
    return b"".join([*program, allow])
