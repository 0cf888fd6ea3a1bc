"""The driver's hold on its capsules: makes the container, meets it, hands it its range, ends it.

Stands where the netns driver has its warm process. What comes from a capsule is trusted no more than what comes from a node.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import docker
import docker.errors

from cyber_range.engine.drivers.capsule import container, profile
from cyber_range.engine.drivers.capsule.meeting import Meeting, forget_left_over
from cyber_range.engine.drivers.docker_engine import image
from cyber_range.engine.drivers.docker_engine.wires import Wire, demultiplexed
from cyber_range.engine.drivers.netns import wire
from cyber_range.engine.drivers.netns.sweep import Owner
from cyber_range.engine.drivers.netns.warm import first_answer
from cyber_range.engine.errors import DriverError, DriverUnavailable
from cyber_range.engine.plan import Limits

OWNER_VARIABLE = "LIANBING_RANGE_OWNER"
ENGINE_SECONDS = 60  # one API call
THREADS = 4
START_SECONDS = 30.0  # from create to the capsule's first word; a third of a second on an idle machine
LAST_WORDS = 2000  # bytes of a capsule's stderr that are kept for the error
T = TypeVar("T")


@dataclass
class Capsule:
    """One container. `sock` speaks to its first process; the range has a socket of its own."""

    container: str
    sock: socket.socket
    listening: asyncio.Task[None]
    last_words: bytearray = field(default_factory=bytearray)


class Keeper:
    def __init__(self, owner: str | None = None) -> None:
        """`owner` marks the containers; a sweep touches only what bears it, so two range hosts can share an engine."""
        self.owner = owner or os.environ.get(OWNER_VARIABLE) or f"uid-{os.getuid()}"
        self._ourselves = Owner.ourselves()
        self._client: docker.DockerClient | None = None
        self._threads = concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="capsule")
        self._capsules: dict[str, Capsule] = {}
        self._starting = asyncio.Lock()
        self._engine: dict[str, Any] = {}
        self._image = ""

    async def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, functools.partial(function, *args, **kwargs)
        )

    async def start(self) -> docker.DockerClient:
        """Looks for the engine and the image of these sources, once."""
        async with self._starting:
            if self._client is None:
                try:
                    client = await self._call(docker.from_env, timeout=ENGINE_SECONDS, max_pool_size=32)
                    self._engine = await self._call(client.info)
                except (docker.errors.DockerException, OSError) as exc:
                    raise DriverUnavailable(
                        f"No Docker engine answers: {exc}", remedy="Start it: systemctl start docker, or dockerd &"
                    ) from exc
                self._client = client
            if not self._image:
                tag = await self._call(image.wanted)
                if not await self._call(image.has, self._client, tag):
                    raise DriverUnavailable(f"This Docker engine has no range image {tag}", remedy=image.REMEDY)
                self._image = tag
            return self._client

    async def make(self, range_id: str, limits: Limits) -> None:
        """The capsule, up and waiting for its range."""
        client = await self.start()
        meeting = Meeting(self._ourselves)
        made = ""
        try:
            wanted = container.container(
                range_id, self.owner, self._image, limits, meeting.folder, architecture(self._engine),
                client.api.api_version, apparmor="name=apparmor" in self._engine.get("SecurityOptions", []),
            )  # fmt: skip
            made, opened = await self._call(self._create, client, wanted)
            words = bytearray()
            listening = asyncio.get_running_loop().create_task(heard(Wire(opened), words))
            starting = self._call(client.api.start, made)
            sock = await self._met(starting, meeting, listening, words)
            self._capsules[range_id] = Capsule(made, sock, listening, words)
        except docker.errors.DockerException as exc:
            await self._remove(made)
            said = getattr(exc, "explanation", None) or exc
            raise DriverError(
                f"The capsule of range {range_id} cannot be made: {said}",
                remedy="See the Docker engine's log and free disk space",
            ) from exc
        except BaseException:
            await self._remove(made)
            raise
        finally:
            meeting.end()

    def _create(self, client: docker.DockerClient, wanted: dict[str, Any]) -> tuple[str, Any]:
        """In one thread: the container, and the connection that brings its stderr."""
        named = wanted.pop("name")
        config = client.api.create_container_config(**wanted)
        try:
            made = str(client.api.create_container_from_config(config, named)["Id"])
        except docker.errors.APIError as exc:
            if exc.status_code != 409:
                raise
            # left by a launch that was cut short before it ran
            client.api.remove_container(named, force=True, v=True)
            made = str(client.api.create_container_from_config(config, named)["Id"])
        return made, client.api.attach_socket(made, params={"stdout": 1, "stderr": 1, "stream": 1})

    async def _met(
        self, starting: Any, meeting: Meeting, listening: asyncio.Task[None], words: bytearray
    ) -> socket.socket:
        """The capsule's connection once it has said "ready"; DriverError with its last words when it ended instead."""
        coming = asyncio.ensure_future(meeting.connection())
        try:
            await starting
            await asyncio.wait({coming, listening}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                sock = coming.result()
                try:
                    answer = await asyncio.wait_for(first_answer(sock), START_SECONDS)
                except TimeoutError:
                    answer = {}
                if answer.get("event") == "ready":
                    return sock
                sock.close()
        finally:
            coming.cancel()
        said = words.decode(errors="replace").strip().splitlines()[-1:] or ["no last words"]
        raise DriverError(
            f"The capsule did not come up: {said[0]}",
            remedy="The kernel or a security module may forbid namespaces in containers: lianbing doctor; "
            "else use the docker driver",
        )

    def has(self, range_id: str) -> bool:
        return range_id in self._capsules

    def fork_range(self, range_id: str, number: int, limits: Limits, control: int, death: int) -> None:
        """Hands the range's socket to the capsule, which ends the range it had. As `WarmProcess.fork_range`."""
        try:
            capsule = self._capsules[range_id]
            wire.send(capsule.sock, {"verb": "open", "range": range_id, "limits": asdict(limits)}, [control, death])
        except (KeyError, OSError) as exc:
            raise DriverError(
                f"Range {range_id} could not be opened: its capsule is gone ({exc})", remedy="Try again"
            ) from exc

    def kill_range(self, range_id: str, number: int) -> None:
        """The hard way: the capsule's first process ends with its socket, and everything in it with that."""
        capsule = self._capsules.get(range_id)
        if capsule is not None:
            capsule.sock.close()

    async def end(self, range_id: str) -> bool:
        """Whether there was one. Returns when the engine has let go of it."""
        capsule = self._capsules.pop(range_id, None)
        if capsule is None:
            return False
        capsule.sock.close()
        await self._remove(capsule.container)
        await asyncio.wait({capsule.listening}, timeout=1.0)
        capsule.listening.cancel()
        return True

    async def _remove(self, made: str) -> None:
        if not made or self._client is None:
            return
        client = self._client

        def remove() -> None:
            try:
                client.api.remove_container(made, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as exc:
                if exc.status_code != 409:  # its own end removes it this very moment: wait for that
                    raise
                with contextlib.suppress(docker.errors.NotFound):
                    client.api.wait(made, timeout=ENGINE_SECONDS, condition="removed")

        try:
            await self._call(remove)
        except (docker.errors.DockerException, OSError) as exc:
            raise DriverError(f"A capsule cannot be removed: {exc}", remedy="See the Docker engine's log") from exc

    async def sweep(self, keep: frozenset[str]) -> dict[str, int]:
        """Containers of this owner whose range is not kept, and folders nobody owns any more."""
        client = await self.start_engine_only()
        label = {"label": f"{container.OWNER}={self.owner}"}
        try:
            found = await self._call(client.api.containers, all=True, filters=label)
        except docker.errors.DockerException as exc:
            raise DriverError(f"The engine does not tell which capsules there are: {exc}") from exc
        left = [item for item in found if item["Labels"][container.RANGE] not in keep]
        for item in left:
            capsule = self._capsules.pop(item["Labels"][container.RANGE], None)
            if capsule is not None:
                capsule.sock.close()
                capsule.listening.cancel()
        await asyncio.gather(*(self._remove(item["Id"]) for item in left))
        folders = await asyncio.to_thread(forget_left_over)
        counted = {"containers": len(left), "folders": folders}
        return {kind: count for kind, count in counted.items() if count}

    async def start_engine_only(self) -> docker.DockerClient:
        """A sweep needs no image."""
        try:
            return await self.start()
        except DriverUnavailable:
            if self._client is None:
                raise
            return self._client

    async def stop(self) -> None:
        for range_id in list(self._capsules):
            await self.end(range_id)
        if self._client is not None:
            await self._call(self._client.close)
            self._client = None
        self._threads.shutdown(wait=False, cancel_futures=True)


async def heard(stream: Wire, words: bytearray) -> None:
    """Keeps a container's last words; ends when it does."""

    def take(kind: int, data: bytes) -> None:
        words.extend(data)
        del words[:-LAST_WORDS]

    try:
        await demultiplexed(stream, take)
    finally:
        stream.close()


def architecture(engine: dict[str, Any]) -> str:
    """Docker's word for the engine's machine; DriverUnavailable for one without a filter of ours."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    found = names.get(str(engine.get("Architecture")), str(engine.get("Architecture")))
    if found not in profile.ARCHITECTURES:
        raise DriverUnavailable(
            f"There is no system call filter for capsules on {found}", remedy="Use the docker driver"
        )
    return found
