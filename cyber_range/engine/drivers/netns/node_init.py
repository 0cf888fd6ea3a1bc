"""Pid 1 of a node: builds the node's tree, configures its legs, then starts programs, commands and shells on request.

It keeps full capabilities over the node alone, is not dumpable, reads only its supervisor's socket, and everything it
starts goes through `confine`. Messages (all with `id` except events):

| verb | descriptors in | answer |
|---|---|---|
| configure | | ok once the legs are up |
| program {job, name, use, runner, execed} | commands, messages, spec (memfd; not when execed) | ok {pid} |
| exec {job, argv} | stdin, stdout, stderr | ok |
| shell {job, columns, rows} | | ok, descriptor of the terminal |
| kill {job, signal} | | ok |
| running | | ok {programs} |
Events: {"event": "exit", "job", "code", "log"}; {"event": "memory"} (from a forked program, with its smaps_rollup).
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from cyber_range.engine.drivers.netns import confine, linux, rtnetlink, sessions, tree, wire

TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441
LOG_TAIL = 4000  # bytes of a failed program's stderr that go into its exit message
RESET_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGQUIT,
)


@dataclass(slots=True)
class Job:
    """One child of ours: a program, a command or a shell. `log` is the descriptor its stderr goes to, or -1."""

    number: int
    pid: int
    kind: str
    name: str = ""
    log: int = -1
    mark: int = 0  # of a command or shell: what its processes are known by (`sessions`)


class NodeInit:
    def __init__(
        self, sock: socket.socket, plan: dict[str, Any], fence: confine.Fence, filter_program: bytes, hub: bool
    ) -> None:
        self.sock = sock
        self.plan = plan
        self.fence = fence
        self.filter_program = filter_program
        self.hub = hub
        self.jobs: dict[int, Job] = {}  # by pid
        self.pts = -1
        self.marks = sessions.Marks()

    def run(self, sources: tree.Sources, masks: tree.Masks) -> NoReturn:
        """Serves until the supervisor's socket closes."""
        self.python = sources.python
        try:
            self.build(sources, masks)
        except BaseException as exc:  # whatever it is, the supervisor must hear it: nothing else can
            wire.send(
                self.sock,
                {"event": "failed", "error": f"{type(exc).__name__}: {exc}", "where": traceback.format_exc(limit=-3)},
            )
            os._exit(1)
        wire.send(self.sock, {"event": "built"})
        wakeup, self.alarm = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.alarm, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wakeup, 4096)
                    self.reap()
                else:
                    self.serve_one()

    def build(self, sources: tree.Sources, masks: tree.Masks) -> None:
        self.tell_memory(0)
        name = self.plan["name"]
        linux.set_title("init")
        if not self.hub:
            linux.set_hostname(name)
        self.pts = tree.build_node_tree(sources, masks, self.fence.store_mib, self.plan["hosts"], name)

    def serve_one(self) -> None:
        received = wire.receive(self.sock)
        if received is None:
            os._exit(0)
        message, fds = received
        answer: dict[str, Any] = {"id": message.get("id"), "ok": True}
        back: list[int] = []
        try:
            verb: Callable[[dict[str, Any], list[int], dict[str, Any]], list[int] | None]
            verb = getattr(self, f"do_{message['verb']}")
            back = verb(message, fds, answer) or []
        except Exception as exc:  # told to the asker; a node must survive a bad request
            answer |= {"ok": False, "error": f"{type(exc).__name__}: {exc}"}
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
        wire.send(self.sock, answer, back)
        for fd in back:
            os.close(fd)

    def do_configure(self, message: dict[str, Any], fds: list[int], answer: dict[str, Any]) -> None:
        """The legs exist by now: addresses, permanent neighbours, routes, and from here nobody may look into us."""
        if not self.hub:
            self.sysctls()
            with rtnetlink.Netlink() as kernel:
                kernel.up("lo")
                for leg in self.plan["interfaces"]:
                    with contextlib.suppress(OSError):  # a kernel without ethtool offload switches computes anyway
                        rtnetlink.compute_checksums(leg["ifname"])
                    kernel.add_address(leg["ifname"], leg["ip"], leg["prefix"])
                    kernel.up(leg["ifname"])
                for ifname, ip, mac in self.plan["neighbours"]:
                    kernel.add_neighbour(ifname, ip, mac)
                for destination, gateway in self.plan["routes"]:
                    kernel.add_route(destination, gateway)
        if self.hub or "net_admin" not in self.fence.caps:
            linux.mount_attributes("/proc/sys/net", linux.ATTR_RDONLY, recursive=False)
        gc.freeze()
        linux.set_dumpable(False)

    def sysctls(self) -> None:
        """No IPv6 on any leg, ping for everyone, forwarding only where the plan says so."""
        values = {
            "ipv6/conf/all/disable_ipv6": "1",
            "ipv6/conf/default/disable_ipv6": "1",
            "ipv4/ping_group_range": "0 0",
            "ipv4/ip_forward": str(int(self.plan["forwards"])),
        }
        for key, value in values.items():
            with contextlib.suppress(FileNotFoundError):  # a kernel built without IPv6
                linux.write_text(f"/proc/sys/net/{key}", value)

    def tell_memory(self, job: int) -> None:
        """Gives the watchdog a look at this very process, which nobody can open from outside."""
        with contextlib.suppress(OSError):
            rollup = os.open("/proc/self/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
            try:
                wire.send(self.sock, {"event": "memory", "job": job}, [rollup])
            finally:
                os.close(rollup)

    def do_program(self, message: dict[str, Any], fds: list[int], answer: dict[str, Any]) -> None:
        commands, messages, *spec = fds
        log = self.open_log(message["name"])
        pid = os.fork()
        if pid == 0:
            self.child(lambda: self.become_program(message, commands, messages, spec, log))
        self.jobs[pid] = Job(message["job"], pid, "program", message["name"], log)
        answer["pid"] = pid

    def open_log(self, name: str) -> int:
        """The program's stderr: a file in the node's store, so it counts against the quota and can be read there."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(f"/var/log/{name}.log", flags, 0o640)
        except OSError:  # a full or vandalised store must not stop the program
            return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def become_program(self, message: dict[str, Any], commands: int, messages: int, spec: list[int], log: int) -> int:
        os.setsid()
        name, use = message["name"], message["use"]
        if message["execed"]:
            return self.exec_program(use, commands, messages, log)
        self.tell_memory(message["job"])
        data = json.loads(wire.read_memory(spec[0]))
        linux.null_stdio()
        os.dup2(log, 2)
        linux.close_all_but({commands, messages})
        linux.set_title(name)
        confine.confine(self.fence, self.filter_program)
        module, _, function = message["runner"].partition(":")
        serve: Callable[..., int | None] = getattr(importlib.import_module(module), function)
        return serve(use, data["spec"], commands, messages) or 0

    def exec_program(self, use: str, commands: int, messages: int, log: int) -> int:
        """A fresh interpreter: for programs of GPL libraries and others that must not share the warm process.

        The driver has written the start line into the command pipe already.
        """
        for target, fd in enumerate((commands, messages, log)):
            os.dup2(fd, target)
        linux.close_all_but(set())
        confine.confine(self.fence, self.filter_program)
        return self.execute([self.python, "-m", "cyber_range.engine.agents", use], self.environment())

    def do_exec(self, message: dict[str, Any], fds: list[int], answer: dict[str, Any]) -> None:
        mark = self.marks.command(message["job"])
        pid = os.fork()
        if pid == 0:
            self.child(lambda: self.become_command(message["argv"], fds, message.get("env", {}), mark))
        self.jobs[pid] = Job(message["job"], pid, "exec", mark=mark)

    def become_command(self, argv: list[str], fds: list[int], extra: dict[str, str], mark: int) -> int:
        os.setsid()
        sessions.bear(mark)
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        linux.close_all_but(set())
        os.chdir("/root")
        confine.confine(self.fence, self.filter_program)
        return self.execute(argv, self.environment(extra))

    def execute(self, argv: list[str], env: dict[str, str]) -> int:
        """execvpe with a shell's words and codes for what cannot run."""
        try:
            os.execvpe(argv[0], argv, env)  # noqa: S606 - running commands is what nodes are for
        except FileNotFoundError:
            os.write(2, f"{argv[0]}: command not found\n".encode())
            return 127
        except OSError as exc:
            os.write(2, f"{argv[0]}: {exc.strerror}\n".encode())
            return 126

    def do_shell(self, message: dict[str, Any], fds: list[int], answer: dict[str, Any]) -> list[int]:
        master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.pts)
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", message["rows"], message["columns"], 0, 0))
        mark = self.marks.terminal(message["job"])
        self.marks.terminals.add(mark)
        pid = os.fork()
        if pid == 0:
            self.child(lambda: self.become_shell(slave, mark))
        os.close(slave)
        self.jobs[pid] = Job(message["job"], pid, "shell", mark=mark)
        return [master]

    def become_shell(self, slave: int, mark: int) -> int:
        os.setsid()
        sessions.bear(mark)
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for target in (0, 1, 2):
            os.dup2(slave, target)
        linux.close_all_but(set())
        os.chdir("/root")
        confine.confine(self.fence, self.filter_program)
        env = self.environment({"TERM": "xterm-256color"})
        return self.execute(["bash", "--noprofile", "--rcfile", "/etc/lianbing.bashrc", "-i"], env)

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """nmap takes uid 0 for the right to raw sockets; where the node has none it must be told."""
        plain = {} if "net_raw" in self.fence.caps else {"NMAP_UNPRIVILEGED": "1"}
        return tree.environment({**plain, **(extra or {})})

    def child(self, story: Callable[[], int]) -> NoReturn:
        """Runs in a fresh fork and never returns into our loop."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in RESET_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            gc.enable()
            code = story()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        except BaseException:  # the last frame of a process: it can only say why on its stderr
            with contextlib.suppress(BaseException):
                traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code & 0xFF)

    def do_kill(self, message: dict[str, Any], fds: list[int], answer: dict[str, Any]) -> None:
        """A command or terminal, with all it has started."""
        number, how = int(message["job"]), int(message["signal"])
        if self.marks.terminal(number) in self.marks.terminals:
            self.hang_up(self.marks.terminal(number))
        elif any(job.number == number and job.mark for job in self.jobs.values()):
            sessions.end(lambda mark: mark == self.marks.command(number), how)

    def hang_up(self, terminal: int) -> None:
        """Nothing that was started from a terminal outlives it, nor what had lost its mark before."""
        self.marks.terminals.discard(terminal)
        sessions.end(self.marks.stray)

    def do_running(self, message: dict[str, Any], fds: list[int], answer: dict[str, Any]) -> None:
        self.reap()
        answer["programs"] = sorted(job.name for job in self.jobs.values() if job.kind == "program")

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job = self.jobs.pop(pid, None)
            if job is None:  # an orphan of some shell, reparented to us
                continue
            code = os.waitstatus_to_exitcode(status)
            event = {"event": "exit", "job": job.number, "code": code}
            if job.log >= 0:
                if code != 0:
                    event["log"] = tail(job.log)
                os.close(job.log)
            elif job.kind == "shell" and job.mark in self.marks.terminals:  # `exit` was typed
                self.hang_up(job.mark)
            wire.send(self.sock, event)


def tail(fd: int) -> str:
    """The end of a program's log; "" where the log is no plain file."""
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, LOG_TAIL, max(0, size - LOG_TAIL)).decode(errors="replace")
    except OSError:
        return ""
