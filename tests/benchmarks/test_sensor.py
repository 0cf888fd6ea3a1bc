"""How many frames a second the sensor decodes and matches with 50 rules on one core, beside floors in the same run.

Floors: dpkt parsing the same frames (no conversations, no protocols, no rules), and Suricata reading the same capture
with the rules of ours it knows, where it is installed. Times are processor time of one core. Nothing here asserts a time
except that what is said to be lost is lost nowhere else.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import dpkt
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from cyber_range.engine.sensor import pcapng
from cyber_range.engine.sensor.monitor import Monitor
from cyber_range.engine.sensor.policy import Policy
from cyber_range.engine.sensor.rules.book import Book
from cyber_range.engine.sensor.rules.shipped import book_of
from cyber_range.engine.sensor.shedding import ALL, Shedding
from cyber_range.engine.sensor.suricata import Suricata, probe
from tests.cyber_range.engine.sensor.recordings import PROTOCOLS, recorded
from tests.cyber_range.engine.sensor.talk import Talk, Wire, read, values, write, written

Frames = list[tuple[int, bytes]]
GOAL = 50_000  # frames a second
ROUNDS = 5
BATCH = 256  # frames of one wake-up of a tap
POLICY = {"masters": [{"client": f"10.0.2.{n}", "server": "10.0.2.9", "functions": [3, 6]} for n in range(10, 14)]}


def fifty() -> Book:
    """Fifty of the shipped rules, over all protocols."""
    book = book_of(variables={"MASTERS": "[10.0.2.0/24]", "CONTROLLERS": "10.0.2.9"})
    step = len(book.rules) / 50
    return Book([book.rules[int(index * step)] for index in range(50)])


def polls(count: int = 5000) -> Frames:
    """What a workshop's wire mostly carries: four masters that poll, answers that differ, now and then a write."""
    wire = Wire()
    talks = [Talk(wire, f"10.0.2.{n}", "10.0.2.9", sport=40000 + n).open() for n in range(10, 14)]
    for number in range(count):
        talk = talks[number % 4]
        if number % 25 == 24:
            talk.ask(write(40, 500), written(40, 500))
        else:
            answer = values(4)
            answer.registerVal = [number % 997, 2, 3, number % 13]
            talk.ask(read(number % 40, 4), answer)
        talk.segment(True, "A")
    return wire.frames


def mixed() -> Frames:
    """Every industrial protocol as real clients spoke it, web pages, names, bulk; new conversations all the time."""
    wire = Wire()
    sport = 20000
    page = b"HTTP/1.1 200 OK\r\nServer: lighttpd/1.4\r\nContent-Type: text/html\r\nContent-Length: 20000\r\n\r\n"
    for turn in range(8):
        for proto in PROTOCOLS:
            port, conversations = recorded(proto)
            for conversation in conversations:
                sport += 1
                talk = Talk(wire, f"10.0.2.{10 + turn}", "10.0.2.9", port=port, sport=sport).open()
                for up, data in conversation:
                    for at in range(0, len(data), 1400):
                        talk.segment(up, "PA", data[at : at + 1400])
                    talk.segment(not up, "A")
        sport += 1
        web = Talk(wire, f"10.0.1.{10 + turn}", "10.0.2.20", port=80, sport=sport).open()
        for number in range(20):
            web.segment(
                True, "PA", b"GET /trend/%d HTTP/1.1\r\nHost: historian\r\nUser-Agent: Mozilla/5.0\r\n\r\n" % number
            )
            body = page + bytes(range(32, 112)) * 250
            for at in range(0, len(body), 1400):
                web.segment(False, "PA", body[at : at + 1400])
                web.segment(True, "A")
        for number in range(40):
            question = bytes(DNS(id=number, qd=DNSQR(qname=f"host{number}.plant.example")))
            head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.1.5", dst="10.0.1.2")
            wire.put(head / UDP(sport=50000 + number, dport=53) / Raw(question))
    return wire.frames


def flood(count: int = 20000) -> Frames:
    """The worst for a table of conversations: every frame opens one."""
    wire = Wire()
    Talk(wire, "10.9.0.1", "10.0.2.9").segment(True, "S")
    at, frame = wire.frames[0]
    frames = []
    for number in range(count):
        changed = bytearray(frame)
        changed[26:30] = (0x0A090000 + number % 5000).to_bytes(4, "big")
        changed[34:36] = (1024 + number % 60000).to_bytes(2, "big")
        frames.append((at + number * 10_000, bytes(changed)))
    return frames


def rate(frames: Frames, work: Callable[[Frames], object], rounds: int = ROUNDS) -> float:
    """Frames per processor second, the median of some rounds."""
    rates = []
    for _ in range(rounds):
        began = time.process_time()
        work(frames)
        rates.append(len(frames) / (time.process_time() - began))
    return statistics.median(rates)


def ours(book: Book) -> Callable[[Frames], Monitor]:
    def work(frames: Frames) -> Monitor:
        monitor = Monitor(Policy.of(POLICY), book=book)
        for at in range(0, len(frames), BATCH):
            monitor.feed("workshop", frames[at : at + BATCH])
        monitor.report()
        return monitor

    return work


def with_dpkt(frames: Frames) -> None:
    for _, frame in frames:
        dpkt.ethernet.Ethernet(frame)


def with_suricata(frames: Frames, folder: Path, book: Book) -> float | None:
    """Frames per processor second of `suricata -r`, less what it costs to start."""
    program = shutil.which("suricata")
    if program is None or not probe().usable:
        return None
    Suricata(folder, ["z"], book.rules, {}, lambda alert: None, lambda why: None)._write_files()

    def run(some: Iterable[tuple[int, bytes]]) -> float:
        file = folder / "frames.pcapng"
        file.write_bytes(pcapng.header() + pcapng.packets(some))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [program, "-c", str(folder / "suricata.yaml"), "-r", str(file), "-l", str(folder), "--runmode", "single", "-k", "none"],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    start = min(run(frames[:2]) for _ in range(2))
    repeated = [(at + turn * 60_000_000_000, frame) for turn in range(5) for at, frame in frames]
    return len(repeated) / max(1e-9, run(repeated) - start)


def test_frames_a_second_with_fifty_rules(tmp_path: Path) -> None:
    book = fifty()
    assert len(book.rules) == 50
    print()
    for name, frames in (("polls", polls()), ("mixed", mixed()), ("flood", flood())):
        mine, floor = rate(frames, ours(book)), rate(frames, with_dpkt)
        beside = with_suricata(frames, tmp_path, book)
        monitor = ours(book)(frames)
        counters = monitor.counters()
        said = f"{beside:,.0f} ({mine / beside:.2f} of it)" if beside else "not installed"
        print(
            f"sensor, {name}: {len(frames)} frames of {sum(len(f) for _, f in frames) / len(frames):.0f} bytes, "
            f"{mine:,.0f} frames/s = {mine / GOAL:.1f} x the goal of {GOAL:,}, {mine / floor:.2f} of dpkt's parse loop "
            f"({floor:,.0f}); suricata -r: {said}; dropped {counters['shed_payloads']}, "
            f"faults {counters['decoder_faults']}, holes {counters['stream_holes']}"
        )
        assert counters["shed_payloads"] == counters["decoder_faults"] == 0
        assert counters["frames"] == len(frames)


def test_what_is_left_out_when_twice_too_much_comes() -> None:
    """Frames come at twice the rate that can be read, in virtual time: the lag sets the level, everything is counted."""
    book, frames = fifty(), mixed()
    speed = rate(frames, ours(book), rounds=3)
    monitor, shedding = Monitor(Policy.of(POLICY), book=book), Shedding()
    arriving = 2 * speed
    spent = 0.0
    turns = max(1, int(5 * arriving / len(frames)))
    for number in range(turns * len(frames) // BATCH):
        at = number * BATCH % (len(frames) - BATCH)
        batch = frames[at : at + BATCH]
        arrived = number * BATCH / arriving
        spent = max(spent, arrived)
        level = shedding.judge(spent - arrived, len(batch))
        if level < ALL:
            monitor.shed = level
            began = time.process_time()
            monitor.feed("workshop", batch)
            spent += time.process_time() - began
    seen = monitor.frames + shedding.counts[ALL]
    print(
        f"\nsensor, overload: {arriving:,.0f} frames/s offered for {turns * len(frames) / arriving:.0f} s, read {monitor.frames}, "
        f"counted only {shedding.counts[ALL]}, without rules {shedding.counts[1]}, without reading {shedding.counts[2]}, "
        f"payloads unmatched {monitor.shed_matching}, unread {monitor.shed_payloads}"
    )
    assert seen == turns * len(frames) // BATCH * BATCH
