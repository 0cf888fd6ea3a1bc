"""The chatter of an office network, declared packet by packet with scapy. Run as a process: see `compiled`.

Request: {"mac", "ip", "broadcast", "host": name, "syslog": address or "", "time": address or ""}. Everything here is
UDP or layer 2 that asks for no answer, so that it needs no second half; conversations come from real programs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping

from scapy.config import conf
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTPHeader
from scapy.packet import Packet, Raw

conf.verb = 0
BROADCAST = "ff:ff:ff:ff:ff:ff"


def gratuitous_arp(at: Mapping[str, str]) -> Packet:
    """A host announcing itself, as after a lease renewal."""
    return Ether(src=at["mac"], dst=BROADCAST) / ARP(op=1, hwsrc=at["mac"], psrc=at["ip"], pdst=at["ip"])


def name_query(at: Mapping[str, str]) -> Packet:
    """NetBIOS looking for the work group's server by broadcast."""
    return (
        Ether(src=at["mac"], dst=BROADCAST)
        / IP(src=at["ip"], dst=at["broadcast"], ttl=128)
        / UDP(sport=137, dport=137)
        / NBNSHeader(NAME_TRN_ID=0x8001, QDCOUNT=1, NM_FLAGS=0x11)
        / NBNSQueryRequest(QUESTION_NAME=b"SCADA-SRV")
    )


def service_search(at: Mapping[str, str]) -> Packet:
    """SSDP: a PC looking for printers and gateways."""
    text = (
        'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 3\r\n'
        "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
    )
    return (
        Ether(src=at["mac"], dst="01:00:5e:7f:ff:fa")
        / IP(src=at["ip"], dst="239.255.255.250", ttl=2)
        / UDP(sport=50123, dport=1900)
        / Raw(text.encode())
    )


def multicast_name(at: Mapping[str, str]) -> Packet:
    """LLMNR question for the proxy's name, which Windows asks all day."""
    return (
        Ether(src=at["mac"], dst="01:00:5e:00:00:fc")
        / IP(src=at["ip"], dst="224.0.0.252", ttl=1)
        / UDP(sport=54321, dport=5355)
        / DNS(id=0x1A2B, rd=0, qd=DNSQR(qname="wpad"))
    )


def lease_inform(at: Mapping[str, str]) -> Packet:
    """DHCPINFORM of a host with a fixed address."""
    mac = bytes.fromhex(at["mac"].replace(":", ""))
    return (
        Ether(src=at["mac"], dst=BROADCAST)
        / IP(src=at["ip"], dst="255.255.255.255", ttl=128)
        / UDP(sport=68, dport=67)
        / BOOTP(op=1, chaddr=mac, ciaddr=at["ip"], xid=0x21436587)
        / DHCP(options=[("message-type", "inform"), ("hostname", at["host"]), "end"])
    )


def log_line(at: Mapping[str, str]) -> Packet | None:
    """Syslog to the collector."""
    if not at.get("syslog"):
        return None
    text = f"<134>{at['host']} winlog: service 'Spooler' entered the running state"
    return _to(at, at["syslog"], UDP(sport=50514, dport=514) / Raw(text.encode()))


def time_query(at: Mapping[str, str]) -> Packet | None:
    """NTP client question."""
    if not at.get("time"):
        return None
    return _to(at, at["time"], UDP(sport=123, dport=123) / NTPHeader(version=4, mode=3))


def _to(at: Mapping[str, str], address: str, rest: Packet) -> Packet:
    return Ether(src=at["mac"], dst=at.get("gateway_mac") or BROADCAST) / IP(src=at["ip"], dst=address, ttl=128) / rest


TEMPLATES: dict[str, Callable[[Mapping[str, str]], Packet | None]] = {
    "gratuitous_arp": gratuitous_arp, "name_query": name_query, "service_search": service_search,
    "multicast_name": multicast_name, "lease_inform": lease_inform, "log_line": log_line, "time_query": time_query,
}  # fmt: skip


def main() -> None:
    at = json.load(sys.stdin)
    found = {}
    for name, declare in TEMPLATES.items():
        packet = declare(at)
        if packet is not None:
            found[name] = bytes(packet).ljust(60, b"\0").hex()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
