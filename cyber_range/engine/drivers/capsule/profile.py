"""The capsule's system call filter in the engine's words (pure): an allowlist, the same for everything in the container.

Beyond what an ordinary program needs it allows what the netns driver does to make nodes (namespaces, mounts, host name).
It leaves out what Docker's own profile lets through and no range needs: io_uring, ptrace, System V and POSIX queues,
keyrings, landlock, and every socket family but five (no vsock). Nodes carry the stricter filter of netns on top.
"""

from __future__ import annotations

from typing import Any

FILES = """access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate
fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync
ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl
lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat
open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statx symlink symlinkat sync
sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev"""
MEMORY = """brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall
munmap"""
PROCESSES = """alarm arch_prctl capget capset execve execveat exit exit_group fork getcpu getegid geteuid getgid getgroups getitimer
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit get_robust_list getrusage getsid
get_thread_area gettid getuid ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp setfsgid setfsuid
setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit set_robust_list setsid
set_thread_area set_tid_address setuid sigaltstack sysinfo tgkill times tkill uname vfork wait4 waitid"""
WAITING = """clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
eventfd eventfd2 futex futex_waitv gettimeofday nanosleep poll ppoll pselect6 select signalfd signalfd4 time timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime"""
SOCKETS = """accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
sendto setsockopt shutdown"""
NODES = "clone unshare mount umount2 pivot_root mount_setattr sethostname"  # what netns makes nodes with
FAMILIES = (1, 2, 10, 16, 17)  # AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
PERSONALITIES = (0, 0x0040000, 0xFFFFFFFF)  # default, ADDR_NO_RANDOMIZE, "what is it"
ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}  # one only: no 32-bit calls beside it
ENOSYS = 38


def equal(value: int) -> list[dict[str, Any]]:
    return [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]


def profile(architecture: str) -> dict[str, Any]:
    """The profile for an engine of that architecture (Docker's word). KeyError for one without a filter of ours."""
    names = sorted(" ".join((FILES, MEMORY, PROCESSES, WAITING, SOCKETS, NODES)).split())
    allow = "SCMP_ACT_ALLOW"
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": [ARCHITECTURES[architecture]],
        "syscalls": [
            {"names": names, "action": allow, "args": []},
            # its flags lie in memory, where no filter sees them; the C library then takes clone
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS, "args": []},
            *({"names": ["socket"], "action": allow, "args": equal(family)} for family in FAMILIES),
            {"names": ["socketpair"], "action": allow, "args": equal(FAMILIES[0])},
            *({"names": ["personality"], "action": allow, "args": equal(value)} for value in PERSONALITIES),
        ],
    }
