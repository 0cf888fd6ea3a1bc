"""Nobody in a docker range reaches the host, another range or more rights than the plan gives."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from cyber_range.engine.drivers.docker_engine import DockerDriver, guard
from tests.conftest import skip_or_fail
from tests.cyber_range.engine.drivers.docker_range import Running, firewalled

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture
async def driver() -> AsyncIterator[DockerDriver]:
    """With an owner of its own, so that tests beside each other never sweep each other's ranges."""
    probe = await DockerDriver.probe()
    if not probe.usable:
        skip_or_fail(f"{probe.reason}. {probe.remedy}")
    made = DockerDriver(owner=f"test-{secrets.token_hex(4)}")
    yield made
    await made.sweep()
    await made.aclose()


CONNECTS = """
import json, socket, sys
found = {}
for target in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(1.0)
            sock.connect(tuple(socket.getaddrinfo(*target, family)[0][4]))
            found[target[0]] = "connected"
    except OSError:
        found[target[0]] = "no"
print(json.dumps(found))
"""

# Hand-made frames for the bridge's own MAC: SYN to each address of the host, ARP for it, ICMPv6 echo to all nodes.
FRAMES = """
import json, socket, struct, sys, time
mac, own_mac, own_ip, port, targets = json.loads(sys.argv[1])
def checksum(data):
    data += b"\\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
raw = lambda text: bytes.fromhex(text.replace(":", ""))
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.bind(("eth0", 3))
me = socket.inet_aton(own_ip)
for target in targets:
    to = socket.inet_aton(target)
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 7, 0, 80, 2, 8192, 0, 0)
    pseudo = me + to + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(tcp), 1, 0, 64, 6, 0, me, to)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    sock.send(raw(mac) + raw(own_mac) + b"\\x08\\x00" + ip + tcp)
    arp = struct.pack("!HHBBH6s4s6s4s", 1, 2048, 6, 4, 1, raw(own_mac), me, bytes(6), to)
    sock.send(b"\\xff" * 6 + raw(own_mac) + b"\\x08\\x06" + arp)
source = socket.inet_pton(socket.AF_INET6, "fe80::1234")
everyone = socket.inet_pton(socket.AF_INET6, "ff02::1")
echo = struct.pack("!BBHHH", 128, 0, 0, 1, 1)
echo = echo[:2] + struct.pack("!H", checksum(source + everyone + struct.pack("!II", len(echo), 58) + echo)) + echo[4:]
ip6 = struct.pack("!IHBB16s16s", 6 << 28, len(echo), 58, 255, source, everyone)
sock.send(raw("33:33:00:00:00:01") + raw(own_mac) + b"\\x86\\xdd" + ip6 + echo)
heard, end = set(), time.monotonic() + 2.0
while (left := end - time.monotonic()) > 0:
    sock.settimeout(left)
    try:
        frame = sock.recv(2000)
    except TimeoutError:
        break
    if frame[6:12] == raw(mac):
        heard.add(frame[12:14].hex())
print(json.dumps(sorted(heard)))
"""


def host_addresses() -> list[str]:
    said = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout)
    return [entry["local"] for link in said for entry in link["addr_info"] if not entry["local"].startswith("127.")]


def mac_of(device: str) -> str:
    return Path(f"/sys/class/net/{device}/address").read_text(encoding="ascii").strip()


@pytest.fixture
def listener() -> Iterator[int]:
    """A service of the host on every address it has, IPv4 and IPv6."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        yield sock.getsockname()[1]


@pytest.fixture
async def lab(driver: DockerDriver) -> Running:
    return await Running(driver, firewalled("d0c4e7000001", 47)).launch()


async def test_no_address_of_the_host_or_beyond_answers(lab: Running, listener: int, driver: DockerDriver) -> None:
    other = await Running(driver, firewalled("d0c4e7000002", 48)).launch()
    bridge = mac_of("bd0c4e700000100")
    octets = [int(part, 16) for part in bridge.split(":")]
    link_local = "fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}%eth0".format(octets[0] ^ 2, *octets[1:])
    targets = [
        *host_addresses(),
        "127.0.0.1",
        "10.47.1.254",
        "169.254.169.254",
        "10.48.1.10",
        "10.48.2.20",
        link_local,
    ]
    assert socket.create_connection((host_addresses()[0], listener), 2).close() is None  # the service is there

    for node in ("ws", "fw", "plc"):
        reached = await lab.python(node, CONNECTS, json.dumps([(target, listener) for target in targets]))
        assert set(reached.values()) == {"no"}, (node, reached)
    names = await lab.sh("ws", "getent hosts example.org; getent hosts plc")

    assert names.split() == ["10.47.2.20", "plc"]
    await driver.close(other.id)


async def test_frames_for_the_bridge_itself_meet_a_wall_and_without_the_wall_they_would_not(
    lab: Running, listener: int, driver: DockerDriver
) -> None:
    """The second half is the control: it shows that these very frames do reach a host that is not walled off."""
    bridge = mac_of("bd0c4e700000100")
    own = lab.plan.node("ws").interfaces[0]
    frames = json.dumps([bridge, own.mac, own.ip, listener, host_addresses()])

    walled = await lab.python("ws", FRAMES, frames)
    client = docker.from_env()
    image = client.containers.get(f"lb-{lab.id}-ws").image.id
    wall = guard.Wall(driver.owner, asyncio.to_thread)
    await wall.run(client, image, guard.removal(lab.id))
    await wall.aclose(client)
    open_ = await lab.python("ws", FRAMES, frames)
    client.close()

    assert walled == []
    assert "0806" in open_  # the host answers ARP for addresses it has elsewhere


async def test_nodes_hold_no_more_rights_than_the_plan_gives(lab: Running) -> None:
    # bits: CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, KILL 5, SETGID 6, SETUID 7, NET_BIND_SERVICE 10, NET_ADMIN 12, NET_RAW 13
    base, tools, admin = 0b10010000101011, 0b11000000, 1 << 12
    wanted = {"ws": base | tools, "fw": base | tools | admin, "plc": base}

    for node, caps in wanted.items():
        for process in ("self", "1"):
            said = dict(
                line.split(":\t")
                for line in (await lab.sh(node, f"grep -E 'Cap|NoNew' /proc/{process}/status")).splitlines()
            )
            assert {int(said[key], 16) for key in ("CapPrm", "CapEff", "CapBnd")} == {caps}, (node, process)
            assert {int(said[key], 16) for key in ("CapInh", "CapAmb")} == {0}
            assert said["NoNewPrivs"] == "1"


FORBIDDEN = (
    "ip link set eth0 down",
    "ip addr add 10.47.1.99/24 dev eth0",
    "ip route add 10.9.9.0/24 via 10.47.1.1",
    "nft add table inet x",
    "mount -t tmpfs none /mnt",
    "unshare --net true",
    "unshare --user --map-root-user true",
    "chroot / true",
    "echo x > /etc/passwd",
    "echo x > /opt/lianbing/init.py",
    "cat /var/run/docker.sock",
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "head -c 1 /proc/kcore | grep .",
    "mknod /tmp/sda b 8 0",
    "echo x > /proc/1/fd/0",
    "dmesg",
    "head -c 20000000 /dev/zero > /tmp/much",
)


async def test_what_a_trainee_may_not_do_fails(lab: Running) -> None:
    done = [line for line in FORBIDDEN if (await lab.sh("ws", f"({line}) > /dev/null 2>&1 && echo done")) == "done"]
    allowed = await lab.sh("fw", "nft add table inet x && nft delete table inet x && echo done")

    assert done == []
    assert allowed == "done"


async def test_a_fork_bomb_and_a_memory_hog_stay_in_their_node(lab: Running) -> None:
    bomb = await lab.sh("ws", "for i in $(seq 300); do sleep 5 & done; wait")
    hog = await lab.driver.exec(lab.id, "plc", ["python3", "-c", "x = bytearray(400 << 20); print(len(x))"])
    alive = await lab.sh("ws", "echo still here")

    assert "Cannot fork" in bomb or "Resource temporarily unavailable" in bomb
    assert (hog.code, hog.stdout) == (137, b"")
    assert alive == "still here"
