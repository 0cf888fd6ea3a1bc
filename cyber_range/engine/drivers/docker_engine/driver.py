"""The docker driver: one container per node, one bridge per zone, found again by label.

The SDK blocks, so its calls run in some threads (from 4 on the engine gets no faster); the byte
streams of nodes and terminals are read by the event loop itself.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import ipaddress
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import docker
import docker.errors

from cyber_range.engine.drivers import stores
from cyber_range.engine.drivers.base import AgentMessage, Driver, ExecResult, Probe, Pty, Swept
from cyber_range.engine.drivers.docker_engine import guard, image, specs
from cyber_range.engine.drivers.docker_engine.past import Past, Spare
from cyber_range.engine.drivers.docker_engine.removal import remove_container, remove_network
from cyber_range.engine.drivers.docker_engine.session import Session
from cyber_range.engine.drivers.docker_engine.terminal import DockerPty
from cyber_range.engine.drivers.docker_engine.wires import STDOUT, Wire, demultiplexed
from cyber_range.engine.errors import AddressSpaceTaken, DriverError, DriverUnavailable, Refused, UnknownRange
from cyber_range.engine.plan import (
    Action,
    CreateNode,
    CreateZone,
    Limits,
    NodePlan,
    Observed,
    RemoveNode,
    RemoveZone,
    StartProgram,
    ZonePlan,
)

THREADS = 14  # ten starts beside the networks
OWNER_VARIABLE = "LIANBING_RANGE_OWNER"
ENGINE_SECONDS = 60  # one API call; a start on a busy machine takes a few
PROBE_SECONDS = 5  # a busy engine takes a second or two
WIRED_SECONDS = 30.0  # from start to the init's hello
RENEWED_SECONDS = 12.0  # until a node is as if just started; its init gives up at 10
OUTPUT_LIMIT = 4 * 1024 * 1024  # bytes of one command's stdout or stderr
HANGING_UP = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # s between two looks whether a session has ended
SOCKET = "/var/run/docker.sock"
TIMED_OUT = 124  # exit code, as timeout(1) has it
ENTER = ("python3", "-I", "/opt/lianbing/enter.py")
T = TypeVar("T")


@dataclass
class DockerRange:
    limits: Limits
    generation: int = 0
    sessions: dict[str, Session] = field(default_factory=dict)
    containers: dict[str, str] = field(default_factory=dict)  # node -> id, of this generation
    networks: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # zone -> what it was made of
    made: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # node -> what its container was made of
    past: Past = field(default_factory=Past)
    messages: asyncio.Queue[AgentMessage | None] = field(default_factory=asyncio.Queue)
    bridges: dict[str, str] = field(default_factory=dict)  # zone -> bridge device
    hidden: set[str] = field(default_factory=set)  # zones that no sensor is shown
    shells: dict[str, bool] = field(default_factory=dict)  # node -> may anybody have a shell there
    hubs: set[str] = field(default_factory=set)
    admins: set[str] = field(default_factory=set)  # nodes that keep NET_ADMIN
    terminals: set[DockerPty] = field(default_factory=set)
    guarding: asyncio.Future[str] | None = None
    paused: bool = False


def wrapped(exc: Exception, what: str, **detail: object) -> DriverError:
    said = getattr(exc, "explanation", None) or exc
    return DriverError(f"{what}: {said}", remedy="See the Docker engine's log", **detail)


class DockerDriver(Driver):
    name: ClassVar[str] = "docker"

    def __init__(self, owner: str | None = None) -> None:
        """`owner` marks everything made here; a sweep touches only what bears it, so two range hosts can share an engine."""
        self.owner = owner or os.environ.get(OWNER_VARIABLE) or f"uid-{os.getuid()}"
        self._ranges: dict[str, DockerRange] = {}
        self._client: docker.DockerClient | None = None
        self._threads = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._api: tuple[int, ...] = ()
        self._server: tuple[int, ...] = ()
        self._image = ""
        self._wall = guard.Wall(self.owner, self._call)
        self._warming: asyncio.Future[None] | None = None

    # the engine

    @classmethod
    async def probe(cls) -> Probe:
        return await asyncio.to_thread(look)

    async def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, functools.partial(function, *args, **kwargs)
        )

    async def _engine(self) -> docker.DockerClient:
        if self._client is None:
            try:
                client = await self._call(docker.from_env, timeout=ENGINE_SECONDS, max_pool_size=64)
                version = await self._call(client.version)
            except (docker.errors.DockerException, OSError) as exc:
                raise DriverUnavailable(
                    f"No Docker engine answers: {exc}", remedy="Start it: systemctl start docker, or dockerd &"
                ) from exc
            self._api = numbers(client.api.api_version)
            self._server = numbers(version["Version"])
            self._client = client
        return self._client

    async def _current_image(self, client: docker.DockerClient) -> str:
        """The image of these very sources; kept once found, for a running service does not change under itself."""
        if not self._image:
            tag = await self._call(image.wanted)
            if not await self._call(image.has, client, tag):
                raise DriverUnavailable(f"This Docker engine has no range image {tag}", remedy=image.REMEDY)
            self._image = tag
        return self._image

    def _range(self, range_id: str) -> DockerRange:
        try:
            return self._ranges[range_id]
        except KeyError:
            raise UnknownRange(f"The docker driver has no range {range_id} open", remedy="Open or launch it") from None

    # open, and finding again

    async def open(self, range_id: str, limits: Limits) -> None:
        if range_id in self._ranges:
            return
        client = await self._engine()
        networks, containers = await self._image_and_ground(client, range_id)
        if self._warming is None:  # whoever opens a range is about to need the wall
            self._warming = asyncio.ensure_future(self._wall.warm(client, self._image))
        containers.sort(key=generation_of)
        newest = {item["Labels"][specs.NAME]: item for item in containers}
        lab = self._ranges[range_id] = DockerRange(limits, generation_of(containers[-1]) if containers else 0)
        for network in networks:
            said = network["Labels"]
            lab.bridges[said[specs.NAME]] = said[specs.BRIDGE]
            if said.get(specs.HIDDEN) == "true":
                lab.hidden.add(said[specs.NAME])
        self._guard(client, range_id, lab)
        if old := [item["Id"] for item in containers if item not in newest.values()]:
            lab.past.end(self._call, client, old)  # a range host was killed in the middle of a reset
        try:
            await asyncio.gather(*(self._find_again(client, range_id, lab, item) for item in newest.values()))
        except docker.errors.DockerException as exc:
            raise wrapped(exc, "The running nodes of the range cannot be reached again", range=range_id) from exc

    async def _image_and_ground(
        self, client: docker.DockerClient, range_id: str
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        await self._current_image(client)
        label = {"label": f"{specs.RANGE}={range_id}"}
        networks = await self._call(client.api.networks, filters=label)
        containers = await self._call(client.api.containers, all=True, filters=label)
        return networks, [item for item in containers if item["Labels"].get(specs.KIND) == "node"]

    def _guard(self, client: docker.DockerClient, range_id: str, lab: DockerRange) -> None:
        """Begins to build the wall around the bridges that are there; nodes wait for it before they start."""
        if lab.bridges:
            bridges = sorted(lab.bridges.values())
            scripts = [guard.rules(range_id, bridges, both_ways=both) for both in (True, False)]
            lab.guarding = asyncio.ensure_future(self._wall.run(client, self._image, *scripts))

    async def _find_again(
        self, client: docker.DockerClient, range_id: str, lab: DockerRange, item: Mapping[str, Any]
    ) -> None:
        """A node that outlived its range host."""
        node, said = item["Labels"][specs.NAME], item["Labels"]
        lab.containers[node] = item["Id"]
        lab.shells[node] = said.get(specs.SHELL) == "true"
        if said.get(specs.KEEP_ADMIN) == "true":
            lab.admins.add(node)
        if said.get(specs.PLACEMENT) == "hub":
            lab.hubs.add(node)
        if item["State"] in ("running", "paused"):
            session = await self._attach(client, range_id, lab, node, item["Id"])
            if item["State"] == "paused":
                lab.paused = session.paused = True
            else:
                await self._wired(session)

    async def _attach(
        self, client: docker.DockerClient, range_id: str, lab: DockerRange, node: str, container: str
    ) -> Session:
        opened = await self._call(
            client.api.attach_socket, container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        )
        session = lab.sessions[node] = Session(node, Wire(opened), self._listener(range_id, lab, node))
        await session.hello()
        return session

    @staticmethod
    def _listener(range_id: str, lab: DockerRange, node: str) -> Callable[[str, dict[str, Any]], None]:
        def say(program: str, body: dict[str, Any]) -> None:
            lab.messages.put_nowait(AgentMessage(range_id, node, program, body))

        return say

    async def _wired(self, session: Session) -> None:
        try:
            await asyncio.wait_for(session.answered.wait(), WIRED_SECONDS)
        except TimeoutError:
            session.failure = f"its first process did not answer within {WIRED_SECONDS:.0f} s"
        if session.failure:
            raise DriverError(
                f"Node {session.node} did not come up: {session.failure}", remedy="Launch the range again"
            )

    # apply

    async def apply(self, range_id: str, actions: Sequence[Action]) -> None:
        lab = self._range(range_id)
        client = await self._engine()
        await self._each(self._remove_node(client, range_id, lab, a.node) for a in actions if isinstance(a, RemoveNode))
        await self._each(self._remove_zone(client, range_id, lab, a.zone) for a in actions if isinstance(a, RemoveZone))
        zones = [a.zone for a in actions if isinstance(a, CreateZone)]
        nodes = [a.node for a in actions if isinstance(a, CreateNode)]
        taken = [leg.ip for node in nodes for leg in node.interfaces]
        # beside each other: a container can be made before its networks are there, and starts with the last of them
        wanted = {zone.name: specs.network(range_id, self.owner, zone, taken, self._server) for zone in zones}
        await self._make_room(client, range_id, lab, wanted)
        ground = {
            zone.name: asyncio.ensure_future(self._create_zone(client, lab, zone, wanted[zone.name])) for zone in zones
        }
        fence = asyncio.ensure_future(self._fence(client, range_id, lab, ground))
        programs: dict[str, list[StartProgram]] = {}
        for action in actions:
            if isinstance(action, StartProgram):
                programs.setdefault(action.node, []).append(action)
        fresh = {node.name for node in nodes}
        making = [
            self._create_node(client, range_id, lab, node, programs.get(node.name, []), ground, fence) for node in nodes
        ]
        await self._each([*ground.values(), fence, *making])
        if lab.past.spares:
            await lab.past.discard(self._call, client, *lab.past.spares.values())
            lab.past.spares.clear()
        for name, starts in programs.items():
            if name not in fresh:
                await self._start_programs(lab, name, starts)

    async def _make_room(
        self, client: docker.DockerClient, range_id: str, lab: DockerRange, wanted: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """The networks of before a reset go, but for those that serve again because nothing differs."""
        gone = [zone for zone, made in lab.past.networks.items() if wanted.get(zone) != made]
        if gone:
            await lab.past.discard(self._call, client, *lab.past.spares.values())  # they hold the networks
            lab.past.spares.clear()
            await lab.past.over()
            await self._each(self._call(remove_network, client, specs.network_name(range_id, zone)) for zone in gone)
        for zone in gone:
            del lab.past.networks[zone]

    async def _fence(
        self, client: docker.DockerClient, range_id: str, lab: DockerRange, ground: Mapping[str, asyncio.Future[None]]
    ) -> None:
        """Returns when the wall stands around all bridges."""
        if ground:
            await asyncio.gather(*map(asyncio.shield, ground.values()))
            self._guard(client, range_id, lab)
        if lab.guarding is not None:
            await asyncio.shield(lab.guarding)

    @staticmethod
    async def _each(work: Iterable[Any]) -> None:
        """All at once; the first failure is raised when all have ended, so that nothing goes on behind a caller's back."""
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _create_zone(
        self, client: docker.DockerClient, lab: DockerRange, zone: ZonePlan, wanted: Mapping[str, Any]
    ) -> None:
        if lab.past.networks.pop(zone.name, None) is None:
            await self._make_network(client, zone, wanted)
        lab.networks[zone.name] = wanted
        lab.bridges[zone.name] = zone.bridge
        if zone.hidden:
            lab.hidden.add(zone.name)

    async def _make_network(self, client: docker.DockerClient, zone: ZonePlan, wanted: Mapping[str, Any]) -> None:
        try:
            await self._call(client.api.create_network, **wanted)
        except docker.errors.APIError as exc:
            if "overlaps" in str(exc.explanation).lower():
                other = await self._overlapping(client, zone.subnet)
                raise AddressSpaceTaken(
                    f"The block {zone.subnet} of zone {zone.name} overlaps with {other}",
                    remedy="Remove that network, or give the engine another address pool",
                    zone=zone.name,
                    network=other,
                ) from exc
            if exc.status_code != 409:
                raise wrapped(exc, f"The network of zone {zone.name} cannot be made", zone=zone.name) from exc

    async def _overlapping(self, client: docker.DockerClient, subnet: str) -> str:
        block = ipaddress.ip_network(subnet)
        for network in await self._call(client.api.networks):
            for pool in (network.get("IPAM") or {}).get("Config") or []:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if ipaddress.ip_network(pool["Subnet"]).overlaps(block):
                        return f"Docker network {network['Name']} ({pool['Subnet']})"
        return "a route or address of this host"

    async def _create_node(
        self,
        client: docker.DockerClient,
        range_id: str,
        lab: DockerRange,
        node: NodePlan,
        starts: Sequence[StartProgram],
        ground: Mapping[str, asyncio.Future[None]],
        fence: asyncio.Future[None],
    ) -> None:
        known = lab.sessions.get(node.name)
        if known is not None and not known.failure:
            await self._start_programs(lab, node.name, starts)
            return
        if known is not None:  # its container has ended; what is left of it has the name that we need
            await self._remove_node(client, range_id, lab, node.name)
        lab.shells[node.name] = node.shell and node.placement != "hub"
        if node.placement == "hub":
            lab.hubs.add(node.name)
        if "net_admin" in node.caps:
            lab.admins.add(node.name)
        tag = await self._current_image(client)
        made_of = specs.container(range_id, self.owner, node, tag, lab.limits, self._api)
        lab.made[node.name] = made_of
        if (spare := lab.past.spares.pop(node.name, None)) is not None:
            if await spare.serves(made_of, RENEWED_SECONDS):
                spare.session.listen(self._listener(range_id, lab, node.name))
                lab.containers[node.name], lab.sessions[node.name] = spare.container, spare.session
                await asyncio.shield(fence)
                await self._start_programs(lab, node.name, starts)
                return
            await lab.past.discard(self._call, client, spare)
        wanted = specs.container(range_id, self.owner, node, tag, lab.limits, self._api, lab.generation)
        zones = [ground[leg.zone] for leg in node.interfaces if leg.zone in ground]
        try:
            made = lab.containers[node.name] = await self._create(client, wanted, zones)
            await asyncio.gather(*map(asyncio.shield, zones))
            await lab.past.over()  # who had these addresses before a reset
            session = await self._attach(client, range_id, lab, node.name, made)
            try:
                await session.prepare(sorted({start.program.use for start in starts}))
                await self._call(self._start, client, range_id, node, made)
                await asyncio.shield(
                    fence
                )  # no program runs before the wall stands; until then there is our init alone
                await self._start_programs(lab, node.name, starts)
            except BaseException:  # so that nobody takes it for a running node
                del lab.sessions[node.name]
                await session.close()
                raise
        except docker.errors.DockerException as exc:
            raise wrapped(exc, f"Node {node.name} cannot be made", node=node.name) from exc
        await self._wired(session)

    async def _create(
        self, client: docker.DockerClient, wanted: dict[str, Any], zones: Sequence[asyncio.Future[None]]
    ) -> str:
        """The container of the first leg, not started. Its network need not be there yet, unless the engine says so."""
        name = wanted.pop("name")
        config = client.api.create_container_config(**wanted)
        config["StdinOnce"] = False  # the SDK wants it closed with the first range host; nodes outlive theirs
        try:
            return await self._call(create_anew, client, config, name)
        except docker.errors.APIError as exc:
            if "network" not in str(exc.explanation).lower():
                raise
        await asyncio.gather(*map(asyncio.shield, zones))
        return await self._call(create_anew, client, config, name)

    def _start(self, client: docker.DockerClient, range_id: str, node: NodePlan, made: str) -> None:
        """In one thread: its further legs, in the plan's order, then the container."""
        if node.placement != "hub":
            for leg in node.interfaces[1:]:
                mac = {"mac_address": leg.mac} if self._api >= specs.MAC_PER_LEG_API else {}
                client.api.connect_container_to_network(
                    made, specs.network_name(range_id, leg.zone), ipv4_address=leg.ip, **mac
                )
        client.api.start(made)

    async def _start_programs(self, lab: DockerRange, node: str, starts: Sequence[StartProgram]) -> None:
        session = lab.sessions.get(node)
        for start in starts:
            if session is None:
                raise DriverError(f"Program {start.program.name} is for node {node}, which does not exist")
            spec = dict(start.program.spec)
            if node in lab.hubs:
                spec.setdefault(
                    "taps", {zone: bridge for zone, bridge in lab.bridges.items() if zone not in lab.hidden}
                )
            try:
                await session.start(start.program.name, start.program.use, spec)
            except OSError as exc:
                raise wrapped(exc, f"Node {node} does not take its program", node=node) from exc

    async def _remove_node(self, client: docker.DockerClient, range_id: str, lab: DockerRange, node: str) -> None:
        session = lab.sessions.pop(node, None)
        if session is not None:
            await session.close()
        named = specs.container_name(range_id, node, lab.generation)
        await self._call(remove_container, client, lab.containers.pop(node, named))

    async def _remove_zone(self, client: docker.DockerClient, range_id: str, lab: DockerRange, zone: str) -> None:
        lab.bridges.pop(zone, None)
        lab.networks.pop(zone, None)
        await self._call(remove_network, client, specs.network_name(range_id, zone))

    # observe and speak

    async def observe(self, range_id: str) -> Observed:
        client = await self._engine()
        label = {"label": f"{specs.RANGE}={range_id}"}
        try:
            networks, containers = await asyncio.gather(
                self._call(client.api.networks, filters=label), self._call(client.api.containers, filters=label)
            )
        except docker.errors.DockerException as exc:
            raise wrapped(exc, "The range cannot be observed", range=range_id) from exc
        lab = self._ranges.get(range_id)
        failed = {node for node, session in lab.sessions.items() if session.failure} if lab is not None else set()
        nodes = {
            item["Labels"][specs.NAME]
            for item in containers
            if item["Labels"].get(specs.KIND) == "node" and (lab is None or item["Id"] in lab.containers.values())
        } - failed  # frozen: there, and of no use
        programs = {
            (node, name)
            for node, session in (lab.sessions.items() if lab is not None else ())
            if node in nodes
            for name, code in session.programs.items()
            if code is None
        }
        zones = {item["Labels"][specs.NAME] for item in networks} - (
            lab.past.networks.keys() if lab is not None else set()
        )
        return Observed(frozenset(zones), frozenset(nodes), frozenset(programs))

    async def send(self, range_id: str, node: str, program: str, message: Mapping[str, Any]) -> None:
        session = self._range(range_id).sessions.get(node)
        if session is None or session.programs.get(program, 0) is not None:
            raise DriverError(f"No program {program!r} runs on node {node!r}", remedy="Converge the range again")
        try:
            await session.send(program, message)
        except OSError as exc:
            raise wrapped(exc, f"Node {node} takes no message", node=node) from exc

    def messages(self, range_id: str) -> AsyncIterator[AgentMessage]:
        lab = self._range(range_id)

        async def all_said() -> AsyncIterator[AgentMessage]:
            while (message := await lab.messages.get()) is not None:
                yield message
            lab.messages.put_nowait(None)  # the end stays the end

        return all_said()

    # commands and shells

    def _session(self, lab: DockerRange, node: str) -> Session:
        session = lab.sessions.get(node)
        if session is None:
            raise DriverError(f"There is no node {node!r} in this range", remedy="See the topology for its nodes")
        if lab.paused:
            raise Refused("The range is paused", remedy="Resume it first")
        return session

    def _entering(self, lab: DockerRange, node: str, mark: str) -> list[str]:
        return [*ENTER, *(["--keep-net-admin"] if node in lab.admins else []), mark]

    async def exec(
        self, range_id: str, node: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0
    ) -> ExecResult:
        lab = self._range(range_id)
        session = self._session(lab, node)
        client = await self._engine()
        mark = secrets.token_hex(8)
        collected = {True: bytearray(), False: bytearray()}
        too_much = asyncio.Event()

        def take(kind: int, data: bytes) -> None:
            buffer = collected[kind == STDOUT]
            buffer += data[: OUTPUT_LIMIT - len(buffer)]
            if len(buffer) >= OUTPUT_LIMIT:
                too_much.set()

        try:
            made = await self._call(
                client.api.exec_create,
                lab.containers[node],
                [*self._entering(lab, node, mark), *argv],
                stdin=bool(stdin),
                environment={"TERM": "dumb"},
            )
            wire = Wire(await self._call(client.api.exec_start, made["Id"], socket=True))
        except docker.errors.DockerException as exc:
            raise wrapped(exc, f"Node {node} runs no command", node=node) from exc
        reading = asyncio.ensure_future(demultiplexed(wire, take))
        limit = asyncio.ensure_future(too_much.wait())
        try:
            async with asyncio.timeout(timeout):
                if stdin:
                    with contextlib.suppress(OSError):
                        await wire.write(stdin)
                    wire.end_input()
                await asyncio.wait({reading, limit}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            await self._hang_up(client, session, mark, made["Id"])
            return ExecResult(TIMED_OUT, bytes(collected[True]), bytes(collected[False]), timed_out=True)
        except asyncio.CancelledError:
            await asyncio.shield(self._hang_up(client, session, mark, made["Id"]))
            raise
        finally:
            reading.cancel()
            limit.cancel()
            wire.close()
        if too_much.is_set():
            await self._hang_up(client, session, mark, made["Id"])
        ended = await self._ended(client, made["Id"])
        return ExecResult(ended, bytes(collected[True]), bytes(collected[False]))

    async def _ended(self, client: docker.DockerClient, exec_id: str) -> int:
        """The exit code; the engine books it a moment after the stream has ended."""
        for pause in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0):
            await asyncio.sleep(pause)
            try:
                code = (await self._call(client.api.exec_inspect, exec_id))["ExitCode"]
            except docker.errors.DockerException as exc:
                raise wrapped(exc, "The engine does not tell how a command ended") from exc
            if code is not None:
                return int(code)
        return -1

    async def _hang_up(self, client: docker.DockerClient, session: Session, mark: str, exec_id: str) -> None:
        """Ends a session of the node and waits until the engine says so; a node that has gone took its sessions along.

        Said again while the command still runs: a session that was closed at once may not have begun when it was said first.
        """
        with contextlib.suppress(OSError, docker.errors.DockerException):
            for pause in HANGING_UP:
                await session.hang_up(mark)
                await asyncio.sleep(pause)
                if (await self._call(client.api.exec_inspect, exec_id))["ExitCode"] is not None:
                    return

    async def shell(self, range_id: str, node: str, *, columns: int = 80, rows: int = 24) -> Pty:
        lab = self._range(range_id)
        session = self._session(lab, node)
        if not lab.shells.get(node):
            raise Refused(f"Node {node!r} has no shell for anybody", remedy="Open a terminal on a node of your seat")
        client = await self._engine()
        mark = secrets.token_hex(8)
        try:
            made = await self._call(
                client.api.exec_create,
                lab.containers[node],
                [*self._entering(lab, node, mark), "bash", "-i"],
                stdin=True,
                tty=True,
                environment={"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)},
            )
            wire = Wire(await self._call(client.api.exec_start, made["Id"], tty=True, socket=True))
        except docker.errors.DockerException as exc:
            raise wrapped(exc, f"Node {node} opens no shell", node=node) from exc

        async def resize(width: int, height: int) -> None:
            with contextlib.suppress(docker.errors.DockerException):  # a shell that has just ended has no size
                await self._call(client.api.exec_resize, made["Id"], height=height, width=width)

        async def end() -> None:
            lab.terminals.discard(pty)
            await self._hang_up(client, session, mark, made["Id"])

        pty = DockerPty(wire, resize, end)
        lab.terminals.add(pty)
        await resize(columns, rows)
        return pty

    # whole ranges

    async def take_files(self, range_id: str, node: str) -> bytes:
        return await stores.take(self, range_id, node, OUTPUT_LIMIT)

    async def put_files(self, range_id: str, node: str, archive: bytes) -> None:
        await stores.put(self, range_id, node, archive)

    async def pause(self, range_id: str) -> None:
        for session in self._range(range_id).sessions.values():
            session.paused = True
        await self._freeze(range_id, "pause")
        self._range(range_id).paused = True

    async def resume(self, range_id: str) -> None:
        await self._freeze(range_id, "unpause")
        self._range(range_id).paused = False
        for session in self._range(range_id).sessions.values():
            session.paused = False

    async def _freeze(self, range_id: str, verb: str) -> None:
        lab = self._range(range_id)
        client = await self._engine()

        def one(name: str) -> None:
            try:
                getattr(client.api, verb)(name)
            except docker.errors.APIError as exc:
                if "already paused" not in str(exc.explanation) and "not paused" not in str(exc.explanation):
                    raise wrapped(exc, f"The engine does not {verb} {name}", range=range_id) from exc

        await self._each(self._call(one, lab.containers[node]) for node in lab.sessions)

    async def reopen(self, range_id: str, limits: Limits) -> None:
        """Every node is made new at once, or killed and removed later (`past`). They wait for a plan that wants the same."""
        old = self._ranges.get(range_id)
        if old is None:
            await self.close(range_id)
            await self.open(range_id, limits)
            return
        client = await self._engine()
        lab = self._ranges[range_id] = DockerRange(limits, old.generation + 1, past=old.past)
        old.messages.put_nowait(None)
        lab.past.networks |= old.networks
        # a network that was found again after a restart tells too little of itself: it makes room for a new one
        lab.past.networks |= {zone: {} for zone in old.bridges.keys() - old.networks.keys()}
        await asyncio.gather(*(self._renew(old, lab.past, node) for node in old.sessions))
        serving = {spare.container for spare in lab.past.spares.values()}
        lab.past.end(self._call, client, set(old.containers.values()) - serving)

    async def _renew(self, old: DockerRange, past: Past, node: str) -> None:
        """A spare of that node where it can be one; else its end is not waited for, and not heard."""
        session = old.sessions[node]
        if not old.paused and node in old.made and node not in old.admins and not session.failure:
            with contextlib.suppress(OSError):
                await session.renew()
                past.spares[node] = Spare(old.containers[node], old.made[node], session)
                return
        await session.close()

    async def close(self, range_id: str) -> None:
        await self._close(range_id)

    async def _close(self, range_id: str) -> Swept:
        lab = self._ranges.pop(range_id, None)
        client = await self._engine()
        if lab is not None:
            if lab.guarding is not None:
                await asyncio.gather(lab.guarding, return_exceptions=True)
            await asyncio.gather(*(session.close() for session in lab.sessions.values()), return_exceptions=True)
            await lab.past.settle()
            lab.messages.put_nowait(None)
        return await self._wipe(client, {"label": f"{specs.RANGE}={range_id}"}, [range_id] if lab is not None else [])

    async def _wipe(self, client: docker.DockerClient, label: Mapping[str, Any], tables: Sequence[str]) -> Swept:
        """Everything that bears the label: containers first, for they hold the networks and are what the wall is for; the
        networks last, for they are what a sweep knows a wall by."""
        try:
            containers: list[dict[str, Any]] = await self._call(client.api.containers, all=True, filters=label)
            networks: list[dict[str, Any]] = await self._call(client.api.networks, filters=label)
            await self._each(self._call(remove_container, client, item["Id"]) for item in containers)
            await self._take_down(client, {str(item["Labels"][specs.RANGE]) for item in networks} | set(tables))
            await self._each(self._call(remove_network, client, item["Id"]) for item in networks)
        except docker.errors.DockerException as exc:
            raise wrapped(exc, "What a range left cannot be removed") from exc
        return Swept({"containers": len(containers), "networks": len(networks)})

    async def _take_down(self, client: docker.DockerClient, range_ids: set[str]) -> None:
        newest = await self._image_here(client)
        if range_ids and newest:
            script = "".join(guard.removal(range_id) for range_id in sorted(range_ids))
            await self._wall.run(client, newest, script)

    async def _image_here(self, client: docker.DockerClient) -> str:
        """What a wall's keeper can be made of; empty without an image. A build may have taken our tag away meanwhile."""
        names = [name for name in (self._image, f"{image.REPOSITORY}:latest") if name]
        here: list[bool] = [await self._call(image.has, client, name) for name in names]
        return next((name for name, is_here in zip(names, here, strict=True) if is_here), "")

    async def sweep(self, keep: frozenset[str] = frozenset()) -> Swept:
        client = await self._engine()
        mine = {"label": f"{specs.OWNER}={self.owner}"}
        try:
            found = [
                *await self._call(client.api.containers, all=True, filters=mine),
                *await self._call(client.api.networks, filters=mine),
            ]
            await self._sweep_walls(client)
        except docker.errors.DockerException as exc:
            raise wrapped(exc, "The engine does not tell what ranges left") from exc
        removed: dict[str, int] = {}
        for range_id in sorted({item["Labels"][specs.RANGE] for item in found} - keep):
            for kind, count in (await self._close(range_id)).removed.items():
                removed[kind] = removed.get(kind, 0) + count
        await self._sweep_tables(client)
        return Swept({kind: count for kind, count in removed.items() if count})

    async def _sweep_tables(self, client: docker.DockerClient) -> None:
        """Walls around nothing, whoever built them: a range's networks are made before its table and go after it, so a
        table whose range has no network is nobody's any more (networks removed by hand, an engine reset)."""
        newest = await self._image_here(client)
        if not newest:
            return
        tables = guard.named(await self._wall.run(client, newest, guard.LISTED))
        networks = await self._call(client.api.networks, filters={"label": specs.RANGE})
        await self._take_down(client, tables - {str(item["Labels"][specs.RANGE]) for item in networks})

    async def _sweep_walls(self, client: docker.DockerClient) -> None:
        """Keepers of the wall that outlived their driver; they end with it, so this is for what the engine missed. A driver
        beside us that loses its own this way makes itself another."""
        kept = {"label": f"{guard.KEEPER}={self.owner}"}
        for item in await self._call(client.api.containers, all=True, filters=kept):
            if item["Id"] != self._wall.container:
                await self._call(remove_container, client, item["Id"])

    async def aclose(self) -> None:
        for range_id in list(self._ranges):
            await self.close(range_id)
        if self._client is not None:
            if self._warming is not None:
                await asyncio.gather(self._warming, return_exceptions=True)
            await self._wall.aclose(self._client)
            await self._call(self._client.close)
            self._client = None
        self._threads.shutdown(wait=False, cancel_futures=True)


def generation_of(item: Mapping[str, Any]) -> int:
    return int(item["Labels"].get(specs.GENERATION, "0"))


def create_anew(client: docker.DockerClient, config: Mapping[str, Any], name: str) -> str:
    try:
        return str(client.api.create_container_from_config(config, name)["Id"])
    except docker.errors.APIError as exc:
        if exc.status_code != 409:
            raise
    # left by an apply that was cut short; it has never run
    client.api.remove_container(name, force=True, v=True)
    return str(client.api.create_container_from_config(config, name)["Id"])


def numbers(version: str) -> tuple[int, ...]:
    """ "20.10.24+dfsg1" -> (20, 10, 24)."""
    found: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
        if digits != part:
            break
    return tuple(found)


def no_engine(exc: Exception) -> Probe:
    """What is missing before an engine answers: the engine, the right to use it, or its start."""
    if not os.environ.get("DOCKER_HOST"):
        if shutil.which("dockerd") is None and not os.path.exists(SOCKET):
            return Probe(False, "Docker is not installed", "sudo apt-get install docker.io")
        if os.path.exists(SOCKET) and not os.access(SOCKET, os.R_OK | os.W_OK):
            return Probe(False, f"No Docker engine answers: {exc}", "sudo usermod -aG docker $USER && newgrp docker")
    return Probe(False, f"No Docker engine answers: {exc}", "Start it: sudo systemctl start docker, or sudo dockerd &")


def look() -> Probe:
    """For `probe`: asks the engine, and whether it has the image of these sources."""
    try:
        client = docker.from_env(timeout=PROBE_SECONDS)
    except (docker.errors.DockerException, OSError) as exc:
        return no_engine(exc)
    try:
        server = client.version()
        if server.get("Os") != "linux":
            return Probe(False, f"The Docker engine runs on {server.get('Os')}, not on Linux", "Use an engine on Linux")
        tag = image.wanted()
        if not image.has(client, tag):
            older = "older than the sources" if client.images.list(name=image.REPOSITORY) else "not built"
            return Probe(False, f"The range image {tag} is {older}", image.REMEDY)
    except (docker.errors.DockerException, OSError) as exc:
        return Probe(False, f"The Docker engine does not work: {exc}", "See its log: journalctl -u docker")
    except (DriverUnavailable, DriverError) as exc:
        return Probe(False, exc.what, exc.remedy)
    finally:
        client.close()
    return Probe(True, unbounded=("range_memory", "range_cpus", "range_pids"))
