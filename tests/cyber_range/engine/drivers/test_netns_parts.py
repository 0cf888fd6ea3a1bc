"""The pure parts of the netns driver: what forbids it, the filter, the wire, the sweep's titles. No namespace is made."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.drivers.netns import rootdrop, seccomp, wire
from cyber_range.engine.drivers.netns.pipes import LineReader, collect, write_all
from cyber_range.engine.drivers.netns.probe import explain
from cyber_range.engine.drivers.netns.rtnetlink import attribute, attributes, nested
from cyber_range.engine.drivers.netns.sweep import TITLE, Owner, started
from cyber_range.engine.drivers.netns.tree import Sources, under

OPEN = {"max_user_namespaces": "15000", "seccomp": "0", "container": ""}


@pytest.mark.parametrize(
    ("step", "number", "known", "reason", "remedy"),
    [
        ("machine", 0, {}, "system call table for riscv64", "docker"),
        (
            "user",
            errno.ENOSPC,
            {"max_user_namespaces": "0"},
            "max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=",
        ),
        (
            "user",
            errno.EPERM,
            {"unprivileged_userns_clone": "0"},
            "for root alone",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        ("user", errno.ENOSPC, {}, "No user namespace is left", "sysctl -w user.max_user_namespaces="),
        ("user", errno.EPERM, {"apparmor_restrict": "1"}, "AppArmor", "apparmor_restrict_unprivileged_userns=0"),
        ("map", errno.EACCES, {"apparmor_restrict": "1"}, "AppArmor", "userns,"),
        ("namespaces", errno.EPERM, {"apparmor_restrict": "1"}, "AppArmor", "userns,"),
        ("user", errno.EPERM, {"seccomp": "2"}, "container we run in forbids new user namespaces", "capsule"),
        ("user", errno.EINVAL, {}, "User namespaces cannot be made", "docker"),
        ("map", errno.EPERM, {}, "id map", "docker"),
        ("namespaces", errno.ENOSPC, {}, "No more namespaces", "max_net_namespaces"),
        ("mount", errno.EPERM, {"seccomp": "2"}, "forbids mounts", "capsule"),
        ("mount", errno.EPERM, {}, "Mounting inside a user namespace", "docker"),
        ("proc", errno.EPERM, {"container": "1"}, "masks /proc", "capsule"),
        ("links", errno.EOPNOTSUPP, {}, "Bridges or veth", "modprobe -a bridge veth"),
        ("nested", errno.EPERM, {}, "inside a user namespace", "max_user_namespaces"),
        ("filter", errno.EINVAL, {}, "system call filter", "CONFIG_SECCOMP_FILTER"),
    ],
)
def test_each_hindrance_is_named_with_its_remedy(
    step: str, number: int, known: dict[str, str], reason: str, remedy: str
) -> None:
    said = explain(step, number, "riscv64" if step == "machine" else os.strerror(number), OPEN | known)

    assert reason in said[0]
    assert remedy in said[1]


def verdict(program: bytes, arch: int, nr: int, *args: int) -> int:
    """What the filter says, by a small interpreter of the instructions it uses."""
    data = struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, arch, 0, *(*args, *([0] * (6 - len(args)))))
    accumulator, at = 0, 0
    while True:
        code, yes, no, value = struct.unpack_from("HBBI", program, at * 8)
        at += 1
        if code == seccomp.RET:
            return int(value)
        if code == seccomp.LD_W_ABS:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == seccomp.JEQ:
            at += yes if accumulator == value else no
        elif code == seccomp.JGT:
            at += yes if accumulator > value else no
        elif code == seccomp.JSET:
            at += yes if accumulator & value else no
        else:
            raise AssertionError(hex(code))


ALLOWED, REFUSED = seccomp.ALLOW, seccomp.ERRNO | errno.EPERM
FAMILY, PROTOCOL = seccomp.ERRNO | errno.EAFNOSUPPORT, seccomp.ERRNO | errno.EPROTONOSUPPORT
MISSING = seccomp.ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_decides_as_its_table_says(machine: str) -> None:
    program, arch, asked = seccomp.build(machine), seccomp.AUDIT_ARCH[machine], seccomp.ASKED[machine]

    def says(nr: int, *args: int) -> int:
        return verdict(program, arch, nr, *args)

    assert {says(nr) for nr in seccomp.REFUSED[machine].values()} == {REFUSED}
    assert verdict(program, 0x40000003, 1) == seccomp.KILL  # the 32-bit entry of x86
    assert {says(463), says(0x40000001), says(-1), says(435)} == {MISSING}
    assert says(asked["clone"], 0x01200011) == ALLOWED  # fork
    assert says(asked["clone"], 0x003D0F00) == ALLOWED  # a thread
    assert {says(asked["clone"], flag | 17) for flag in (0x10000000, 0x20000000, 0x40000000, 0x20000)} == {REFUSED}
    assert [says(asked["socket"], family, 1, 0) for family in (1, 2, 10, 17)] == [ALLOWED] * 4
    assert {says(asked["socket"], family, 1, 0) for family in (40, 38, 44, 31, 29, 30, 15, 3)} == {FAMILY}
    assert [says(asked["socket"], 16, 3, protocol) for protocol in (0, 4, 12, 16)] == [ALLOWED] * 4
    assert {says(asked["socket"], 16, 3, protocol) for protocol in (6, 9, 15)} == {PROTOCOL}
    assert says(asked["setgroups"], 0) == seccomp.ERRNO  # errno 0: a faked success
    assert (says(asked["ioctl"], 0, 0x5413), says(asked["ioctl"], 0, 0x5412)) == (ALLOWED, REFUSED)
    assert [says(asked["personality"], value) for value in (0, 0x40000, 0xFFFFFFFF, 8)] == [ALLOWED] * 3 + [REFUSED]
    assert len(program) // 8 < 4096  # the kernel's limit


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.integers(), st.text(max_size=200_000)), max_size=4))
def test_wire_carries_any_object_whole(message: dict[str, object]) -> None:
    one, other = wire.pair()
    with one, other:
        reader, writer = os.pipe()
        wire.send(one, message, [writer])
        received = wire.receive(other)
        one.close()
        assert received is not None
        got, fds = received
        os.write(fds[0], b"x")
        for fd in (*fds, writer):
            os.close(fd)
        assert os.read(reader, 2) == b"x"
        os.close(reader)

        assert (got, len(fds)) == (message, 1)
        assert wire.receive(other) is None


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=50)), unique_by=lambda pair: pair[0]))
def test_netlink_attributes_round_trip(pairs: list[tuple[int, bytes]]) -> None:
    raw = b"".join(attribute(kind, data) for kind, data in pairs)

    assert attributes(raw) == dict(pairs)
    assert attributes(nested(5, raw))[5] == raw


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


async def test_lines_come_whole_whatever_the_pieces(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    lines: list[bytes] = []
    ended = asyncio.Event()
    LineReader(reader, lines.append, ended.set)

    for piece in (b"one\ntw", b"o", b"\n\nthree\nfo"):
        os.write(writer, piece)
        await asyncio.sleep(0.01)
    os.close(writer)
    await asyncio.wait_for(ended.wait(), 2)

    assert lines == [b"one", b"two", b"", b"three"]


async def test_collect_keeps_to_its_limit_and_still_reads_on(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    collecting = asyncio.create_task(collect(reader, 1000))

    await write_all(writer, bytes(500_000))
    os.close(writer)
    kept = await asyncio.wait_for(collecting, 2)
    os.close(reader)

    assert kept == bytes(1000)


async def test_who_reads_late_gets_everything_from_a_writer_with_patience(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    patient = asyncio.create_task(write_all(os.dup(writer), bytes(300_000), None))
    await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await write_all(writer, b"x", 0.1)
    collecting = asyncio.create_task(collect(reader, 1_000_000))
    await asyncio.wait_for(patient, 5)

    assert (patient.exception(), collecting.done()) == (None, False)
    collecting.cancel()
    os.close(writer)


async def test_writing_to_nobody_is_an_error(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)

    with pytest.raises(BrokenPipeError):
        await write_all(writer, b"x")
    os.close(writer)


def test_sweep_knows_an_owner_from_a_later_process_of_the_same_pid() -> None:
    ourselves = Owner.ourselves()
    match = TITLE.match(f"lb-range:c0ffee000001 owner={ourselves}")

    assert match is not None
    assert (match["range"], Owner(int(match["pid"]), int(match["start"]))) == ("c0ffee000001", ourselves)
    assert ourselves.alive()
    assert not Owner(ourselves.pid, ourselves.start - 1).alive()
    assert started(2**22 + 1) is None
    assert TITLE.match("python lb-range:c0ffee000001 owner=1.1") is None


@pytest.mark.parametrize(
    ("mode", "who", "bits", "expected"),
    [
        (0o700, (10, 20), 5, True),
        (0o700, (11, 20), 5, False),
        (0o750, (11, 20), 5, True),
        (0o705, (11, 20), 5, False),
        (0o755, (11, 21), 5, True),
        (0o751, (11, 21), 5, False),
        (0o751, (11, 21), 1, True),
    ],
)
def test_mode_bits_are_read_as_the_kernel_does(mode: int, who: tuple[int, int], bits: int, expected: bool) -> None:
    status = os.stat_result((mode, 0, 0, 1, 10, 20, 0, 0, 0, 0))

    assert rootdrop.may(status, who, bits) is expected


def test_only_the_engine_is_among_what_nodes_get() -> None:
    sources = Sources.here()
    project = os.path.dirname(sources.package)

    assert not any(under(project, path) for path in sources.paths())
    assert [path for path in sources.paths() if under(path, sources.package)] == [
        f"{sources.package}/engine",
        f"{sources.package}/scenarios",
        f"{sources.package}/__init__.py",
    ]


def test_a_full_socket_does_not_lose_the_descriptor_of_a_large_message() -> None:
    one, other = wire.pair()
    with one, other:
        one.setblocking(False)
        before = len(os.listdir("/proc/self/fd"))
        fill = itertools.repeat({"x": "y" * 100_000})

        with pytest.raises(BlockingIOError):
            list(map(wire.send, itertools.repeat(one), fill))

        assert len(os.listdir("/proc/self/fd")) == before


def test_the_warm_process_never_holds_a_gpl_library() -> None:
    script = """
import sys
from cyber_range.engine.drivers.netns import driver, zygote
sys.meta_path.insert(0, zygote.NotHere())
skipped = {}
zygote.preload((), driver.EXECED, skipped)
print(sorted(name for name in sys.modules if name.partition(".")[0] == "scapy"), skipped)
try: import scapy.all
except ImportError as exc: print("by exec" in str(exc))
"""

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.path.dirname(Sources.here().package)},
    )

    assert done.stdout.splitlines() == ["[] {}", "True"], done
