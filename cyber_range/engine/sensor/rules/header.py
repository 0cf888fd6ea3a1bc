"""Addresses and ports of a rule's header: any, single ones, networks, ranges, [groups], !negation, $variables."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cyber_range.engine.sensor.rules.text import Unsupported

PRIVATE = "[10.0.0.0/8,172.16.0.0/12,192.168.0.0/16]"
NOBODY = "255.255.255.255"
VARIABLES: Mapping[str, str] = {
    "HOME_NET": PRIVATE, "EXTERNAL_NET": "!$HOME_NET", "CONTROLLERS": NOBODY, "MASTERS": "$HOME_NET",
    "KNOWN_MASTERS": NOBODY,
    "HTTP_SERVERS": "$HOME_NET", "SMTP_SERVERS": "$HOME_NET", "SQL_SERVERS": "$HOME_NET", "DNS_SERVERS": "$HOME_NET",
    "TELNET_SERVERS": "$HOME_NET", "MODBUS_SERVER": "$HOME_NET", "MODBUS_CLIENT": "$HOME_NET",
    "DNP3_SERVER": "$HOME_NET", "DNP3_CLIENT": "$HOME_NET", "ENIP_SERVER": "$HOME_NET", "ENIP_CLIENT": "$HOME_NET",
    "DC_SERVERS": "$HOME_NET", "AIM_SERVERS": "$EXTERNAL_NET",
    "HTTP_PORTS": "[80,8000,8080]", "SSH_PORTS": "22", "ORACLE_PORTS": "1521", "SHELLCODE_PORTS": "!80", "FTP_PORTS": "21",
    "FILE_DATA_PORTS": "[$HTTP_PORTS,110,143]", "MODBUS_PORTS": "502", "S7_PORTS": "102", "DNP3_PORTS": "20000",
    "ENIP_PORTS": "44818", "IEC104_PORTS": "2404", "OPCUA_PORTS": "4840", "BACNET_PORTS": "47808", "MQTT_PORTS": "[1883,8883]",
}  # fmt: skip
DEPTH_LIMIT, PARTS_LIMIT = 12, 4096
LAST_ADDRESS, LAST_PORT = 0xFFFFFFFF, 65535
Read = Callable[[str, str], tuple[int, int]]
Spans = tuple[tuple[int, int], ...]  # inclusive, sorted, apart from each other


@dataclass(frozen=True)
class Addresses:
    """A set of addresses or of ports."""

    spans: Spans

    def has(self, value: int) -> bool:
        return any(first <= value <= last for first, last in self.spans)


class Header:
    """Reads both kinds of words with the variables of one sensor."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = {**VARIABLES, **(variables or {})}

    def addresses(self, word: str) -> Addresses:
        return self._set("address", word, _network, LAST_ADDRESS)

    def ports(self, word: str) -> Addresses:
        return self._set("port", word, _port_range, LAST_PORT)

    def _set(self, what: str, word: str, read: Read, last: int) -> Addresses:
        spans = self._spans(what, word, read, last, DEPTH_LIMIT)
        if not spans:
            raise Unsupported(what, f"{word!r} matches nothing")
        return Addresses(spans)

    def _spans(self, what: str, word: str, read: Read, last: int, depth: int) -> Spans:
        if depth == 0:
            raise Unsupported(what, "groups and variables are nested too deeply")
        word = word.strip()
        if word.startswith("!"):
            return without(((0, last),), self._spans(what, word[1:], read, last, depth - 1))
        if word.startswith("$"):
            value = self._variables.get(word[1:])
            if value is None:
                raise Unsupported(
                    what, f"variable {word} is not defined; there are {', '.join(sorted(self._variables))}"
                )
            return self._spans(what, value, read, last, depth - 1)
        if word.startswith("["):
            if not word.endswith("]"):
                raise Unsupported(what, f"{word!r}: a [ without its ]")
            return self._group(what, _parts(word[1:-1]), read, last, depth - 1)
        if word == "any":
            return ((0, last),)
        low, high = read(what, word)
        if low > high:
            raise Unsupported(what, f"{word!r} ends before it begins")
        return ((low, high),)

    def _group(self, what: str, parts: list[str], read: Read, last: int, depth: int) -> Spans:
        """What is listed, less what is listed with a !; with nothing but !, all but that."""
        if len(parts) > PARTS_LIMIT:
            raise Unsupported(what, f"a group of more than {PARTS_LIMIT}")
        listed = [self._spans(what, part, read, last, depth) for part in parts if not part.strip().startswith("!")]
        left_out = [
            self._spans(what, part.strip()[1:], read, last, depth) for part in parts if part.strip().startswith("!")
        ]
        inside = joined(span for spans in listed for span in spans) if listed else ((0, last),)
        return without(inside, joined(span for spans in left_out for span in spans))


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def without(spans: Spans, less: Spans) -> Spans:
    found: list[tuple[int, int]] = []
    for first, last in spans:
        for low, high in less:
            if high < first or low > last:
                continue
            if low > first:
                found.append((first, low - 1))
            first = high + 1
        if first <= last:
            found.append((first, last))
    return tuple(found)


def _parts(text: str) -> list[str]:
    parts, depth, part = [], 0, ""
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += letter
    parts.append(part)
    return [one for one in parts if one.strip()]


def _network(what: str, word: str) -> tuple[int, int]:
    if ":" in word:
        raise Unsupported(what, f"{word!r}: IPv6 is off in a range")
    try:
        if "-" in word:
            first, _, last = word.partition("-")
            return int(ipaddress.IPv4Address(first.strip())), int(ipaddress.IPv4Address(last.strip()))
        network = ipaddress.IPv4Network(word, strict=False)
    except ValueError:
        raise Unsupported(what, f"{word!r} is no IPv4 address or network") from None
    return int(network.network_address), int(network.broadcast_address)


def _port_range(what: str, word: str) -> tuple[int, int]:
    first, colon, last = word.partition(":")
    try:
        low = int(first) if first else 0
        high = (int(last) if last else 65535) if colon else low
    except ValueError:
        raise Unsupported(what, f"{word!r} is no port") from None
    if not (0 <= low <= 65535 and 0 <= high <= 65535):
        raise Unsupported(what, f"{word!r}: ports end at 65535")
    return low, high
