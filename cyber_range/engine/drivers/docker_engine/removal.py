"""Ends and removes containers and networks; that they are gone, or going by another hand, is what was wanted."""

from __future__ import annotations

import contextlib
import threading
import time

import docker
import docker.errors

REMOVAL_SECONDS = 10.0  # by another hand
# At once, per process. Nodes that leave their network by the dozen have been seen to catch Docker 20.10 between two of its
# own locks (libnetwork: an endpoint's leave and the watch of its delete), and four keep two cores as busy as ten do.
ROOM = threading.BoundedSemaphore(4)


def kill_container(client: docker.DockerClient, name: str) -> None:
    """Returns when it has ended and its addresses are free again."""
    try:
        with ROOM:
            client.api.kill(name, "SIGKILL")
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as exc:
        if exc.status_code != 409:  # it does not run
            raise


def remove_container(client: docker.DockerClient, name: str) -> None:
    try:
        with ROOM:
            client.api.remove_container(name, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as exc:
        if exc.status_code != 409:
            raise
        await_removal(client, name)  # somebody else is removing it this very moment


def await_removal(client: docker.DockerClient, name: str) -> None:
    deadline = time.monotonic() + REMOVAL_SECONDS
    while time.monotonic() < deadline:
        try:
            client.api.inspect_container(name)
        except docker.errors.NotFound:
            return
        time.sleep(0.02)


def remove_network(client: docker.DockerClient, name: str) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        client.api.remove_network(name)
