"""The memory network against a kernel's manners: handshakes, refusals, drops, pings, datagrams, frames made by hand."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dpkt
import pytest
from dpkt.ip import IP_PROTO_ICMP, IP_PROTO_TCP, IP_PROTO_UDP
from dpkt.tcp import TH_ACK, TH_FIN, TH_RST, TH_SYN
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.agents.packet_filter import PacketFilter
from cyber_range.engine.drivers.memory import frames
from cyber_range.engine.drivers.memory.fabric import Fabric
from cyber_range.engine.drivers.memory.net import MemoryNet
from cyber_range.engine.plan import InterfacePlan, NodePlan, ZonePlan


def leg(zone: str, number: int, ip: str) -> InterfacePlan:
    mac = "02:00:" + ":".join(f"{part:02x}" for part in socket.inet_aton(ip))
    return InterfacePlan(zone, f"eth{number}", ip, 24, mac)


@dataclass
class World:
    """it - firewall - ot, with a master in `it`, a device in `ot`, a hub that hears both zones."""

    fabric: Fabric
    nets: dict[str, MemoryNet]
    heard: dict[str, list[bytes]] = field(default_factory=lambda: {"it": [], "ot": []})

    def dissected(self, zone: str) -> list[dpkt.ip.IP]:
        found = [dpkt.ethernet.Ethernet(frame).data for frame in self.heard[zone]]
        return [ip for ip in found if isinstance(ip, dpkt.ip.IP)]


async def world_of() -> AsyncIterator[World]:
    fabric = Fabric("00000000beef", PacketFilter)
    for name, subnet in (("it", "10.0.1.0/24"), ("ot", "10.0.2.0/24")):
        fabric.add_segment(ZonePlan(name, subnet, f"lb{name}", 3.0))
    default = (("0.0.0.0/0", "10.0.1.1"),)
    plans = [
        NodePlan(
            "fw", (leg("it", 0, "10.0.1.1"), leg("ot", 1, "10.0.2.1")), (), forwards=True, caps=frozenset({"net_admin"})
        ),
        NodePlan("master", (leg("it", 0, "10.0.1.10"),), (), routes=default, hosts=(("10.0.2.20", "plc"),)),
        NodePlan("other", (leg("it", 0, "10.0.1.11"),), (), routes=default, hosts=(("10.0.2.20", "plc"),)),
        NodePlan("plc", (leg("ot", 0, "10.0.2.20"),), (), routes=(("0.0.0.0/0", "10.0.2.1"),)),
        NodePlan("sensor", (), (), placement="hub"),
    ]
    nets = {plan.name: MemoryNet(fabric, fabric.add_host(plan)) for plan in plans}
    made = World(fabric, nets)
    for zone in made.heard:
        await nets["sensor"].tap(zone, lambda batch, zone=zone: made.heard[zone].extend(data for _, data in batch))
    yield made
    fabric.close()
    await asyncio.sleep(0.01)


world = pytest.fixture(world_of)


async def echo_server(net: MemoryNet, port: int = 502) -> None:
    async def serve(sock: socket.socket, peer: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            while data := await loop.sock_recv(sock, 65536):
                await loop.sock_sendall(sock, data)

    await net.serve_sockets(port, serve)


async def spoken(sock: socket.socket, data: bytes, *, within: float = 5.0) -> bytes:
    loop = asyncio.get_running_loop()
    sending = loop.create_task(loop.sock_sendall(sock, data))
    heard = b""
    async with asyncio.timeout(within):
        while len(heard) < len(data):
            heard += await loop.sock_recv(sock, 65536)
        await sending
    return heard


def proper_checksums(ip: dpkt.ip.IP) -> bool:
    """Takes the sums out and lets dpkt put its own in."""
    said = bytes(ip)
    fresh = dpkt.ip.IP(said)
    fresh.sum = 0
    if fresh.p in (IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP):
        fresh.data.sum = 0
    return bytes(fresh) == said


async def test_connection_shows_a_whole_tcp_conversation_on_every_zone_it_crosses(world: World) -> None:
    await echo_server(world.nets["plc"])

    sock = await world.nets["master"].connect("plc", 502)
    ours, theirs = sock.getsockname(), sock.getpeername()
    heard = await spoken(sock, b"12 bytes long")
    sock.close()
    await asyncio.sleep(0.05)

    assert (ours[0], theirs, heard) == ("10.0.1.10", ("10.0.2.20", 502), b"12 bytes long")
    for zone, ttl in (("it", 64), ("ot", 63)):
        packets = world.dissected(zone)
        assert all(proper_checksums(ip) for ip in packets)
        assert {ip.ttl for ip in packets if ip.src == socket.inet_aton("10.0.1.10")} == {ttl}
        assert [ip.data.flags & (TH_SYN | TH_ACK | TH_FIN | TH_RST) for ip in packets] == [
            TH_SYN,
            TH_SYN | TH_ACK,
            TH_ACK,  # handshake
            TH_ACK,
            TH_ACK,
            TH_ACK,
            TH_ACK,  # question and answer, each acknowledged
            TH_FIN | TH_ACK,
            TH_ACK,
            TH_FIN | TH_ACK,
            TH_ACK,
        ]
        assert reassembled(packets, "10.0.1.10") == reassembled(packets, "10.0.2.20") == b"12 bytes long"


def reassembled(packets: list[dpkt.ip.IP], source: str) -> bytes:
    """Payload in sequence order; asserts that there is no hole and that acknowledgements never run ahead."""
    stream, expected, other_end = b"", None, None
    for ip in packets:
        tcp = ip.data
        if ip.src == socket.inet_aton(source):
            if tcp.flags & TH_SYN:
                expected = tcp.seq + 1
                continue
            if tcp.data:
                assert tcp.seq == expected
                stream, expected = stream + tcp.data, expected + len(tcp.data)
        elif tcp.flags & TH_ACK and expected is not None:
            other_end = tcp.ack
            assert other_end <= expected + 1
    return stream


@settings(max_examples=20, deadline=None)
@given(chunks=st.lists(st.binary(min_size=1, max_size=9000), min_size=1, max_size=6))
def test_bytes_arrive_as_sent_and_the_wire_tells_the_same(chunks: list[bytes]) -> None:
    async def law() -> None:
        async for world in world_of():
            await echo_server(world.nets["plc"])
            sock = await world.nets["master"].connect("10.0.2.20", 502)
            for chunk in chunks:
                assert await spoken(sock, chunk) == chunk
            sock.close()
            await asyncio.sleep(0.02)
            packets = world.dissected("ot")
            assert all(proper_checksums(ip) for ip in packets)
            assert max(len(ip.data.data) for ip in packets) <= frames.MSS
            assert reassembled(packets, "10.0.1.10") == reassembled(packets, "10.0.2.20") == b"".join(chunks)

    asyncio.run(law())


async def test_closed_port_refuses_and_the_wire_shows_the_reset(world: World) -> None:
    with pytest.raises(ConnectionRefusedError):
        await world.nets["master"].connect("plc", 503)
    await asyncio.sleep(0)

    assert [ip.data.flags for ip in world.dissected("ot")] == [TH_SYN, TH_RST | TH_ACK]


async def test_dropped_connection_times_out_and_is_never_seen_behind_the_firewall(world: World) -> None:
    await echo_server(world.nets["plc"])
    firewall = world.nets["fw"].firewall()
    await firewall.install([{"action": "accept", "src": "10.0.1.11"}], "drop")

    with pytest.raises(TimeoutError):
        await world.nets["master"].connect("plc", 502, timeout=0.2)
    (await world.nets["other"].connect("plc", 502)).close()

    assert (await firewall.default())["packets"] >= 1
    assert {socket.inet_ntoa(ip.src) for ip in world.dissected("ot")} <= {"10.0.1.11", "10.0.2.20"}


async def test_rejected_connection_hears_that_it_is_prohibited(world: World) -> None:
    await world.nets["fw"].firewall().install([{"action": "reject", "proto": "tcp", "dport": "502"}], "accept")

    with pytest.raises(OSError) as caught:
        await world.nets["master"].connect("plc", 502)
    await asyncio.sleep(0)

    assert caught.value.errno == errno.EHOSTUNREACH
    last = world.dissected("it")[-1]
    assert (last.p, last.data.type, last.data.code) == (IP_PROTO_ICMP, 3, 13)
    assert proper_checksums(last)


async def test_absent_host_is_unreachable_and_other_networks_have_no_route(world: World) -> None:
    with pytest.raises(OSError, match="No route to host"):
        await world.nets["master"].connect("10.0.2.99", 502, timeout=10)
    with pytest.raises(OSError) as caught:
        await world.nets["fw"].connect("192.0.2.1", 80)

    assert caught.value.errno == errno.ENETUNREACH


async def test_late_rule_leaves_a_running_connection_alone_and_an_early_one_stalls_it_until_removed(
    world: World,
) -> None:
    await echo_server(world.nets["plc"])
    firewall = world.nets["fw"].firewall()
    await firewall.install([], "accept")
    sock = await world.nets["master"].connect("plc", 502)
    assert await spoken(sock, b"one") == b"one"

    await firewall.add({"action": "drop", "proto": "tcp", "dport": "502"})
    assert await spoken(sock, b"two") == b"two"
    with pytest.raises(TimeoutError):
        await world.nets["other"].connect("plc", 502, timeout=0.1)

    handle = await firewall.add({"action": "drop", "src": "10.0.1.10", "early": True})
    with pytest.raises(TimeoutError):
        await spoken(sock, b"three", within=0.3)
    await firewall.delete(handle)
    loop = asyncio.get_running_loop()
    heard = b""
    async with asyncio.timeout(5):
        while len(heard) < 5:
            heard += await loop.sock_recv(sock, 100)
    sock.close()

    assert heard == b"three"


@settings(max_examples=40, deadline=None)
@given(
    rules=st.lists(
        st.fixed_dictionaries(
            {"action": st.sampled_from(["accept", "drop", "reject"])},
            optional={
                "src": st.sampled_from(["10.0.1.10", "10.0.1.11", "10.0.1.0/24", "10.0.1.10/31"]),
                "dst": st.sampled_from(["10.0.2.20", "10.0.2.0/28", "10.0.2.0/24"]),
                "proto": st.sampled_from(["tcp", "udp"]),
                "early": st.booleans(),
                "iif": st.sampled_from(["eth0", "eth1"]),
            },
        ),
        max_size=5,
    ),
    default=st.sampled_from(["accept", "drop"]),
    source=st.sampled_from(["master", "other"]),
)
def test_a_connection_is_made_exactly_when_the_first_matching_rule_accepts(
    rules: list[dict[str, object]], default: str, source: str
) -> None:
    """The law of the filter. A second, plain reading of the rules decides what must happen."""
    ip = {"master": "10.0.1.10", "other": "10.0.1.11"}[source]

    def first_verdict(src: str, dst: str, iif: str, *, answer: bool) -> str:
        early = [rule for rule in rules if rule.get("early")]
        late = [rule for rule in rules if not rule.get("early")]
        for rule in early + ([{"action": "accept"}] if answer else []) + late:
            sides = [(rule.get("src"), src), (rule.get("dst"), dst)]
            met = all(not net or within(address, str(net)) for net, address in sides)
            if met and rule.get("proto") in (None, "tcp") and rule.get("iif") in (None, iif):
                return str(rule["action"])
        return default

    there = first_verdict(ip, "10.0.2.20", "eth0", answer=False)
    back = first_verdict("10.0.2.20", ip, "eth1", answer=True)
    expected = "connected" if (there, back) == ("accept", "accept") else "stopped"

    async def law() -> None:
        async for world in world_of():
            await echo_server(world.nets["plc"])
            await world.nets["fw"].firewall().install(rules, default)  # type: ignore[arg-type]
            try:
                (await world.nets[source].connect("plc", 502, timeout=0.05)).close()
                outcome = "connected"
            except (TimeoutError, OSError):
                outcome = "stopped"
            assert outcome == expected

    asyncio.run(law())


def within(address: str, network: str) -> bool:
    base, _, prefix = network.partition("/")
    shift = 32 - int(prefix or 32)
    number = [struct.unpack("!I", socket.inet_aton(item))[0] >> shift for item in (address, base)]
    return number[0] == number[1]


async def test_datagrams_arrive_and_a_closed_port_is_told_by_icmp(world: World) -> None:
    heard: list[tuple[bytes, tuple[str, int]]] = []
    await world.nets["plc"].udp(2222, lambda data, peer: heard.append((data, peer)))
    sender = await world.nets["master"].udp(4000)

    sender.send(b"hello", "plc", 2222)
    sender.send(b"nobody", "plc", 2223)
    await asyncio.sleep(0.01)

    assert heard == [(b"hello", ("10.0.1.10", 4000))]
    kinds = [(ip.p, ip.data.type if ip.p == IP_PROTO_ICMP else 0) for ip in world.dissected("it")]
    assert kinds == [(IP_PROTO_UDP, 0), (IP_PROTO_UDP, 0), (IP_PROTO_ICMP, 3)]
    assert all(proper_checksums(ip) for zone in ("it", "ot") for ip in world.dissected(zone))


async def test_first_contact_asks_by_arp_and_a_known_neighbour_is_not_asked_again(world: World) -> None:
    sender = await world.nets["master"].udp(0)
    for _ in range(3):
        sender.send(b"x", "10.0.1.11", 9)
    await asyncio.sleep(0)

    arps = [e.data for e in map(dpkt.ethernet.Ethernet, world.heard["it"]) if isinstance(e.data, dpkt.arp.ARP)]
    assert [(arp.op, socket.inet_ntoa(arp.spa), socket.inet_ntoa(arp.tpa)) for arp in arps] == [
        (1, "10.0.1.10", "10.0.1.11"),
        (2, "10.0.1.11", "10.0.1.10"),
    ]


async def test_nic_hears_its_own_traffic_and_broadcasts_but_not_its_neighbours(world: World) -> None:
    await echo_server(world.nets["plc"])
    overheard: list[bytes] = []
    await world.nets["other"].tap("eth0", lambda batch: overheard.extend(data for _, data in batch))

    sock = await world.nets["master"].connect("plc", 502)
    await spoken(sock, b"secret")
    sock.close()
    await asyncio.sleep(0.02)

    assert {frame[:6] for frame in overheard} == {b"\xff" * 6}


async def test_syn_made_by_hand_is_answered_like_a_kernel_would(world: World) -> None:
    await echo_server(world.nets["plc"])
    overheard: list[bytes] = []
    net = world.nets["master"]
    await net.tap("eth0", lambda batch: overheard.extend(data for _, data in batch))
    mac, gateway = net.interfaces()[0].mac, world.nets["fw"].interfaces()[0].mac

    for port in (502, 503):
        syn = frames.Packet("10.0.1.10", "10.0.2.20", frames.TCP, 40000, port, frames.SYN, 7, ident=9)
        net.send_frames("eth0", [syn.frame(mac, gateway)])
    await asyncio.sleep(0)

    tcp = [ip.data for ip in (dpkt.ethernet.Ethernet(f).data for f in overheard) if isinstance(ip, dpkt.ip.IP)]
    assert [(t.sport, t.dport, t.flags) for t in tcp] == [
        (40000, 502, TH_SYN),
        (502, 40000, TH_SYN | TH_ACK),
        (40000, 502, TH_RST),
        (40000, 503, TH_SYN),
        (503, 40000, TH_RST | TH_ACK),
    ]


async def test_arp_spoofing_redirects_a_learned_neighbour_but_not_a_permanent_one(world: World) -> None:
    host = world.nets["master"].host
    await world.nets["master"].ping("10.0.1.1", 1, 1.0)
    lie = frames.arp_frame(2, ("02:66:66:66:66:66", "10.0.1.1"), (host.legs[0].mac, "10.0.1.10"), host.legs[0].mac)

    world.nets["other"].send_frames("eth0", [lie])
    fooled = await world.nets["master"].ping("10.0.2.20", 2, 0.1)
    host.permanent["10.0.1.1"] = world.nets["fw"].interfaces()[0].mac
    warned = await world.nets["master"].ping("10.0.2.20", 3, 0.5)

    assert fooled is None
    assert warned is not None


async def test_frames_of_any_bytes_never_break_the_network(world: World) -> None:
    net = world.nets["other"]
    target = bytes.fromhex(world.nets["fw"].interfaces()[0].mac.replace(":", ""))

    for junk in (b"\x08\x00", b"\x08\x06", b"\x08\x00\x45\x00\x00\x14" + b"\x00" * 16, b"\x86\xdd" + b"\xff" * 60):
        assert net.send_frames("eth0", [target + b"\x02" * 6 + junk]) == 1
    with pytest.raises(OSError, match="14 bytes"):
        net.send_frames("eth0", [b"short"])


async def test_firewall_belongs_to_nodes_with_net_admin(world: World) -> None:
    with pytest.raises(PermissionError, match="plc"):
        world.nets["plc"].firewall()


async def test_removed_host_takes_its_connections_with_it(world: World) -> None:
    await echo_server(world.nets["plc"])
    sock = await world.nets["master"].connect("plc", 502)

    world.fabric.remove_host("plc")

    async with asyncio.timeout(1):
        assert await asyncio.get_running_loop().sock_recv(sock, 10) == b""
    assert world.fabric.streams == {}
    with pytest.raises(TimeoutError):
        await world.nets["master"].connect("10.0.2.20", 502, timeout=0.1)
