"""Run inside a network namespace of its own by test_sender: frames through a veth, read late at the other end."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time

from cyber_range.engine.traffic.compiled import pieces_now
from cyber_range.engine.traffic.flood import Flood
from cyber_range.engine.traffic.profiles import order
from cyber_range.engine.traffic.sender import FrameSender, NotSent
from cyber_range.engine.traffic.templates import Endpoint, Flow

ALL = 0x0003


def listener() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, 33, 32 * 1024 * 1024)  # SO_RCVBUFFORCE
    sock.bind(("wire1", ALL))
    sock.setsockopt(263, 1, struct.pack("iHH8s", socket.if_nametoindex("wire1"), 1, 0, b""))  # promiscuous
    sock.settimeout(5)
    return sock


def read(sock: socket.socket, count: int) -> list[bytes]:
    return [sock.recv(65535) for _ in range(count)]


def main() -> None:
    for words in ("link add wire0 type veth peer name wire1", "link set wire0 up", "link set wire1 up"):
        subprocess.run(["ip", *words.split()], check=True)
    for name in ("wire0", "wire1"):  # no router solicitations in between
        subprocess.run(["sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1"], check=False)
    found: dict[str, object] = {}
    heard = listener()
    head = b"\x02\0\0\0\0\2" + b"\x02\0\0\0\0\1" + b"\x88\xb5"
    numbered = [head + struct.pack(">I", number) + bytes(46 + number % 900) for number in range(300)]
    with FrameSender("wire0", slots=64) as sender:
        found["sent"] = sender.send(numbered)
        found["same"] = read(heard, 300) == numbered
        sender.load(numbered[:7])
        found["slots"] = sender.slots
        found["again"] = sender.go() + sender.go(5)
        cycle = [numbered[number % 7] for number in range(sender.slots)]
        position = 300 % sender.slots  # where the ring stood when it was loaded
        expected = [cycle[(position + number) % sender.slots] for number in range(sender.slots + 5)]
        found["cycled"] = read(heard, sender.slots + 5) == expected
        began = time.monotonic()
        found["paced"] = sender.go_paced(200, 400)
        found["seconds"] = time.monotonic() - began
        read(heard, 200)
        try:
            sender.send([bytes(9000)])
        except NotSent as exc:
            found["long"] = exc.what
    wanted = order("modbus_read", table="holding", address=0, count=10)
    piece = pieces_now([wanted])[wanted.key]
    flows = [Flow(Endpoint(f"10.0.0.{n}", f"02:00:00:00:01:{n:02x}", 4000 + n), Endpoint("10.0.0.99", "02:00:00:00:00:02", 502), n, n)
             for n in range(1, 6)]  # fmt: skip
    flooding = FrameSender("wire0", longest=len(piece.frames[0].data), slots=512)
    flood = Flood(flooding, piece, flows)
    wrote: list[bytes] = []
    for number in range(3):
        flood.patch(10**18 + number * 10**9)
        wrote += flood.frames()
        flooding.go()
    got = read(heard, len(wrote))  # after three rounds: the ring holds the last one
    found["patched"], found["whole"] = len(wrote), got == wrote
    found["frames"] = [frame.hex() for frame in got[:: max(1, len(got) // 40)]]
    try:
        FrameSender("nowhere")
    except NotSent as exc:
        found["nowhere"] = exc.what
    subprocess.run(["ip", "link", "set", "wire0", "down"], check=True)
    with FrameSender("wire0", slots=64) as sender:
        try:
            sender.send(numbered[:2])
        except NotSent as exc:
            found["down"] = exc.what
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
