"""The one image of the docker driver: what it is made of, whether it is current, and how it is made.

`build` puts together a context (Debian packages by name, Python libraries pinned by hash from
deploy/requirements.lock, the engine's own programs) on a base that comes from a registry or, where none answers,
from debootstrap. The tag moves only when a container of the new image has proved that everything loads.
"""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import docker.errors

import cyber_range
from cyber_range.engine.errors import DriverError, DriverUnavailable

REPOSITORY = "lianbing/range-node"
BASE_REPOSITORY = "lianbing/range-base"
HASH_LABEL = "lianbing.range-node.hash"
SUITE, REGISTRY_BASE = "bookworm", "debian:bookworm-slim"
PYTHON = "3.11"  # what that Debian brings; wheels are chosen for it, whatever runs the build
LEFT_OUT = frozenset({"drivers", "host", "lab", "__main__.py", "cli.py", "cli", "README.md"})  # stays on the host
IN_CAPSULE = frozenset({"__init__.py", "base.py", "stores.py", "netns"})  # of drivers: what a capsule runs
PULL_SECONDS = 60.0  # a registry that has not delivered a 30 MB base by then counts as absent
IMAGE_VARIABLE = "LIANBING_RANGE_IMAGE"  # an image that was built elsewhere, taken as it is
BASE_VARIABLE = "LIANBING_RANGE_BASE"  # an image name, or "debootstrap"
MIRROR_VARIABLE = "LIANBING_DEBIAN_MIRROR"  # for debootstrap; its own default otherwise
GLIBC_TAGS = ("2_36", "2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}  # Docker's word, Python's word
REMEDY = "lianbing range-image build"
Progress = Callable[[str], None]


def project() -> Path:
    return Path(cyber_range.__file__).resolve().parents[1]


def recipe() -> Path:
    place = project() / "deploy" / "range-node"
    if not (place / "Dockerfile").is_file():
        raise DriverUnavailable(
            f"The recipe of the range image is not at {place}",
            remedy="Build the image from a checkout of the project, then use it anywhere with this Docker engine",
        )
    return place


def sources() -> Iterator[tuple[str, Path]]:
    """(path inside the context, file) of everything of ours that is in the image, in a fixed order."""
    here = recipe()
    for path in sorted(here.rglob("*")):
        if path.is_file() and path.name != "build.sh" and "__pycache__" not in path.parts:
            yield str(path.relative_to(here)), path
    package = Path(cyber_range.__file__).resolve().parent
    yield "cyber_range/__init__.py", package / "__init__.py"
    for path in sorted((package / "engine").rglob("*")):
        inside = path.relative_to(package / "engine")
        if path.is_file() and is_in(inside) and "__pycache__" not in inside.parts:
            yield f"cyber_range/engine/{inside}", path


def is_in(inside: Path) -> bool:
    """Whether that file of the engine belongs into the image."""
    if inside.suffix == ".md":
        return False
    return inside.parts[0] not in LEFT_OUT or (inside.parts[0] == "drivers" and inside.parts[1] in IN_CAPSULE)


def current_hash() -> str:
    """Names and contents of all that goes in; a changed comment is a changed image, which costs seconds."""
    digest = hashlib.sha256()
    for name, path in sources():
        digest.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(requirements().encode())
    return digest.hexdigest()[:16]


def tag_of(content: str) -> str:
    return f"{REPOSITORY}:{content}"


def wanted() -> str:
    """The image that ranges are made of: the one of exactly these sources, or the one that was named."""
    return os.environ.get(IMAGE_VARIABLE) or tag_of(current_hash())


def is_built(client: docker.DockerClient | None = None) -> bool:
    """Whether this Docker engine has that image."""
    own = client or docker.from_env(timeout=3)
    try:
        own.images.get(wanted())
    except (docker.errors.DockerException, OSError, DriverUnavailable):
        return False
    finally:
        if client is None:
            own.close()
    return True


# Python libraries


def listed(name: str) -> list[str]:
    """The lines of packages.txt or libraries.txt."""
    lines = (recipe() / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> str:
    """The blocks of deploy/requirements.lock for the libraries of a node, hashes and all."""
    lock = (project() / "deploy" / "requirements.lock").read_text(encoding="utf-8")
    blocks = {normal(block.split("==")[0]): block for block in re.split(r"\n(?=[A-Za-z0-9])", lock) if "==" in block}
    names = listed("libraries.txt")
    if missing := [name for name in names if name not in blocks]:
        raise DriverError(
            f"deploy/requirements.lock does not pin {', '.join(missing)}, which the range image needs",
            remedy="Make the lock file anew",
        )
    return "\n".join(blocks[name].strip() for name in names) + "\n"


def install_libraries(place: Path, architecture: str, progress: Progress) -> None:
    """Wheels for the image's Python, unpacked on the host: the build itself needs no network for them."""
    machine = ARCHITECTURES.get(architecture, architecture)
    pins = place.with_suffix(".txt")
    pins.write_text(requirements(), encoding="utf-8")
    tags = [f"manylinux_{tag}_{machine}" for tag in GLIBC_TAGS] + [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--target",
        str(place),
        "--python-version",
        PYTHON,
        "--implementation",
        "cp",
        "--abi",
        f"cp{PYTHON.replace('.', '')}",
        "--abi",
        "abi3",
        "--abi",
        "none",
        *(part for tag in tags for part in ("--platform", tag)),
        "--requirement",
        str(pins),
    ]
    progress("Python libraries: " + ", ".join(listed("libraries.txt")))
    ran(command, "The Python libraries of the range image cannot be fetched", "See that pip reaches its package index")


# the base


def ran(command: list[str], what: str, remedy: str) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise DriverError(f"{what}: {' / '.join(last)}", remedy=remedy)


def find_base(client: docker.DockerClient, progress: Progress) -> str:
    """An image to start from: the one that was named, one that is here, one from a registry, or debootstrap's."""
    named = os.environ.get(BASE_VARIABLE, "")
    listing = hashlib.sha256(" ".join(listed("packages.txt")).encode()).hexdigest()[:12]
    made = f"{BASE_REPOSITORY}:{SUITE}-{listing}"
    if named and named != "debootstrap":
        return named
    if has(client, made):
        progress(f"base: {made} (made before)")
        return made
    if named != "debootstrap":
        if has(client, REGISTRY_BASE):
            progress(f"base: {REGISTRY_BASE} (already here)")
            return REGISTRY_BASE
        progress(f"base: asking the registry for {REGISTRY_BASE}")
        if pulled(client):
            return REGISTRY_BASE
        progress("base: no registry answers; making one with debootstrap")
    debootstrap(client, made, progress)
    return made


def has(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except docker.errors.NotFound:
        return False
    return True


def pulled(client: docker.DockerClient) -> bool:
    """A pull runs in the engine, so it is only our waiting that ends after PULL_SECONDS."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pulling = pool.submit(client.images.pull, *REGISTRY_BASE.split(":"))
    try:
        pulling.result(PULL_SECONDS)
    except (docker.errors.DockerException, OSError, TimeoutError):
        return False
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return True


def debootstrap(client: docker.DockerClient, tag: str, progress: Progress) -> None:
    if shutil.which("debootstrap") is None:
        raise DriverUnavailable(
            "No registry answers and debootstrap is not installed, so the range image has no base",
            remedy="apt-get install debootstrap, or load an image and name it: LIANBING_RANGE_BASE=debian:bookworm-slim",
        )
    if os.geteuid() != 0:
        raise DriverUnavailable("debootstrap needs root to make the base of the range image", remedy=f"sudo {REMEDY}")
    with tempfile.TemporaryDirectory(prefix="lianbing-base-") as scratch:
        root = Path(scratch, "root")
        mirror = os.environ.get(MIRROR_VARIABLE)
        progress(f"base: debootstrap {SUITE} (about a minute)")
        ran(
            ["debootstrap", "--variant=minbase", SUITE, str(root), *([mirror] if mirror else [])],
            "debootstrap failed",
            f"See that the Debian mirror is reachable, or set {MIRROR_VARIABLE}",
        )
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", root / "etc" / name)
        Path(root, "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        Path(root, "usr/sbin/policy-rc.d").chmod(0o755)
        progress("base: " + " ".join(listed("packages.txt")) + " (about a minute)")
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        ran(
            [
                "chroot",
                str(root),
                *quiet,
                "apt-get",
                "install",
                "--yes",
                "--quiet",
                "--no-install-recommends",
                *listed("packages.txt"),
            ],
            "The Debian packages of the range image cannot be installed",
            "See that the Debian mirror is reachable",
        )
        for waste in (
            "var/lib/apt/lists",
            "var/cache/apt",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
            "usr/sbin/policy-rc.d",
            "etc/resolv.conf",
        ):
            path = root / waste
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        progress("base: importing")
        packing = subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE)  # noqa: S603, S607 - ours
        repository, version = tag.split(":")
        try:
            said = client.api.import_image_from_stream(packing.stdout, repository=repository, tag=version)
        finally:
            packing.wait()
        if "errorDetail" in said or not has(client, tag):
            raise DriverError(
                f"The engine did not import the base image: {said[-300:]}", remedy="See its free disk space"
            )


# the image


def context(site: Path) -> Path:
    """One tar file: the recipe, the engine's programs and the libraries."""
    handle, name = tempfile.mkstemp(prefix="lianbing-context-", suffix=".tar", dir=site.parent)
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for inside, path in sources():
            info = tarfile.TarInfo(inside)
            data = path.read_bytes()
            info.size, info.mode = len(data), 0o755 if path.stat().st_mode & 0o100 else 0o644
            tar.addfile(info, io.BytesIO(data))
        tar.add(site, "site", filter=plain)
    return Path(name)


def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Owned by root and dated the same each time, so that Docker finds its cached layer; no caches, no tests."""
    if "__pycache__" in info.name or info.name == "site/bin":
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = 0
    return info


def build(progress: Progress = print) -> str:
    """Makes the image of the present sources and returns its tag; does nothing when it is there."""
    content = current_hash()
    tag = tag_of(content)
    client = connect()
    try:
        if has(client, tag):
            progress(f"{tag} is current")
            return tag
        base = find_base(client, progress)
        with tempfile.TemporaryDirectory(prefix="lianbing-image-") as scratch:
            site = Path(scratch, "site")
            install_libraries(site, str(client.version()["Arch"]), progress)
            progress("building")
            image = built(client, context(site), base, content, progress)
        progress("trying it")
        tried(client, image)
        client.images.get(image).tag(REPOSITORY, content)
        client.images.get(image).tag(REPOSITORY, "latest")
        forget_old(client, tag)
        progress(f"{tag} is ready")
        return tag
    except docker.errors.DockerException as exc:
        raise DriverError(
            f"The range image was not built: {exc}", remedy="See the engine's log and free disk space"
        ) from exc
    finally:
        client.close()


def connect() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except (docker.errors.DockerException, OSError) as exc:
        raise DriverUnavailable(
            f"No Docker engine answers: {exc}", remedy="Start it: systemctl start docker, or dockerd &"
        ) from exc
    return client


def built(client: docker.DockerClient, packed: Path, base: str, content: str, progress: Progress) -> str:
    """Runs the engine's build; the id of the new image."""
    found, last = "", collections.deque[str](maxlen=4)
    with packed.open("rb") as file:
        for line in client.api.build(
            fileobj=file,
            custom_context=True,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs={"BASE": base},
            labels={HASH_LABEL: content},
        ):
            if "error" in line:
                raise DriverError(
                    f"The range image was not built: {' / '.join(last)}: {line['error'].strip()[-200:]}",
                    remedy="The step above says what it lacked; with a registry base the build needs a Debian mirror",
                )
            text = str(line.get("stream", "")).strip()
            if text.startswith("Step "):
                progress(text.splitlines()[0][:110])
            if text:
                last.append(text[-200:])
            if said := re.search(r"Successfully built ([0-9a-f]+)", text):
                found = said[1]
            found = line.get("aux", {}).get("ID", found)
    if not found:
        raise DriverError("The engine ended the build without an image", remedy="See the engine's log")
    return found


PROOF = (
    "import asyncssh, dpkt, pydantic, pymodbus, pyroute2, scapy, yaml, shutil, sys; "
    "import cyber_range.engine.agents.runner; "
    "gone = [p for p in ('ip', 'nft', 'nmap', 'tshark', 'tcpdump', 'mbpoll', 'curl', 'vi', 'less', 'ps', 'ping', "
    "'lb-scan') if shutil.which(p) is None]; sys.exit(f'missing: {gone}' if gone else 0)"
)


def tried(client: docker.DockerClient, image: str) -> None:
    """A container without network loads every library and finds every tool, or the tag does not move."""
    try:
        client.containers.run(
            image,
            ["-I", "-c", PROOF],
            entrypoint=["python3"],
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            remove=True,
            stderr=True,
        )
    except docker.errors.ContainerError as exc:
        said = (exc.stderr or b"").decode(errors="replace").strip()[-400:]
        raise DriverError(
            f"The new range image does not work: {said}", remedy="Build it anew after the repair"
        ) from exc


def forget_old(client: docker.DockerClient, tag: str) -> None:
    """Earlier versions go, as far as no container uses them."""
    for image in client.images.list(name=REPOSITORY):
        for old in image.tags:
            if old.startswith(f"{REPOSITORY}:") and old not in (tag, f"{REPOSITORY}:latest"):  # other names are others'
                try:
                    client.images.remove(old)
                except docker.errors.APIError:
                    continue
