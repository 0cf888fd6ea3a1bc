"""The driver over a Docker engine; its class is what the registry loads."""

from cyber_range.engine.drivers.docker_engine.driver import DockerDriver

__all__ = ["DockerDriver"]
