"""The office: web pages, shares, mail, shells, TLS, updates. Each piece is one exchange of a session."""

from __future__ import annotations

import hashlib

from cyber_range.engine.traffic.declaring.speech import Line, answers, says, tcp
from cyber_range.engine.traffic.templates import Maker, Piece, Var


def filler(label: str, count: int) -> bytes:
    """Printable text that is the same wherever it is declared."""
    found = b""
    number = 0
    while len(found) < count:
        found += hashlib.sha256(f"{label}/{number}".encode()).hexdigest().encode() + b"\n"
        number += 1
    return found[:count]


def http_get(
    name: str, path: str = "/", host: str = "intranet", size: int = 2000, kind: str = "text/html; charset=utf-8",
    login: str = "", agent: str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", server: str = "nginx", random: bool = False,
) -> Piece:  # fmt: skip
    """GET with its page; `random` fills the body with noise (a compressed file), else with text."""
    header = f"Authorization: Basic {login}\r\n" if login else ""
    ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n{header}\r\n"
    head = f"HTTP/1.1 200 OK\r\nServer: {server}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode()
    body = bytes(size) if random else filler(path, size)
    places = (Var("random", len(head), size),) if random else ()
    return tcp(name, [says(ask.encode(), gap=300), answers(head + body, *places, gap=6000)])


def http_put(
    name: str, path: str = "/upload", host: str = "share", size: int = 4000, login: str = "", verb: str = "PUT",
    agent: str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", status: str = "201 Created",
) -> Piece:  # fmt: skip
    """An upload: a file saved on the share, a backup's part, or data on its way out."""
    header = f"Authorization: Basic {login}\r\n" if login else ""
    head = (
        f"{verb} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n{header}"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
    tell = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    return tcp(name, [says(head + bytes(size), Var("random", len(head), size), gap=300), answers(tell, gap=9000)])


def smtp_greeting(name: str, domain: str = "example.cn", host: str = "pc") -> Piece:
    return tcp(name, [
        answers(f"220 mail.{domain} ESMTP\r\n".encode(), gap=5000), says(f"EHLO {host}\r\n".encode()),
        answers(f"250-mail.{domain}\r\n250-SIZE 10485760\r\n250 8BITMIME\r\n".encode()),
    ])  # fmt: skip


def smtp_message(
    name: str, sender: str = "a@example.cn", to: str = "b@example.cn", subject: str = "Report", size: int = 1800
) -> Piece:
    """One message (RFC 5321); its text is base 64 of nothing in particular."""
    text = "".join(f"{line}\r\n" for line in filler(subject, size).decode().splitlines())
    mail = (
        f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=us-ascii\r\n\r\n{text}.\r\n"
    )
    return tcp(name, [
        says(f"MAIL FROM:<{sender}>\r\n".encode()), answers(b"250 2.1.0 Ok\r\n"),
        says(f"RCPT TO:<{to}>\r\n".encode()), answers(b"250 2.1.5 Ok\r\n"),
        says(b"DATA\r\n"), answers(b"354 End data with <CR><LF>.<CR><LF>\r\n"),
        says(mail.encode()), answers(b"250 2.0.0 Ok: queued\r\n", gap=12000),
    ])  # fmt: skip


def smtp_quit(name: str) -> Piece:
    return tcp(name, [says(b"QUIT\r\n"), answers(b"221 2.0.0 Bye\r\n")])


def line_feed(name: str, size: int = 420) -> Piece:
    """One JSON line from the server, as the operator station gives the historian."""
    text = (
        b'{"t": '
        + b" " * 8
        + b', "devices": {"line": "'
        + filler("feed", max(1, size - 40)).replace(b"\n", b"-")
        + b'"}}\n'
    )
    return tcp(name, [answers(text, gap=1500)])


# ---------------------------------------------------------------- TLS and SSH: what shows of them before they go dark


def tls_hello(name: str, host: str = "www.example.cn") -> Piece:
    """TLS 1.3 handshake (RFC 8446) as a listener sees it: both hellos, then records that are dark."""
    sni = b"\0\0" + vector(2, vector(2, b"\0" + vector(2, host.encode())))
    groups = b"\0\x0a" + vector(2, vector(2, b"\0\x1d\0\x17"))
    algorithms = b"\0\x0d" + vector(2, vector(2, b"\x04\x03\x08\x04\x04\x01"))
    versions = b"\0\x2b" + vector(2, vector(1, b"\x03\x04"))
    share = b"\0\x33" + vector(2, vector(2, b"\0\x1d" + vector(2, bytes(32))))
    hello = b"\x03\x03" + bytes(32) + vector(1, bytes(32)) + vector(2, b"\x13\x01\x13\x02\x13\x03") + b"\x01\0"
    hello += vector(2, sni + groups + algorithms + versions + share)
    client = record(0x16, b"\x01" + vector(3, hello), b"\x03\x01")
    tell = b"\x03\x03" + bytes(32) + vector(1, bytes(32)) + b"\x13\x01\0"
    tell += vector(2, b"\0\x2b" + vector(2, b"\x03\x04") + b"\0\x33" + vector(2, b"\0\x1d" + vector(2, bytes(32))))
    server = record(0x16, b"\x02" + vector(3, tell))
    change = record(0x14, b"\x01")
    dark = record(0x17, bytes(1180))
    first = server + change
    return tcp(name, [
        says(client, Var("random", 11, 32), Var("random", 44, 32), Var("random", len(client) - 32, 32), gap=400),
        answers(first + dark, Var("random", 11, 32), Var("random", 44, 32), Var("random", len(server) - 32, 32),
                Var("random", len(first) + 5, 1180), gap=9000),
        says(change + record(0x17, bytes(53)), Var("random", len(change) + 5, 53)),
    ])  # fmt: skip


def tls_exchange(name: str, out: int = 400, back: int = 2600) -> Piece:
    """Dark records in both directions."""
    return tcp(name, [
        says(record(0x17, bytes(out)), Var("random", 5, out), gap=400),
        answers(record(0x17, bytes(back)), Var("random", 5, back), gap=20000),
    ])  # fmt: skip


def vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def record(kind: int, data: bytes, version: bytes = b"\x03\x03") -> bytes:
    return bytes([kind]) + version + vector(2, data)


def ssh_hello(name: str, client: str = "PuTTY_Release_0.78", server: str = "OpenSSH_9.2") -> Piece:
    """Versions, algorithms, key exchange (RFC 4253; RFC 8731)."""
    lists = [
        "curve25519-sha256", "ssh-rsa", "aes256-ctr", "aes256-ctr", "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", "",
    ]  # fmt: skip
    offer = b"\x14" + bytes(16) + b"".join(vector(4, text.encode()) for text in lists) + bytes(5)
    packet, start = ssh_packet(offer)
    cookie = Var("random", start + 1, 16)
    share, at = ssh_packet(b"\x1e" + vector(4, bytes(32)))
    modulus = b"\0\xc1" + bytes(255)  # a positive number of 2048 bits
    key = vector(4, vector(4, b"ssh-rsa") + vector(4, b"\1\0\1") + vector(4, modulus))
    signature = vector(4, vector(4, b"ssh-rsa") + vector(4, bytes(256)))
    reply, there = ssh_packet(b"\x1f" + key + vector(4, bytes(32)) + signature)
    new, _ = ssh_packet(b"\x15")
    point = there + 1 + len(key) + 4
    return tcp(name, [
        says(f"SSH-2.0-{client}\r\n".encode(), gap=300), answers(f"SSH-2.0-{server}\r\n".encode(), gap=8000),
        says(packet, cookie), answers(packet, cookie), says(share, Var("random", at + 5, 32), gap=6000),
        answers(reply + new, Var("random", there + 1 + len(key) - 255, 255), Var("random", point, 32),
                Var("random", point + 32 + len(signature) - 256, 256), gap=12000),
        says(new),
    ])  # fmt: skip


def ssh_packet(payload: bytes) -> tuple[bytes, int]:
    """A clear binary packet padded to 8 bytes, and where its payload starts."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding), 5


def ssh_exchange(name: str, out: int = 64, back: int = 112) -> Piece:
    """Keys typed and what comes back, dark."""
    return tcp(name, [
        says(bytes(out), Var("random", 0, out), gap=400), answers(bytes(back), Var("random", 0, back), gap=15000),
    ])  # fmt: skip


def text_lines(name: str, lines: list[list[str]]) -> Piece:
    """Any text protocol: [["client", "…"], ["server", "…"]]."""
    return tcp(name, [Line(who == "client", text.encode()) for who, text in lines])


MAKERS: dict[str, Maker] = {
    "http_get": http_get, "http_put": http_put, "smtp_greeting": smtp_greeting, "smtp_message": smtp_message,
    "smtp_quit": smtp_quit, "line_feed": line_feed, "tls_hello": tls_hello, "tls_exchange": tls_exchange,
    "ssh_hello": ssh_hello, "ssh_exchange": ssh_exchange, "text_lines": text_lines,
}  # fmt: skip
