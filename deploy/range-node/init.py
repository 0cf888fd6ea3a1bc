"""Process 1 of a range node's container: wires the legs, gives up its rights, runs the node's programs.

Speaks JSON lines with the docker driver over the container's attached stdin and stdout:

    in   {"do": "hello"}                                    the driver has (re)attached
         {"do": "prepare", "uses": [u]}                     import what these need; their processes share it
         {"do": "start", "program": p, "use": u, "spec": {}}
         {"do": "send", "program": p, "message": {}}
         {"do": "ack", "n": 17}                             everything up to line 17 is safe with the driver
         {"do": "renew", "token": t}                        as if it had just been started, but for what was imported
         {"do": "hangup", "mark": m}                        end the session LB_SESSION=m and all it has started
    out  {"hello": {"programs": {p: exit code or null}}}    then every line that was not acknowledged, again
         {"n": 18, "p": p, "b": {...}}                      what program p said
         {"renewed": t} or {"failed": why}                  whatever came before it belongs to the past

Its one argument is JSON: {"node": name, "legs": [{ifname, ip, prefix, mac}], "routes": [[to, via]],
"neighbours": [[ifname, ip, mac]], "keep_net_admin": bool}. Legs are found by address, because Docker attaches
networks in an order of its own and (before API 1.44) chooses the MAC of every leg but the first.

The container starts with NET_ADMIN and SETPCAP for this wiring alone. Both leave the bounding set before anything
else runs, and no_new_privileges makes that final; `enter.py` does the same for docker exec. Standard library only.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback

sys.path.insert(0, "/opt/lianbing")  # isolated mode leaves our own folder out
import renewal
from rights import NET_ADMIN, SETPCAP, drop_rights
from sessions import HangUps

PR_SET_DUMPABLE = 4
SIOCGIFADDR, SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8915, 0x8946, 0x17
DROPPABLE = (b'{"kind":"telemetry"', b'{"kind":"pcap"', b'{"kind":"rates"')
BACKLOG_LIMIT = 8 * 1024 * 1024  # bytes waiting for the driver before telemetry is dropped
KEPT_LIMIT = 4 * 1024 * 1024  # bytes of lines kept until the driver acknowledges them
LINE_LIMIT = 16 * 1024 * 1024  # bytes of one line
libc = ctypes.CDLL(None, use_errno=True)


def wire(config: dict) -> None:
    """Names, MACs, routes and neighbours as planned; checksums in software, so that captures show whole packets."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                raw = fcntl.ioctl(asker, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue
            found[socket.inet_ntoa(raw[20:24])] = name
        missing = [leg["ip"] for leg in config["legs"] if leg["ip"] not in found]
        if missing:
            raise OSError(errno.ENODEV, f"no interface has the planned address {missing[0]}; there are {sorted(found)}")
        lines = []
        for at, leg in enumerate(config["legs"]):
            now = found[leg["ip"]]
            lines.append(f"link set dev {now} down")
            lines.append(f"link set dev {now} address {leg['mac']} name wired{at}")
        for at, leg in enumerate(config["legs"]):
            lines.append(f"link set dev wired{at} name {leg['ifname']} up")
        lines += [f"route replace {to} via {via}" for to, via in config["routes"]]
        lines += [
            f"neighbour replace {ip} lladdr {mac} dev {ifname} nud permanent"
            for ifname, ip, mac in config["neighbours"]
        ]
        if lines:
            # links that go down lose their routes, Docker's own default among them
            done = subprocess.run(
                ["/usr/sbin/ip", "-batch", "-"], input="\n".join(lines).encode(), capture_output=True, check=False
            )
            if done.returncode != 0:
                raise OSError(errno.EIO, f"ip: {done.stderr.decode(errors='replace').strip()}")
        for leg in config["legs"]:
            command = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))
            request = struct.pack("16sP16x", leg["ifname"].encode(), ctypes.addressof(command))
            with contextlib.suppress(OSError):  # a driver without the switch has nothing to switch off
                fcntl.ioctl(asker, SIOCETHTOOL, request)


def make_places() -> None:
    """Where the image's links into the node's one tmpfs lead."""
    for place in ("root", "home", "run", "srv", "log"):
        os.makedirs(f"/tmp/{place}", mode=0o755, exist_ok=True)  # noqa: S108


def prepare(uses: list) -> None:
    """Between our start and the order to start a program lies a wait for the engine, which importing fills. A program that
    cannot be imported says so itself once it is started."""
    gc.disable()
    for module in ("runner", *uses):
        with contextlib.suppress(Exception):
            importlib.import_module(f"cyber_range.engine.agents.{module}")
    gc.freeze()  # the pages of all this stay shared with the programs
    gc.enable()


class Program:
    def __init__(self, name: str, pid: int, commands: int, sayings: int) -> None:
        self.name = name
        self.pid = pid
        self.commands = commands  # we write
        self.sayings = sayings  # we read
        self.heard = b""
        self.unsent = b""


class Init:
    def __init__(self, node: str) -> None:
        self.node = node
        self.programs: dict[str, Program] = {}
        self.codes: dict[str, int] = {}
        self.number = 0
        self.kept: collections.deque = collections.deque()  # (number, line)
        self.kept_bytes = 0
        self.out: collections.deque = collections.deque()
        self.out_bytes = 0
        self.heard = b""
        self.poll = select.poll()
        self.by_fd: dict[int, Program] = {}
        self.hang_ups = HangUps()

    def pids(self) -> set[int]:
        return {program.pid for program in self.programs.values()}

    def say(self, line: bytes) -> None:
        self.out.append(line)
        self.out_bytes += len(line)

    def said(self, program: str, body: bytes) -> None:
        droppable = body.startswith(DROPPABLE)
        if droppable and self.out_bytes > BACKLOG_LIMIT:
            return
        self.number += 1
        line = b'{"n":%d,"p":%s,"b":%s}\n' % (self.number, json.dumps(program).encode(), body)
        self.say(line)
        if not droppable:
            self.kept.append((self.number, line))
            self.kept_bytes += len(line)
            while self.kept_bytes > KEPT_LIMIT:
                self.kept_bytes -= len(self.kept.popleft()[1])

    def told(self, order: dict) -> None:
        what = order.get("do")
        if what == "hello":
            alive: dict[str, int | None] = dict(self.codes)
            alive.update(dict.fromkeys(self.programs))
            self.say(json.dumps({"hello": {"programs": alive}}).encode() + b"\n")
            for _, line in self.kept:
                self.say(line)
        elif what == "ack":
            while self.kept and self.kept[0][0] <= order["n"]:
                self.kept_bytes -= len(self.kept.popleft()[1])
        elif what == "prepare":
            self.flush()
            prepare(order["uses"])
        elif what == "start":
            if order["program"] not in self.programs:
                self.start(order["program"], order["use"], order["spec"])
        elif what == "send":
            program = self.programs.get(order["program"])
            if program is not None:
                program.unsent += json.dumps(order["message"], ensure_ascii=False).encode() + b"\n"
                self.feed(program)
        elif what == "renew":
            self.renew(str(order["token"]))
        elif what == "hangup":
            self.hang_ups.begin(str(order["mark"]), self.pids())

    def renew(self, token: str) -> None:
        try:
            renewal.renew()
            make_places()
        except (OSError, RecursionError) as exc:
            self.say(b"\n" + json.dumps({"failed": f"it cannot be made new: {exc!r}"}).encode() + b"\n")
            return
        for fd in self.by_fd:
            with contextlib.suppress(KeyError):
                self.poll.unregister(fd)
            os.close(fd)
        awaited, poll = self.heard, self.poll
        self.__init__(self.node)
        self.heard, self.poll = awaited, poll
        # begins a line: the one that was being sent may have been cut
        self.say(b"\n" + json.dumps({"renewed": token}).encode() + b"\n")

    def start(self, name: str, use: str, spec: dict) -> None:
        commands_in, commands_out = os.pipe()
        sayings_in, sayings_out = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_DFL)
                quiet = os.open("/dev/null", os.O_RDWR)
                os.dup2(quiet, 0)
                os.dup2(2, 1)  # what a library prints is not a message
                os.dup2(commands_in, 3)
                os.dup2(sayings_out, 4)
                os.closerange(5, 4096)
                from cyber_range.engine.agents.runner import serve  # process 1 has it already, or never needs it

                code = serve(use, spec, 3, 4, self.node)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(commands_in)
        os.close(sayings_out)
        for fd in (commands_out, sayings_in):
            os.set_blocking(fd, False)
        program = Program(name, pid, commands_out, sayings_in)
        self.programs[name] = program
        self.codes.pop(name, None)
        self.by_fd[sayings_in] = self.by_fd[commands_out] = program
        self.poll.register(sayings_in, select.POLLIN)

    def feed(self, program: Program) -> None:
        try:
            while program.unsent:
                written = os.write(program.commands, program.unsent)
                program.unsent = program.unsent[written:]
        except BlockingIOError:
            self.poll.register(program.commands, select.POLLOUT)
            return
        except BrokenPipeError:
            program.unsent = b""
        with contextlib.suppress(KeyError):
            self.poll.unregister(program.commands)

    def listen(self, program: Program) -> bool:
        """Reads what a program said; False at its end."""
        try:
            data = os.read(program.sayings, 262144)
        except BlockingIOError:
            return True
        if not data:
            return False
        *lines, program.heard = (program.heard + data).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self.said(program.name, line)
        if len(program.heard) > LINE_LIMIT:
            program.heard = b""
        return True

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for program in list(self.programs.values()):
                if program.pid == pid:
                    while program.sayings in self.by_fd and self.listen(program):
                        if not select.select([program.sayings], [], [], 0)[0]:
                            break
                    self.forget(program, os.waitstatus_to_exitcode(status))

    def forget(self, program: Program, code: int) -> None:
        for fd in (program.sayings, program.commands):
            self.by_fd.pop(fd, None)
            with contextlib.suppress(KeyError):
                self.poll.unregister(fd)
            os.close(fd)
        del self.programs[program.name]
        self.codes[program.name] = code
        self.said(program.name, json.dumps({"kind": "exit", "code": code}).encode())

    def flush(self) -> None:
        try:
            while self.out:
                line = self.out[0]
                written = os.write(1, line[:65536])
                self.out_bytes -= written
                if written < len(line):
                    self.out[0] = line[written:]
                else:
                    self.out.popleft()
        except BlockingIOError:
            pass
        self.poll.register(1, select.POLLOUT if self.out else 0)

    def run(self) -> int:
        for fd in (0, 1):
            os.set_blocking(fd, False)
        awake, wakes = os.pipe()
        for fd in (awake, wakes):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(0, select.POLLIN)
        self.poll.register(awake, select.POLLIN)
        while True:
            self.flush()
            wait = self.hang_ups.wait()
            for fd, events in self.poll.poll(None if wait is None else wait * 1000):
                if fd == awake:
                    os.read(awake, 4096)
                elif fd == 0:
                    if not self.hear():
                        return 0
                elif fd == 1:
                    if events & (select.POLLERR | select.POLLNVAL):
                        return 0
                elif (program := self.by_fd.get(fd)) is not None:
                    if fd == program.commands:
                        self.feed(program)
                    elif not self.listen(program):
                        self.poll.unregister(fd)
            self.reap()
            if self.hang_ups.wait() == 0:
                self.hang_ups.look(self.pids())

    def hear(self) -> bool:
        try:
            data = os.read(0, 262144)
        except BlockingIOError:
            return True
        if not data:
            return False  # Docker closed our stdin for good: the container is going away
        *lines, self.heard = (self.heard + data).split(b"\n")
        for line in lines:
            try:
                self.told(json.loads(line))
            except (ValueError, KeyError, TypeError) as exc:
                sys.stderr.write(f"unreadable order: {exc!r}\n")
        return True


def main() -> int:
    config = json.loads(sys.argv[1])
    rights: tuple[int, ...] = (SETPCAP,) if config.get("keep_net_admin") else (NET_ADMIN, SETPCAP)
    make_places()
    try:
        wire(config)
        drop_rights(rights)
    except OSError as exc:
        sys.stdout.write(json.dumps({"failed": str(exc)}) + "\n")
        sys.stdout.flush()
        return 1
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # nobody else in the node may trace us or write to our pipes
    return Init(config["node"]).run()


if __name__ == "__main__":
    sys.exit(main())
