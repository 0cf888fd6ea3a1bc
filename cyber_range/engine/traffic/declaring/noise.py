"""What a segment hears from everybody: broadcasts, multicasts and questions that need no second half."""

from __future__ import annotations

import struct
from typing import Any

from scapy.contrib.lldp import (
    LLDPDUChassisID,
    LLDPDUEndOfLLDPDU,
    LLDPDUPortID,
    LLDPDUSystemDescription,
    LLDPDUSystemName,
    LLDPDUTimeToLive,
)
from scapy.contrib.pnio import ProfinetIO
from scapy.contrib.pnio_dcp import ProfinetDCP
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.l2 import ARP, Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTPHeader
from scapy.packet import Raw

from cyber_range.engine.traffic.declaring.speech import ZERO_IP, ZERO_MAC, answers, layer2, says, udp
from cyber_range.engine.traffic.templates import Maker, Piece, Var

ANY = "00:00:00:00:00:00"
ARP_SENDER, ARP_TARGET = 22, 32  # offsets of (mac, ip) pairs in an ARP frame


def _arp(op: int) -> Any:
    return Ether(src=ZERO_MAC, dst=ZERO_MAC) / ARP(op=op, hwsrc=ANY, psrc=ZERO_IP, hwdst=ANY, pdst=ZERO_IP)


def _addresses(to: str, src: str, *pairs: Var) -> tuple[Var, ...]:
    return (Var(to, 0, 6), Var(src, 6, 6), *pairs)


def arp_exchange(name: str) -> Piece:
    """Who has the server's address? It answers. Unicast, as Linux re-checks a neighbour it knows (RFC 1122, 2.3.2.1)."""
    ask = _addresses(
        "smac", "cmac", Var("cmac", 22, 6), Var("cip", 28, 4), Var("smac", 32, 6), Var("sip", 38, 4)
    )  # fmt: skip
    tell = _addresses("cmac", "smac", Var("smac", 22, 6), Var("sip", 28, 4), Var("cmac", 32, 6), Var("cip", 38, 4))
    return layer2(name, [says(_arp(1), *ask, gap=0), answers(_arp(2), *tell, gap=180)])


def gratuitous_arp(name: str) -> Piece:
    """A host announcing itself, as after a lease renewal (RFC 5227, 2.3)."""
    frame = Ether(src=ZERO_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=ANY, psrc=ZERO_IP, hwdst=ANY, pdst=ZERO_IP)
    places = (Var("cmac", 6, 6), Var("cmac", 22, 6), Var("cip", 28, 4), Var("cip", 38, 4))
    return layer2(name, [says(frame, *places, gap=0)])


def arp_claim(name: str) -> Piece:
    """A lie told to the flow's server: the client's address belongs to the client's MAC (who is the intruder)."""
    tell = _addresses("smac", "cmac", Var("cmac", 22, 6), Var("cip", 28, 4), Var("smac", 32, 6), Var("sip", 38, 4))
    return layer2(name, [says(_arp(2), *tell, gap=0)])


def arp_sweep(name: str) -> Piece:
    """Who has …? by broadcast, without an answer."""
    frame = Ether(src=ZERO_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=ANY, psrc=ZERO_IP, hwdst=ANY, pdst=ZERO_IP)
    places = (Var("cmac", 6, 6), Var("cmac", 22, 6), Var("cip", 28, 4), Var("sip", 38, 4))
    return layer2(name, [says(frame, *places, gap=0)])


def name_query(name: str, wanted: str = "SCADA-SRV") -> Piece:
    """NetBIOS looking for the work group's server by broadcast (RFC 1002, 4.2.12)."""
    ask = NBNSHeader(NAME_TRN_ID=0, QDCOUNT=1, NM_FLAGS=0x11) / NBNSQueryRequest(QUESTION_NAME=wanted.encode())
    return udp(name, [says(ask, Var("random", 0, 2), gap=0)])


def service_search(name: str, target: str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1") -> Piece:
    """SSDP: a PC looking for printers and gateways."""
    text = f'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 3\r\nST: {target}\r\n\r\n'
    return udp(name, [says(text.encode(), gap=0)])


def multicast_name(name: str, wanted: str = "wpad") -> Piece:
    """LLMNR question (RFC 4795), which Windows asks all day."""
    return udp(name, [says(DNS(id=0, rd=0, qd=DNSQR(qname=wanted)), Var("random", 0, 2), gap=0)])


def service_names(name: str, service: str = "_ipp._tcp.local") -> Piece:
    """mDNS question (RFC 6762)."""
    return udp(name, [says(DNS(id=0, rd=0, qd=DNSQR(qname=service, qtype="PTR")), gap=0)])


def lease_inform(name: str, host: str = "PC") -> Piece:
    """DHCPINFORM of a host with a fixed address (RFC 2131, 4.4.3)."""
    said = BOOTP(op=1, chaddr=bytes(16), ciaddr=ZERO_IP, xid=0) / DHCP(
        options=[("message-type", "inform"), ("hostname", host), "end"]
    )
    return udp(name, [says(said, Var("random", 4, 4), Var("cip", 12, 4), Var("cmac", 28, 6), gap=0)])


def log_line(name: str, host: str = "PC", text: str = "service 'Spooler' entered the running state") -> Piece:
    """Syslog to the collector (RFC 3164)."""
    return udp(name, [says(f"<134>{host} winlog: {text}".encode(), gap=0)])


def time_query(name: str) -> Piece:
    """NTP client's question (RFC 5905); the answer is the server's."""
    ask = NTPHeader(version=4, mode=3, ref=0, orig=0, recv=0, sent=0)
    return udp(name, [says(ask, Var("ntp", 40, 8), gap=0)])


def time_exchange(name: str) -> Piece:
    """NTP question and answer."""
    ask = NTPHeader(version=4, mode=3, stratum=3, ref=0, orig=0, recv=0, sent=0)
    tell = NTPHeader(version=4, mode=4, stratum=2, ref_id=b"\x0a\x00\x00\x01", ref=0, orig=0, recv=0, sent=0)
    stamps = [Var("ntp", at, 8) for at in (16, 24, 32, 40)]
    return udp(name, [says(ask, Var("ntp", 40, 8), gap=0), answers(tell, *stamps, gap=600)])


def lldp(name: str, host: str = "sw", port: str = "1") -> Piece:
    """A switch or firewall telling its neighbours who it is (IEEE 802.1AB); the chassis id is the sender's MAC."""
    frame = (
        Ether(src=ZERO_MAC, dst="01:80:c2:00:00:0e", type=0x88CC)
        / LLDPDUChassisID(subtype=4, id=ANY)
        / LLDPDUPortID(subtype=7, id=port.encode())
        / LLDPDUTimeToLive(ttl=120)
        / LLDPDUSystemName(system_name=host.encode())
        / LLDPDUSystemDescription(description=b"Industrial switch, firmware 5.2.1")
        / LLDPDUEndOfLLDPDU()
    )
    return layer2(name, [says(frame, Var("cmac", 6, 6), Var("cmac", 17, 6), gap=0)])


def station_search(name: str) -> Piece:
    """PROFINET DCP Identify All (IEC 61158-6-10, 4.3), as an engineering station sends it."""
    frame = (
        Ether(src=ZERO_MAC, dst="01:0e:cf:00:00:00", type=0x8892)
        / ProfinetIO(frameID=0xFEFE)
        / ProfinetDCP(
            service_id=5, service_type=0, xid=0, reserved=1, dcp_data_length=4, option=255, sub_option=255,
            dcp_block_length=0,
        )
    )  # fmt: skip
    # scapy appends a block info that the identify filter "all" has not.
    raw = bytes(frame)[:30].ljust(60, b"\0")
    return layer2(name, [says(Raw(raw), Var("cmac", 6, 6), Var("random", 18, 4), gap=0)])


def station_read(name: str, station: str = "plc") -> Piece:
    """PROFINET DCP Get of one station's name and address, and its answer."""
    label = station.encode()
    blocks = b"\x02\x02" + struct.pack(">HH", 2 + len(label), 0) + label + bytes(len(label) % 2)  # name of station
    blocks += struct.pack(">BBHH4s4s4s", 1, 2, 14, 1, bytes(4), b"\xff\xff\xff\0", bytes(4))  # address
    ask = b"\xfe\xfd\x03\x00" + bytes(4) + struct.pack(">HHBBBB", 0, 4, 2, 2, 1, 2)
    tell = b"\xfe\xfd\x03\x01" + bytes(4) + struct.pack(">HH", 0, len(blocks)) + blocks
    number = Var("count", 18, 4, based=True)  # one number ties question and answer
    ether = Ether(src=ZERO_MAC, dst=ZERO_MAC, type=0x8892)
    address = Var("sip", 14 + len(tell) - 12, 4)
    return layer2(
        name,
        [
            says(ether / Raw(ask), *_addresses("smac", "cmac", number), gap=0),
            answers(ether / Raw(tell), *_addresses("cmac", "smac", number, address), gap=2500),
        ],
    )


def dns_lookup(name: str, host: str, address: str = "203.0.113.10", kind: str = "A") -> Piece:
    """A question to the resolver and its answer (RFC 1035)."""
    question = DNSQR(qname=host, qtype=kind)
    record = DNSRR(rrname=host, type=kind, ttl=300, rdata=address if kind == "A" else b"v=spf1 -all")
    number = Var("count", 0, 2, modulo=1 << 16, based=True)
    return udp(name, [
        says(DNS(id=0, rd=1, qd=question), number, gap=0),
        answers(DNS(id=0, qr=1, rd=1, ra=1, qd=question, an=record), number, gap=4000),
    ])  # fmt: skip


MAKERS: dict[str, Maker] = {
    "arp_exchange": arp_exchange, "gratuitous_arp": gratuitous_arp, "arp_claim": arp_claim, "arp_sweep": arp_sweep,
    "name_query": name_query, "service_search": service_search, "multicast_name": multicast_name,
    "service_names": service_names, "lease_inform": lease_inform, "log_line": log_line, "time_query": time_query,
    "time_exchange": time_exchange, "lldp": lldp, "station_search": station_search, "station_read": station_read,
    "dns_lookup": dns_lookup,
}  # fmt: skip
