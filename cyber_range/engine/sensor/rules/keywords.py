"""What the words of a rule mean: Suricata 7's keywords as far as this engine has them.

Beyond Suricata there are keywords for protocols it has no parser for (`s7comm.*`, `iec104.*`, `bacnet.*`, `opcua.*`);
a rule that uses one is marked `foreign` and not handed to a Suricata beside.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cyber_range.engine.sensor.rules.content import (
    ByteJump,
    ByteTest,
    Content,
    DataAt,
    Size,
    Step,
    pcre,
)
from cyber_range.engine.sensor.rules.header import Header
from cyber_range.engine.sensor.rules.limits import Limit
from cyber_range.engine.sensor.rules.rule import PAYLOAD, Check, Rule, Sight
from cyber_range.engine.sensor.rules.text import Unsupported, Written, pattern, unquoted

TCP, UDP, ICMP = 6, 17, 1
# protocol word of a header -> (IP protocols, application protocol)
PROTOCOLS: Mapping[str, tuple[frozenset[int], str]] = {
    "ip": (frozenset(), ""), "tcp": (frozenset({TCP}), ""), "tcp-pkt": (frozenset({TCP}), ""),
    "tcp-stream": (frozenset({TCP}), ""), "udp": (frozenset({UDP}), ""), "icmp": (frozenset({ICMP}), ""),
    **{name: (frozenset({TCP}), name) for name in ("http", "tls", "ssh", "modbus", "mqtt")},
    **{name: (frozenset({TCP, UDP}), name) for name in ("dns", "dhcp", "dnp3", "enip")},
    **{name: (frozenset({TCP, UDP}), name) for name in ("s7comm", "iec104", "bacnet", "opcua", "nbns")},
}  # fmt: skip
FOREIGN_PROTOCOLS = frozenset({"s7comm", "iec104", "bacnet", "opcua", "nbns"})
SAME_NAME = {"http1": "http", "ssl": "tls"}

STICKY = {
    **dict.fromkeys((
        "http.method", "http.uri", "http.uri.raw", "http.request_line", "http.host", "http.user_agent", "http.cookie",
        "http.content_type", "http.request_body", "http.protocol", "http.header", "http.stat_code", "http.stat_msg",
        "http.server", "http.response_body", "http.response_line", "http.location",
    ), "http"),
    "dns.query": "dns", "tls.sni": "tls", "ssh.proto": "ssh", "ssh.software": "ssh",
    **dict.fromkeys((
        "mqtt.connect.clientid", "mqtt.connect.username", "mqtt.connect.password", "mqtt.connect.willtopic",
        "mqtt.connect.willmessage", "mqtt.publish.topic", "mqtt.publish.message", "mqtt.subscribe.topic",
        "mqtt.unsubscribe.topic",
    ), "mqtt"),
    "opcua.endpoint": "opcua",
}  # fmt: skip
SAME_BUFFER = {
    "http.request_header": "http.header", "http.response_header": "http.header", "dns_query": "dns.query",
    "tls_sni": "tls.sni", "http.user-agent": "http.user_agent", "ssh_proto": "ssh.proto",
}  # fmt: skip
OLD_MODIFIERS = {  # they stand behind the content they move to another buffer
    "http_method": "http.method", "http_uri": "http.uri", "http_raw_uri": "http.uri.raw", "http_header": "http.header",
    "http_cookie": "http.cookie", "http_user_agent": "http.user_agent", "http_host": "http.host",
    "http_client_body": "http.request_body", "http_server_body": "http.response_body", "http_stat_code": "http.stat_code",
    "http_stat_msg": "http.stat_msg",
}  # fmt: skip
# keyword -> (application protocol, field of its messages; "function" is the message's own)
NUMBERS = {
    "dns.opcode": ("dns", "opcode"), "dns.rcode": ("dns", "rcode"), "dns.rrtype": ("dns", "qtype"),
    "enip_command": ("enip", "command"), "enip.command": ("enip", "command"), "enip.status": ("enip", "status"),
    "s7comm.func": ("s7comm", "function"), "s7comm.szl": ("s7comm", "szl"), "iec104.type": ("iec104", "function"),
    "iec104.cause": ("iec104", "cause"), "iec104.address": ("iec104", "address"), "bacnet.service": ("bacnet", "function"),
    "bacnet.state": ("bacnet", "state"), "bacnet.property": ("bacnet", "property"), "opcua.service": ("opcua", "function"),
    "modbus.sub_function": ("modbus", "sub_function"),
}  # fmt: skip
# Suricata 7 does not have these, though later versions have some
FOREIGN = frozenset({"dns.rcode", "dns.rrtype"}) | frozenset(
    name
    for name in (*NUMBERS, *STICKY)
    if name.startswith(("s7comm.", "iec104.", "bacnet.", "opcua.", "modbus.", "enip."))
)
IGNORED = frozenset({"gid", "target", "rawbytes", "metadata", "reference", "fast_pattern"})
# Priorities as Suricata's classification.config gives them; 4 counts as 3
PRIORITIES = {
    1: "attempted-user unsuccessful-user successful-user attempted-admin successful-admin shellcode-detect trojan-activity "
    "web-application-attack inappropriate-content policy-violation exploit-kit domain-c2 credential-theft targeted-activity "
    "command-and-control",
    2: "bad-unknown attempted-recon successful-recon-limited successful-recon-largescale attempted-dos successful-dos "
    "rpc-portmap-decode suspicious-filename-detect suspicious-login system-call-detect unusual-client-port-connection "
    "denial-of-service non-standard-protocol web-application-activity misc-attack default-login-attempt external-ip-check "
    "pup-activity coin-mining social-engineering",
}
PRIORITY = {name: priority for priority, names in PRIORITIES.items() for name in names.split()}
TECHNIQUE = re.compile(r"\bT[01]\d{3}(?:\.\d{3})?\b")
MODBUS_FUNCTIONS = {  # Suricata's words for kinds of functions
    "assigned": frozenset({1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43}),
    "public": frozenset({1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 20, 21, 22, 23, 24, 43}),
    "user": frozenset({*range(65, 73), *range(100, 111)}),
    "reserved": frozenset({9, 10, 13, 14, 41, 42, 90, 91, 125, 126, 127}),
    "all": frozenset(range(128)),
}
MODBUS_FUNCTIONS["unassigned"] = frozenset(range(128)) - MODBUS_FUNCTIONS["assigned"] - MODBUS_FUNCTIONS["user"]
MODBUS_ACCESS = {
    ("read", ""): {1, 2, 3, 4, 23}, ("read", "coils"): {1}, ("read", "discretes"): {2}, ("read", "input"): {4},
    ("read", "holding"): {3, 23}, ("write", ""): {5, 6, 15, 16, 22, 23}, ("write", "coils"): {5, 15},
    ("write", "holding"): {6, 16, 22, 23},
}  # fmt: skip
DNP3_NAMES = {
    "confirm": 0, "read": 1, "write": 2, "select": 3, "operate": 4, "direct_operate": 5, "direct_operate_nr": 6,
    "immed_freeze": 7, "immed_freeze_nr": 8, "freeze_clear": 9, "freeze_clear_nr": 10, "cold_restart": 13,
    "warm_restart": 14, "initialize_data": 15, "initialize_appl": 16, "start_appl": 17, "stop_appl": 18, "save_config": 19,
    "enable_unsolicited": 20, "disable_unsolicited": 21, "assign_class": 22, "delay_measure": 23, "record_current_time": 24,
    "open_file": 25, "close_file": 26, "delete_file": 27, "get_file_info": 28, "authenticate_file": 29, "abort_file": 30,
    "activate_config": 31, "authenticate_req": 32, "authenticate_err": 33, "response": 129, "unsolicited_response": 130,
    "authenticate_resp": 131,
}  # fmt: skip
DNP3_INDICATIONS = {  # bits of the two indication bytes, first byte high
    "all_stations": 0x0100, "class_1_events": 0x0200, "class_2_events": 0x0400, "class_3_events": 0x0800, "need_time": 0x1000,
    "local_control": 0x2000, "device_trouble": 0x4000, "device_restart": 0x8000, "no_func_code_support": 0x01,
    "object_unknown": 0x02, "parameter_error": 0x04, "event_buffer_overflow": 0x08, "already_executing": 0x10,
    "config_corrupt": 0x20, "reserved_2": 0x40, "reserved_1": 0x80,
}  # fmt: skip
FLAG_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128, "1": 128, "2": 64}
COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt, ">": operator.gt, "=": operator.eq, "<=": operator.le, ">=": operator.ge,
    "&": lambda value, wanted: value & wanted != 0, "^": lambda value, wanted: value ^ wanted != 0,
}  # fmt: skip


def understood(written: Written, header: Header, file: str) -> Rule:
    """Raises Unsupported at the first word this engine does not have."""
    return _Reading(written, header, file).rule()


class _Reading:
    """One pass over the options; contents gather per buffer, modifiers change the newest one."""

    def __init__(self, written: Written, header: Header, file: str) -> None:
        self._written = written
        self._buffer = PAYLOAD
        self._steps: dict[str, list[Step]] = {}
        self._newest: tuple[str, int] | None = None
        self._checks: list[Check] = []
        self._functions: frozenset[int] | None = None
        name = SAME_NAME.get(written.proto, written.proto)
        if name not in PROTOCOLS:
            raise Unsupported("protocol", f"{written.proto!r}; there are {', '.join(sorted(PROTOCOLS))}")
        if written.action in ("log", "config"):
            raise Unsupported("action", f"{written.action!r} does nothing in a sensor that only watches")
        protos, app = PROTOCOLS[name]
        self._rule = Rule(
            0, 0, "", "pass" if written.action == "pass" else "alert", written.line, file, written.text, protos, app,
            header.addresses(written.src), header.ports(written.sport), header.addresses(written.dst),
            header.ports(written.dport), written.direction == "<>", foreign=name in FOREIGN_PROTOCOLS,
        )  # fmt: skip

    def rule(self) -> Rule:
        for keyword, value in self._written.options:
            self._option(keyword, value)
        rule = self._rule
        if rule.sid <= 0:
            raise Unsupported("sid", "a rule needs a sid above 0")
        rule.steps = {buffer: tuple(steps) for buffer, steps in self._steps.items() if steps}
        rule.checks = tuple(self._checks)
        rule.functions = self._functions
        rule.of_message = bool(self._functions is not None or any(buffer != PAYLOAD for buffer in rule.steps)) or bool(
            rule.app and not rule.steps
        ) or any(getattr(check, "of_message", False) for check in rule.checks)  # fmt: skip
        return rule

    def _option(self, keyword: str, value: str) -> None:
        method = METHODS.get(keyword)
        buffer = SAME_BUFFER.get(keyword, keyword)
        if method is not None:
            method(self, keyword, value)
        elif buffer in STICKY:
            self._sticky(keyword, buffer, value)
        elif keyword in OLD_MODIFIERS:
            self._move(keyword, OLD_MODIFIERS[keyword])
        elif keyword in NUMBERS:
            self._number(keyword, value)
        elif keyword not in IGNORED:
            raise Unsupported(keyword, "this keyword is not supported")

    # ---- what the rule says about itself

    def _msg(self, keyword: str, value: str) -> None:
        text, negated = unquoted(keyword, value)
        if negated:
            raise Unsupported(keyword, "a message cannot be negated")
        self._rule.msg = re.sub(r"\\(.)", r"\1", text)

    def _sid(self, keyword: str, value: str) -> None:
        self._rule.sid = whole(keyword, value, 1, 0xFFFFFFFF)

    def _rev(self, keyword: str, value: str) -> None:
        self._rule.rev = whole(keyword, value, 0, 0xFFFFFFFF)

    def _priority(self, keyword: str, value: str) -> None:
        self._rule.severity = min(3, whole(keyword, value, 1, 255))

    def _classtype(self, keyword: str, value: str) -> None:
        self._rule.classtype = value
        if not any(name == "priority" for name, _ in self._written.options):
            self._rule.severity = PRIORITY.get(value, 3)

    def _reference(self, keyword: str, value: str) -> None:
        self._rule.references = (*self._rule.references, value)

    def _metadata(self, keyword: str, value: str) -> None:
        said = dict(self._rule.metadata)
        for part in value.split(","):
            word, _, content = part.strip().partition(" ")
            if word:
                said[word] = content.strip()
        self._rule.metadata = said
        if (technique := TECHNIQUE.search(" ".join(f"{k} {v}" for k, v in said.items()))) is not None:
            self._rule.technique = technique.group()

    def _noalert(self, keyword: str, value: str) -> None:
        self._rule.quiet = True

    # ---- contents

    def _sticky(self, keyword: str, buffer: str, value: str) -> None:
        if value:
            raise Unsupported(keyword, "a sticky buffer takes no value")
        self._need_app(keyword, STICKY[buffer])
        self._buffer = buffer
        self._rule.foreign |= buffer in FOREIGN

    def _pkt_data(self, keyword: str, value: str) -> None:
        self._buffer = PAYLOAD

    def _need_app(self, keyword: str, app: str) -> None:
        rule = self._rule
        if rule.app and rule.app != app:
            raise Unsupported(keyword, f"it belongs to {app}, the rule is about {rule.app}")
        if rule.protos and not rule.protos & PROTOCOLS[app][0]:
            raise Unsupported(keyword, f"{app} does not run over {self._written.proto}")
        rule.app = app
        rule.foreign |= app in FOREIGN_PROTOCOLS

    def _add(self, step: Step) -> None:
        steps = self._steps.setdefault(self._buffer, [])
        steps.append(step)
        self._newest = (self._buffer, len(steps) - 1)

    def _content(self, keyword: str, value: str) -> None:
        text, negated = unquoted(keyword, value)
        self._add(Content(pattern(keyword, text), negated))

    def _change(self, keyword: str, **changes: Any) -> None:
        if self._newest is None:
            raise Unsupported(keyword, "there is no content before it")
        buffer, index = self._newest
        step = self._steps[buffer][index]
        if not isinstance(step, Content):
            raise Unsupported(keyword, "it must stand behind a content")
        self._steps[buffer][index] = replace(step, **changes)

    def _newest_content(self, keyword: str) -> Content:
        step = self._steps[self._newest[0]][self._newest[1]] if self._newest else None
        if not isinstance(step, Content):
            raise Unsupported(keyword, "it must stand behind a content")
        return step

    def _nocase(self, keyword: str, value: str) -> None:
        self._change(keyword, nocase=True, pattern=self._newest_content(keyword).pattern.lower())

    def _place(self, keyword: str, value: str) -> None:
        low = -65535 if keyword == "distance" else 0
        self._change(keyword, **{keyword: whole(keyword, value, low, 65535)})

    def _depth(self, keyword: str, value: str) -> None:
        depth = whole(keyword, value, 0, 65535)
        if depth < len(self._newest_content(keyword).pattern):
            raise Unsupported(keyword, f"{keyword} {depth} is shorter than the content it limits")
        self._change(keyword, **{keyword: depth})

    def _startswith(self, keyword: str, value: str) -> None:
        self._change(keyword, offset=0, depth=len(self._newest_content(keyword).pattern))

    def _endswith(self, keyword: str, value: str) -> None:
        self._change(keyword, ends=True)

    def _fast(self, keyword: str, value: str) -> None:
        if value and not re.fullmatch(r"only|\d+\s*,\s*\d+", value):
            raise Unsupported(keyword, f"{value!r}")
        if value != "only":
            self._change(keyword, fast=True)

    def _move(self, keyword: str, buffer: str) -> None:
        """An old modifier: the newest content looks into another buffer."""
        step = self._newest_content(keyword)
        self._need_app(keyword, STICKY[buffer])
        assert self._newest is not None
        old, index = self._newest
        if old != buffer:
            del self._steps[old][index]
            steps = self._steps.setdefault(buffer, [])
            steps.append(step)
            self._newest = (buffer, len(steps) - 1)

    def _pcre(self, keyword: str, value: str) -> None:
        text, negated = unquoted(keyword, value)
        step, buffer = pcre(text, negated)
        before = self._buffer
        if buffer is not None:
            self._need_app(keyword, STICKY[buffer])
            self._buffer = buffer
        self._add(step)
        self._buffer = before

    def _byte_test(self, keyword: str, value: str) -> None:
        words = [word.strip() for word in value.split(",")]
        if len(words) < 4:
            raise Unsupported(keyword, "it needs bytes, operator, value, offset")
        sign = words[1]
        negated = sign.startswith("!") and sign != "!"
        compare = COMPARE.get(sign.lstrip("!") or "=")
        if compare is None:
            raise Unsupported(keyword, f"operator {sign!r}")
        negated = sign.startswith("!")
        more = byte_options(keyword, words[4:], {"relative", "little", "big", "string", "dec", "hex", "oct", "bitmask"})
        size = whole(keyword, words[0], 1, 23 if more["base"] else 8)
        self._add(
            ByteTest(
                size,
                compare,
                negated,
                whole(keyword, words[2], 0, 1 << 64),
                whole(keyword, words[3], -65535, 65535),
                more["relative"],
                more["little"],
                more["base"],
                more["bitmask"],
            )
        )

    def _byte_jump(self, keyword: str, value: str) -> None:
        words = [word.strip() for word in value.split(",")]
        if len(words) < 2:
            raise Unsupported(keyword, "it needs bytes and offset")
        known = {"relative", "little", "big", "string", "dec", "hex", "oct", "multiplier", "align", "from_beginning", "from_end",
                 "post_offset"}  # fmt: skip
        more = byte_options(keyword, words[2:], known)
        size = whole(keyword, words[0], 0, 23 if more["base"] else 8)
        self._add(
            ByteJump(
                size,
                whole(keyword, words[1], -65535, 65535),
                more["relative"],
                more["little"],
                more["base"],
                more["multiplier"],
                more["align"],
                more["start"],
                more["post_offset"],
            )
        )

    def _isdataat(self, keyword: str, value: str) -> None:
        words = [word.strip() for word in value.split(",")]
        negated = words[0].startswith("!")
        if any(word not in ("relative", "rawbytes") for word in words[1:]):
            raise Unsupported(keyword, f"{value!r}")
        self._add(DataAt(whole(keyword, words[0].lstrip("!"), 0, 65535), negated, "relative" in words[1:]))

    def _bsize(self, keyword: str, value: str) -> None:
        if self._buffer == PAYLOAD:
            raise Unsupported(keyword, "it stands behind no sticky buffer")
        span = numbers(keyword, value)
        self._add(Size(span.start, span.stop - 1))

    # ---- packets and flows

    def _dsize(self, keyword: str, value: str) -> None:
        negated = value.startswith("!")
        span = numbers(keyword, value.lstrip("!"))
        self._checks.append(lambda sight: (sight.size in span) is not negated)

    def _flow(self, keyword: str, value: str) -> None:
        rule = self._rule
        for word in (part.strip().lower() for part in value.split(",")):
            if word in ("to_server", "from_client"):
                rule.up = True
            elif word in ("to_client", "from_server"):
                rule.up = False
            elif word in ("established", "not_established"):
                rule.established = word == "established"
            elif word not in ("stateless", "only_stream", "no_stream", "no_frag"):
                raise Unsupported(keyword, f"{word!r}")

    def _flowbits(self, keyword: str, value: str) -> None:
        command, _, names = value.partition(",")
        command = command.strip().lower()
        bits = frozenset(name.strip() for name in names.split("|") if name.strip())
        if command == "noalert":
            self._rule.quiet = True
        elif command in ("isset", "isnotset") and bits:
            self._rule.bits = (*self._rule.bits, (command, bits))
        elif command in ("set", "unset", "toggle") and len(bits) == 1:
            self._rule.sets = (*self._rule.sets, (command, bits))
        else:
            raise Unsupported(keyword, f"{value!r}")

    def _threshold(self, keyword: str, value: str) -> None:
        said: dict[str, str] = {}
        for part in value.split(","):
            word, _, content = part.strip().partition(" ")
            said[word] = content.strip()
        kind = "filter" if keyword == "detection_filter" else said.get("type", "")
        track = said.get("track", "")
        if kind not in ("limit", "threshold", "both", "filter"):
            raise Unsupported(keyword, f"type {kind!r}")
        if track not in ("by_src", "by_dst", "by_both", "by_rule"):
            raise Unsupported(keyword, f"track {track!r}")
        count = whole(keyword, said.get("count", ""), 1, 100_000)
        seconds = whole(keyword, said.get("seconds", ""), 1, 7 * 86400)
        self._rule.limit = Limit(kind, track, count, seconds)  # type: ignore[arg-type]  # both were just checked

    def _flags(self, keyword: str, value: str) -> None:
        wanted, _, ignored = value.partition(",")
        mode = wanted[:1] if wanted[:1] in ("+", "*", "!") else ""
        letters = wanted.lstrip("+*!").strip().upper()
        if not letters or any(
            letter not in FLAG_BITS and letter != "0" for letter in letters + ignored.strip().upper()
        ):
            raise Unsupported(keyword, f"{value!r}")
        bits = sum({FLAG_BITS.get(letter, 0) for letter in letters})
        mask = 0xFF & ~sum({FLAG_BITS.get(letter, 0) for letter in ignored.strip().upper()})
        self._need_tcp(keyword)
        self._rule.flags = {
            "": lambda flags: flags & mask == bits, "+": lambda flags: flags & bits == bits,
            "*": lambda flags: flags & bits != 0, "!": lambda flags: flags & bits == 0,
        }[mode]  # fmt: skip

    def _need_tcp(self, keyword: str) -> None:
        if self._rule.protos and TCP not in self._rule.protos:
            raise Unsupported(keyword, "it needs a TCP rule")
        self._rule.protos = frozenset({TCP})

    def _icmp(self, keyword: str, value: str) -> None:
        if self._rule.protos and ICMP not in self._rule.protos:
            raise Unsupported(keyword, "it needs an ICMP rule")
        self._rule.protos = frozenset({ICMP})
        span = numbers(keyword, value)
        kind, code = self._rule.icmp
        self._rule.icmp = (span, code) if keyword == "itype" else (kind, span)

    def _sameip(self, keyword: str, value: str) -> None:
        self._checks.append(lambda sight: sight.src == sight.dst)

    # ---- application protocols

    def _app(self, keyword: str, value: str) -> None:
        name = SAME_NAME.get(value, value)
        if name.startswith("!"):
            wanted = SAME_NAME.get(name[1:], name[1:])
            self._checks.append(lambda sight: sight.flow is not None and sight.flow.app not in ("", wanted))
        elif name not in PROTOCOLS or not PROTOCOLS[name][1]:
            raise Unsupported(keyword, f"{value!r}")
        else:
            self._need_app(keyword, name)

    def _message_check(self, check: Callable[[Any], bool]) -> None:
        def whole_check(sight: Sight) -> bool:
            return sight.message is not None and check(sight.message)

        whole_check.of_message = True  # type: ignore[attr-defined]  # read where the rule is finished
        self._checks.append(whole_check)

    def _number(self, keyword: str, value: str) -> None:
        app, field = NUMBERS[keyword]
        self._need_app(keyword, app)
        self._rule.foreign |= keyword in FOREIGN
        negated = value.startswith("!")
        spans = [numbers(keyword, part) for part in value.lstrip("!").split(",")]
        if field == "function" and not negated and all(len(span) <= 4096 for span in spans):
            self._only(frozenset(n for span in spans for n in span))
            return

        def holds(message: Any) -> bool:
            there = getattr(message, field) if field in ("function", "address") else message.fields.get(field)
            return isinstance(there, int) and any(there in span for span in spans) is not negated

        self._message_check(holds)

    def _only(self, functions: frozenset[int]) -> None:
        self._functions = functions if self._functions is None else self._functions & functions

    def _mqtt_type(self, keyword: str, value: str) -> None:
        self._need_app(keyword, "mqtt")
        wanted = value.lower()
        self._message_check(lambda message: message.fields.get("type") == wanted)

    def _modbus(self, keyword: str, value: str) -> None:
        self._need_app(keyword, "modbus")
        for part in value.split(","):
            words = part.strip().replace(":", " ").split()
            if len(words) < 2:
                raise Unsupported(keyword, f"{part.strip()!r}")
            word, rest = words[0].lower(), words[1:]
            if word == "unit":
                span = numbers(keyword, " ".join(rest))
                self._message_check(lambda message, span=span: message.unit in span)  # type: ignore[misc]
            elif word == "function":
                self._modbus_function(keyword, rest)
            elif word == "subfunction":
                sub = whole(keyword, rest[0], 0, 0xFFFF)
                self._message_check(lambda message, sub=sub: message.fields.get("sub_function") == sub)  # type: ignore[misc]
            elif word == "access":
                kind = (rest[0].lower(), rest[1].lower() if len(rest) > 1 else "")
                if kind not in MODBUS_ACCESS:
                    raise Unsupported(keyword, f"{part.strip()!r}")
                self._only(frozenset(MODBUS_ACCESS[kind]))
            elif word == "address":
                span = numbers(keyword, " ".join(rest))
                self._message_check(lambda message, span=span: touches(message, span))  # type: ignore[misc]
            elif word == "value":
                span = numbers(keyword, " ".join(rest))
                self._message_check(lambda message, span=span: any(v in span for v in message.values))  # type: ignore[misc]
            else:
                raise Unsupported(keyword, f"{word!r}")

    def _modbus_function(self, keyword: str, rest: Sequence[str]) -> None:
        name = rest[0].lower()
        negated = name.startswith("!")
        name = name.lstrip("!")
        functions = MODBUS_FUNCTIONS[name] if name in MODBUS_FUNCTIONS else frozenset({whole(keyword, name, 0, 255)})
        self._only(frozenset(range(256)) - functions if negated else functions)
        if len(rest) > 2 and rest[1].lower() == "subfunction":
            sub = whole(keyword, rest[2], 0, 0xFFFF)
            self._message_check(lambda message: message.fields.get("sub_function") == sub)

    def _dnp3_func(self, keyword: str, value: str) -> None:
        self._need_app(keyword, "dnp3")
        name = value.lower()
        self._only(frozenset({DNP3_NAMES[name] if name in DNP3_NAMES else whole(keyword, value, 0, 255)}))

    def _dnp3_ind(self, keyword: str, value: str) -> None:
        self._need_app(keyword, "dnp3")
        names = [name.strip().lower() for name in value.split(",")]
        if any(name not in DNP3_INDICATIONS for name in names):
            raise Unsupported(keyword, f"{value!r}")
        bits = sum(DNP3_INDICATIONS[name] for name in set(names))
        self._message_check(lambda message: message.fields.get("indications", 0) & bits != 0)

    def _dnp3_obj(self, keyword: str, value: str) -> None:
        self._need_app(keyword, "dnp3")
        group, _, variation = value.partition(",")
        wanted = (whole(keyword, group, 0, 255), whole(keyword, variation, 0, 255))
        self._message_check(lambda message: wanted in message.fields.get("objects", ()))

    def _cip_service(self, keyword: str, value: str) -> None:
        """service[, class[, attribute]]: of the request or of anything it carries."""
        self._need_app(keyword, "enip")
        words = [whole(keyword, word, 0, 0xFFFF) for word in value.split(",")]
        if len(words) > 3:
            raise Unsupported(keyword, "service, class and attribute are all it takes")
        wanted = tuple(words)
        self._message_check(lambda message: any(one[: len(wanted)] == wanted for one in message.fields.get("cip", ())))


Method = Callable[[_Reading, str, str], None]
METHODS: Mapping[str, Method] = {
    "msg": _Reading._msg, "sid": _Reading._sid, "rev": _Reading._rev, "priority": _Reading._priority,
    "classtype": _Reading._classtype, "reference": _Reading._reference, "metadata": _Reading._metadata,
    "noalert": _Reading._noalert, "content": _Reading._content, "nocase": _Reading._nocase, "offset": _Reading._place,
    "distance": _Reading._place, "depth": _Reading._depth, "within": _Reading._depth, "startswith": _Reading._startswith,
    "endswith": _Reading._endswith, "fast_pattern": _Reading._fast, "pcre": _Reading._pcre, "byte_test": _Reading._byte_test,
    "byte_jump": _Reading._byte_jump, "isdataat": _Reading._isdataat, "bsize": _Reading._bsize, "dsize": _Reading._dsize,
    "flow": _Reading._flow, "flowbits": _Reading._flowbits, "threshold": _Reading._threshold,
    "detection_filter": _Reading._threshold, "flags": _Reading._flags, "tcp.flags": _Reading._flags,
    "itype": _Reading._icmp, "icode": _Reading._icmp, "sameip": _Reading._sameip, "pkt_data": _Reading._pkt_data,
    "app-layer-protocol": _Reading._app, "mqtt.type": _Reading._mqtt_type, "modbus": _Reading._modbus,
    "dnp3_func": _Reading._dnp3_func, "dnp3_ind": _Reading._dnp3_ind, "dnp3_obj": _Reading._dnp3_obj,
    "cip_service": _Reading._cip_service,
}  # fmt: skip


def whole(keyword: str, text: str, low: int, high: int) -> int:
    text = text.strip()
    try:
        value = int(text, 16) if text.lower().startswith("0x") else int(text)
    except ValueError:
        raise Unsupported(keyword, f"{text[:40]!r} is no whole number") from None
    if not low <= value <= high:
        raise Unsupported(keyword, f"{value} is not within {low} to {high}")
    return value


def numbers(keyword: str, text: str) -> range:
    """N, <N, >N, <=N, >=N, A<>B (between, without the ends), A-B (with them)."""
    text = text.strip()
    most = 1 << 32
    if "<>" in text:
        low, _, high = text.partition("<>")
        return range(whole(keyword, low, 0, most) + 1, whole(keyword, high, 0, most))
    for sign, shift in (("<=", 1), (">=", 0), ("<", 0), (">", 1)):
        if text.startswith(sign):
            value = whole(keyword, text[len(sign) :], 0, most) + shift
            return range(value) if sign[0] == "<" else range(value, most + 1)
    if "-" in text[1:]:
        low, _, high = text.partition("-")
        return range(whole(keyword, low, 0, most), whole(keyword, high, 0, most) + 1)
    value = whole(keyword, text, 0, most)
    return range(value, value + 1)


def touches(message: Any, span: range) -> bool:
    """Whether an address range overlaps with what the message reads or writes.

    Suricata counts as the Modbus data model does, from 1: `address 41` is 40 on the wire.
    """
    if message.address < 0:
        return False
    first = message.address + 1
    return first < span.stop and first + max(message.count, 1) > span.start


def byte_options(keyword: str, words: Sequence[str], known: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "relative": False, "little": False, "base": 0, "bitmask": 0, "multiplier": 1, "align": False, "start": "", "post_offset": 0,
    }  # fmt: skip
    string = False
    for word in words:
        name, _, value = word.partition(" ")
        name = name.lower()
        if name == "endian":
            name = value.strip().lower()
        if name not in known:
            raise Unsupported(keyword, f"option {word!r}")
        if name in ("relative", "align"):
            found[name] = True
        elif name == "little":
            found["little"] = True
        elif name == "string":
            string = True
        elif name in ("dec", "hex", "oct"):
            found["base"] = {"dec": 10, "hex": 16, "oct": 8}[name]
        elif name == "bitmask":
            found["bitmask"] = int(value, 16) if value.lower().startswith("0x") else whole(keyword, value, 1, 1 << 64)
        elif name in ("multiplier", "post_offset"):
            found[name] = whole(keyword, value, -65535, 65535)
        elif name in ("from_beginning", "from_end"):
            found["start"] = name[5:]
    if string and not found["base"]:
        found["base"] = 10
    if found["base"] and not string:
        raise Unsupported(keyword, "dec, hex and oct need string")
    return found
