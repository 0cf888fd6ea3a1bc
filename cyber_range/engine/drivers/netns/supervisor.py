"""One range: a user namespace with the bridges, the range tree, and as pid 1 of it this loop. Forked from the zygote.

Two processes: the outer one waits (its end closes the `death` pipe, so the driver knows when all are gone), the inner
one serves the driver's socket. The end of that socket, or of either process, is the end of the whole range.

Requests {"id", "verb", ...}: zones, nodes, remove_node, remove_zone, observe, pause, resume, and with "node" whatever
node_init knows, passed on as it is. Events {"event", "node", ...} come from nodes and from the watchdog.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, NoReturn

from cyber_range.engine.drivers.netns import confine, linux, rtnetlink, tree, wire
from cyber_range.engine.drivers.netns.node_init import NodeInit
from cyber_range.engine.drivers.netns.watchdog import Watchdog
from cyber_range.engine.plan import Limits

RANGE_NAMESPACES = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWCGROUP
)
HUB_NAMESPACES = RANGE_NAMESPACES & ~(linux.CLONE_NEWUSER | linux.CLONE_NEWNET)
NODE_SECONDS = 15.0  # for all nodes of one request to be built; about 0.1 s on an idle machine
RECEIVE_ROOM = 1 << 16


def run_range(
    control: socket.socket, death: int, range_id: str, limits: Limits, sources: tree.Sources, owner: str
) -> NoReturn:
    """The whole life of a range, in a child of the zygote."""
    zygote = os.getppid()
    linux.close_all_but({control.fileno(), death})
    linux.null_stdio()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    linux.die_with_parent(zygote)
    linux.set_title(f"lb-range:{range_id} owner={owner}", f"lb-{range_id}")
    linux.set_dumpable(True)  # after a change of uid our own uid_map would not be ours to write
    outside, group = os.geteuid(), os.getegid()
    try:
        pid = linux.clone_into(RANGE_NAMESPACES)
    except OSError as exc:
        wire.send(control, {"event": "failed", "error": f"{type(exc).__name__}: {exc}"})
        os._exit(1)
    if pid:
        control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os._exit(0)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(death)
    try:
        linux.new_user_namespace_maps(0, outside, group)
        Supervisor(control, range_id, limits, sources).run()
    except BaseException as exc:  # pid 1 of the range: its end ends everything, so say why first
        with contextlib.suppress(OSError):
            wire.send(control, {"event": "failed", "error": f"{type(exc).__name__}: {exc}"})
    os._exit(1)


@dataclass(slots=True)
class NodeHandle:
    """What the supervisor knows of a node: its init's pid, the socket to it, its ends on the bridges."""

    name: str
    plan: dict[str, Any]
    sock: socket.socket
    pid: int
    namespace: int = -1  # descriptor of its network namespace, taken while its init was dumpable
    ports: list[str] = field(default_factory=list)


class Supervisor:
    def __init__(self, control: socket.socket, range_id: str, limits: Limits, sources: tree.Sources) -> None:
        self.control = control
        self.range_id = range_id
        self.limits = limits
        self.sources = sources
        self.bridges: dict[str, str] = {}  # zone name to device
        self.nodes: dict[str, NodeHandle] = {}
        self.paused = False
        self.ports_made = 0
        self.filter_program = confine.filter_for_this_machine()

    def run(self) -> None:
        gc.disable()  # collecting would copy pages that we share with the zygote
        tree.build_range_tree(self.sources)
        tree.follow_package(self.sources.package)  # in a capsule; elsewhere the warm process has done it
        self.masks = tree.masks()
        for key in ("all", "default"):
            with contextlib.suppress(FileNotFoundError):
                linux.write_text(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6", "1")
        # After the unshare and before any node: it caps the sum of all nodes. Set earlier it would count every process
        # of this uid on the host.
        resource.setrlimit(resource.RLIMIT_NPROC, (self.limits.range_pids, self.limits.range_pids))
        self.kernel = rtnetlink.Netlink()
        self.watchdog = Watchdog(self.limits.memory_mib)
        self.wakeup, alarm = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        self.poll = select.poll()
        self.poll.register(self.control, select.POLLIN)
        self.poll.register(self.wakeup, select.POLLIN)
        self.send({"event": "opened"})
        self.loop()

    def loop(self) -> None:
        look_at = time.monotonic() + self.watchdog.interval
        while True:
            for fd, _ in self.poll.poll(max(1, int(1000 * (look_at - time.monotonic())))):
                if fd == self.control.fileno():
                    self.serve_one()
                elif fd == self.wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wakeup, 4096)
                    self.reap()
                else:
                    handle = next((node for node in self.nodes.values() if node.sock.fileno() == fd), None)
                    if handle is not None:
                        self.pass_up(handle)
            if time.monotonic() >= look_at:
                if not self.paused:
                    self.look_at_memory()
                look_at = time.monotonic() + self.watchdog.interval

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        try:
            wire.send(self.control, message, fds or [])
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)

    def serve_one(self) -> None:
        try:
            received = wire.receive(self.control)
        except ConnectionResetError:
            received = None
        if received is None:  # the driver is gone or has closed us: everything here goes with pid 1
            os._exit(0)
        message, fds = received
        try:
            if "node" in message and message["verb"] not in ("remove_node",):
                self.pass_down(message, fds)
                return
            result = getattr(self, f"do_{message['verb']}")(message)
            self.send({"id": message["id"], "ok": True, **(result or {})})
        except Exception as exc:  # told to the driver, which wraps it
            self.send({"id": message.get("id"), "ok": False, "error": f"{type(exc).__name__}: {exc}"})
        finally:
            for fd in fds:
                os.close(fd)

    def pass_down(self, message: dict[str, Any], fds: list[int]) -> None:
        handle = self.nodes.get(message["node"])
        if handle is None:
            raise LookupError(f"no node {message['node']!r} in this range")
        wire.send(handle.sock, message, fds)

    def pass_up(self, handle: NodeHandle) -> None:
        """Answers and events of a node go to the driver with the node's name, whatever they say their node is."""
        try:
            data, ancillary, _, _ = handle.sock.recvmsg(RECEIVE_ROOM, 1024, socket.MSG_CMSG_CLOEXEC)
            fds, sender = opened(ancillary)
            received = wire.unpack(data, fds)
        except (OSError, ValueError):
            received, fds, sender = None, [], 0
        if received is None:
            self.forget(handle)
            return
        message, fds = received
        if message.get("event") == "memory":
            self.watchdog.watch(sender, handle.name, int(message["job"]), fds)
            return
        if message.get("event") == "exit":
            self.watchdog.forget_job(handle.name, int(message["job"]))
        self.send({**message, "node": handle.name}, fds)
        for fd in fds:
            os.close(fd)

    def do_preload(self, message: dict[str, Any]) -> dict[str, Any]:
        """Imports node programs before nodes are forked from us (capsule; elsewhere the warm process has done so)."""
        skipped: dict[str, str] = {}
        for name in message["names"]:
            try:
                importlib.import_module(name)
            except Exception as exc:  # a broken program must not stop the others; its node says so when used
                skipped[name] = f"{type(exc).__name__}: {exc}"
        gc.collect()
        gc.freeze()
        return {"skipped": skipped}

    def do_zones(self, message: dict[str, Any]) -> None:
        present = self.zones_present()
        for zone in message["zones"]:
            self.bridges[zone["name"]] = zone["bridge"]
            if zone["name"] not in present:
                self.kernel.add_bridge(zone["bridge"], zone["name"])

    def zones_present(self) -> set[str]:
        return {link["alias"] for link in self.kernel.links().values() if link["kind"] == "bridge"}

    def do_remove_zone(self, message: dict[str, Any]) -> None:
        bridge = self.bridges.pop(message["zone"], None)
        if bridge is not None:
            self.kernel.delete(bridge)

    def do_nodes(self, message: dict[str, Any]) -> None:
        """All nodes of one request side by side: fork all, link all, then wait for all."""
        made: list[NodeHandle] = []
        try:
            for plan in message["nodes"]:
                if plan["name"] not in self.nodes:
                    made.append(self.fork_node(plan))
            deadline = time.monotonic() + NODE_SECONDS
            for handle in made:
                if not handle.plan["hub"]:
                    self.link(handle)
            for handle in made:
                self.expect(handle, "built", deadline)
                wire.send(handle.sock, {"id": 0, "verb": "configure"})
            for handle in made:
                self.expect(handle, "configured", deadline)
        except BaseException:
            for handle in made:
                self.end_node(handle)
            raise
        for handle in made:
            self.nodes[handle.name] = handle
            self.poll.register(handle.sock, select.POLLIN)

    def expect(self, handle: NodeHandle, what: str, deadline: float) -> None:
        """The next message of a node being built; OSError with the node's own words when it failed."""
        waiting = select.poll()
        waiting.register(handle.sock, select.POLLIN)
        while True:
            if not waiting.poll(max(0, int(1000 * (deadline - time.monotonic())))):
                raise TimeoutError(f"node {handle.name}: not {what} within {NODE_SECONDS:.0f} s")
            data, ancillary, _, _ = handle.sock.recvmsg(RECEIVE_ROOM, 1024, socket.MSG_CMSG_CLOEXEC)
            fds, sender = opened(ancillary)
            received = wire.unpack(data, fds)
            if received is None:
                raise OSError(f"node {handle.name}: ended before it was {what}")
            message, fds = received
            if message.get("event") == "failed":
                raise OSError(f"node {handle.name}: {message['error']} ({message.get('where', '')})")
            if message.get("event") == "memory":
                self.watchdog.watch(sender, handle.name, int(message["job"]), fds)
                continue
            if what == "configured" and not message.get("ok"):
                raise OSError(f"node {handle.name}: {message.get('error')}")
            return

    def fork_node(self, plan: dict[str, Any]) -> NodeHandle:
        ours, theirs = wire.pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        pid = linux.clone_into(HUB_NAMESPACES if plan["hub"] else RANGE_NAMESPACES)
        if pid == 0:
            try:
                self.become_node(theirs, plan)
            except BaseException as exc:  # a half-made node: tell the supervisor and go
                with contextlib.suppress(OSError):
                    wire.send(theirs, {"event": "failed", "error": f"{type(exc).__name__}: {exc}"})
            finally:
                os._exit(1)
        theirs.close()
        return NodeHandle(plan["name"], plan, ours, pid)

    def become_node(self, sock: socket.socket, plan: dict[str, Any]) -> NoReturn:
        """Pid 1 of a node, fresh in its namespaces."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        linux.close_all_but({sock.fileno()})
        hub = bool(plan["hub"])
        if not hub:
            linux.new_user_namespace_maps(0, 0, 0)
        linux.write_text("/proc/self/oom_score_adj", "1000")  # while this is the range's /proc and writable
        fence = confine.Fence.from_dict(plan["fence"])
        wire_plan = {key: plan[key] for key in ("name", "hosts", "interfaces", "neighbours", "routes", "forwards")}
        NodeInit(sock, wire_plan, fence, self.filter_program, hub).run(self.sources, self.masks)

    def link(self, handle: NodeHandle) -> None:
        handle.namespace = os.open(f"/proc/{handle.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for leg in handle.plan["interfaces"]:
            self.ports_made += 1
            port = f"port{self.ports_made}"
            handle.ports.append(port)
            self.kernel.add_veth(
                port,
                f"{handle.name}.{leg['ifname']}",
                self.bridges[leg["zone"]],
                leg["ifname"],
                leg["mac"],
                handle.namespace,
            )

    def do_remove_node(self, message: dict[str, Any]) -> None:
        handle = self.nodes.pop(message["node"], None)
        if handle is not None:
            self.poll.unregister(handle.sock)
            self.end_node(handle)

    def end_node(self, handle: NodeHandle) -> None:
        """Kills it whole, then takes its links away (the kernel would do so only when it frees the namespace)."""
        if handle.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(handle.pid, 0)
        for port in handle.ports:
            self.kernel.delete(port)
        if handle.namespace >= 0:
            os.close(handle.namespace)
            handle.namespace = -1
        handle.sock.close()
        self.watchdog.forget_node(handle.name)

    def forget(self, handle: NodeHandle) -> None:
        """A node whose init has ended by itself."""
        if self.nodes.pop(handle.name, None) is not None:
            self.poll.unregister(handle.sock)
            self.end_node(handle)
            self.send({"event": "node_ended", "node": handle.name})

    def reap(self) -> None:
        """Children of ours and orphans of nodes; a node init's end is noticed at its socket."""
        inits = {handle.pid for handle in self.nodes.values()}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            with contextlib.suppress(ChildProcessError):
                os.waitpid(found.si_pid, 0)
            if found.si_pid in inits:
                for handle in [node for node in self.nodes.values() if node.pid == found.si_pid]:
                    handle.pid = 0
                    self.forget(handle)

    def do_observe(self, message: dict[str, Any]) -> dict[str, Any]:
        """Zones by the kernel's list of bridges, nodes by their living init and their ports on the bridges."""
        self.reap()
        links = self.kernel.links()
        zones = sorted(link["alias"] for link in links.values() if link["kind"] == "bridge")
        nodes = sorted(
            name
            for name, handle in self.nodes.items()
            if alive(handle.pid) and all(port in links for port in handle.ports)
        )
        return {"zones": zones, "nodes": nodes}

    def do_pause(self, message: dict[str, Any]) -> None:
        """Every process of every node at once: kill(-1) from pid 1 reaches all but ourselves, nested namespaces too."""
        self.paused = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGSTOP)

    def do_resume(self, message: dict[str, Any]) -> None:
        self.paused = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGCONT)

    def look_at_memory(self) -> None:
        for kill in self.watchdog.look({handle.pid: name for name, handle in self.nodes.items()}):
            self.send({"event": "watchdog", **kill})


def opened(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    """(descriptors, pid of the sender as we see it) of a received packet."""
    fds: list[int] = []
    sender = 0
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds += struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            sender = struct.unpack_from("iII", data)[0]
    return fds, sender


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pid > 0
