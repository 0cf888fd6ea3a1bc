"""What the same machine needs for the least that could do: containers of runc and Docker without anything in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMAGE = "lianbing/range-node:latest"


def parallel(*commands: list[str]) -> float:
    """Seconds until all commands, started at once, have ended well."""
    began = time.perf_counter()
    # /dev/null, no pipes: a container that stays would hold them open
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    codes = [process.wait(timeout=120) for process in running]
    taken = time.perf_counter() - began
    assert codes == [0] * len(commands), commands[0]
    return taken


@contextmanager
def runc_bundle() -> Iterator[str]:
    """A bundle whose root is this machine's /usr, read-only, running `sleep`."""
    folder = tempfile.mkdtemp(prefix="lb-runc-")
    root = Path(folder, "rootfs")
    for name in ("usr", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    subprocess.run(["runc", "spec"], cwd=folder, check=True)
    config = json.loads(Path(folder, "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sleep", "120"]}
    config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]})
    Path(folder, "config.json").write_text(json.dumps(config))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def runc_ten(bundle: str) -> float:
    """`runc run` of ten containers at once; they are gone afterwards."""
    names = [f"lbbench{os.getpid()}-{number}" for number in range(10)]
    try:
        return parallel(*(["runc", "run", "-d", "--bundle", bundle, name] for name in names))
    finally:
        for name in names:
            subprocess.run(["runc", "delete", "-f", name], stderr=subprocess.DEVNULL, check=False)


def docker_run_ten() -> float:
    """`docker run` of ten containers at once, on one internal network (facts/measured.md, A) that is there before."""
    network = f"lbbench{os.getpid()}"
    names = [f"{network}-{number}" for number in range(10)]
    run = ["docker", "run", "-d", "--network", network, "--entrypoint", "sleep"]
    quietly: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["docker", "network", "create", "--internal", network], check=True, **quietly)
    try:
        return parallel(*([*run, "--name", name, IMAGE, "120"] for name in names))
    finally:
        subprocess.run(["docker", "rm", "-f", *names], check=False, **quietly)
        subprocess.run(["docker", "network", "rm", network], check=False, **quietly)


def docker_run_one() -> float:
    """One `docker run` of a container without network that does nothing."""
    return parallel(["docker", "run", "--rm", "--network", "none", "--entrypoint", "true", IMAGE])
