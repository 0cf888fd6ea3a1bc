"""All rules of a sensor: loaded, sorted by what they can match, asked with what a conversation says.

A direction of a conversation gets a `Plan` once: the rules whose header fits it. Addresses and ports fall into few
classes (which of the headers' sets hold them), so plans are shared and a new conversation costs a few lookups.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cyber_range.engine.sensor.flows import Flow
from cyber_range.engine.sensor.rules.content import Content, Step, found
from cyber_range.engine.sensor.rules.header import Addresses, Header
from cyber_range.engine.sensor.rules.keywords import understood
from cyber_range.engine.sensor.rules.limits import Counter
from cyber_range.engine.sensor.rules.needles import Needles
from cyber_range.engine.sensor.rules.rule import PAYLOAD, Rule, Sight
from cyber_range.engine.sensor.rules.text import RULES_LIMIT, Problem, Unsupported, cut, lines_of, sid_of

CLASSES_LIMIT = 65_536  # remembered addresses
SLOW = 0.05  # s of one rule on one payload after which it is switched off

Rules = tuple[Rule, ...]


def load(text: str, file: str, variables: Mapping[str, str] | None = None) -> tuple[list[Rule], list[Problem]]:
    """Every rule that is understood, and one problem for each that is not. Never raises, whatever the text."""
    rules: list[Rule] = []
    problems: list[Problem] = []
    header = Header(variables)
    seen: dict[int, int] = {}
    for number, line in lines_of(text):
        try:
            rule = understood(cut(number, line), header, file)
            if rule.sid in seen:
                raise Unsupported("sid", f"{rule.sid} stands in line {seen[rule.sid]} already")
            if len(rules) >= RULES_LIMIT:
                raise Unsupported("file", f"more than {RULES_LIMIT} rules")
        except Unsupported as exc:
            problems.append(Problem(file, number, sid_of(line), exc.keyword, exc.reason))
        except Exception as exc:  # a rule of a stranger may break what its writer did not think of, never the sensor
            problems.append(
                Problem(file, number, sid_of(line), "rule", f"not understood ({type(exc).__name__}: {exc})")
            )
        else:
            seen[rule.sid] = number
            rules.append(rule)
    return rules, problems


class Raw:
    """Rules that look into payloads: those with a content first by the needles, the others always."""

    __slots__ = ("_always", "_needles", "_rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: list[Rule] = []
        needles: list[bytes] = []
        always: list[Rule] = []
        for rule in rules:
            needle = needle_of(rule.steps.get(PAYLOAD, ()))
            if needle is None:
                always.append(rule)
            else:
                self._rules.append(rule)
                needles.append(needle)
        self._always: Rules = tuple(always)
        self._needles = Needles(needles) if needles else None

    def candidates(self, data: bytes) -> Sequence[Rule]:
        if self._needles is None:
            return self._always
        hits = self._needles.hits(data)
        if not hits:
            return self._always
        return [*self._always, *(self._rules[index] for index in hits)]


def needle_of(steps: Sequence[Step]) -> bytes | None:
    """The content that a payload must hold: the one marked fast_pattern, else the longest."""
    contents = [step for step in steps if isinstance(step, Content) and not step.negated]
    if not contents:
        return None
    return max(contents, key=lambda step: (step.fast, len(step.pattern))).pattern


@dataclass(slots=True)
class OfApp:
    """Rules for the messages of one protocol: by function where they name some, else for each message."""

    by_function: dict[int, Rules]
    always: Rules

    def candidates(self, function: int) -> Rules:
        named = self.by_function.get(function)
        if named is None:
            return self.always
        return named + self.always if self.always else named


NO_RULES = OfApp({}, ())


class Plan:
    """The rules that can match one direction of one kind of conversation."""

    __slots__ = ("_by_flags", "_packet", "apps", "packet", "raw")

    def __init__(self, rules: Sequence[Rule]) -> None:
        grouped: dict[str, list[Rule]] = {}
        raw, packet = [], []
        for rule in rules:
            if rule.of_message:
                grouped.setdefault(rule.app, []).append(rule)
            elif rule.steps:
                raw.append(rule)
            else:
                packet.append(rule)
        self.apps = {app: _of_app(of) for app, of in grouped.items()}
        self.raw = Raw(raw) if raw else None
        self._packet: Rules = tuple(packet)
        self.packet = bool(packet)
        self._by_flags: dict[int, Rules] = {}

    def of(self, app: str) -> OfApp:
        return self.apps.get(app, NO_RULES)

    def of_packet(self, flags: int) -> Rules:
        """Rules about packets themselves; the TCP flags are judged here once per combination."""
        rules = self._by_flags.get(flags)
        if rules is None:
            rules = self._by_flags[flags] = tuple(r for r in self._packet if r.flags is None or r.flags(flags))
        return rules


def _of_app(rules: Sequence[Rule]) -> OfApp:
    by_function: dict[int, list[Rule]] = {}
    always = []
    for rule in rules:
        if rule.functions is None or len(rule.functions) > 512:
            always.append(rule)
        else:
            for function in rule.functions:
                by_function.setdefault(function, []).append(rule)
    return OfApp({function: tuple(of) for function, of in by_function.items()}, tuple(always))


class Book:
    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        # pass rules first: what one of them matches is not said by any other; then those that set bits others test
        self.rules = sorted(
            rules, key=lambda rule: (rule.action != "pass", not rule.sets, bool(rule.bits), rule.severity, rule.sid)
        )
        self.problems: list[Problem] = []
        self._addresses: list[Addresses] = []
        self._ports: list[Addresses] = []
        self._heads = [
            (
                rule, _number(self._addresses, rule.src), _number(self._ports, rule.sport),
                _number(self._addresses, rule.dst), _number(self._ports, rule.dport),
            )
            for rule in self.rules
        ]  # fmt: skip
        self._address_class: dict[bytes, int] = {}
        self._port_class: dict[int, int] = {}
        self._plans: dict[tuple[int, int, int, int, int, bool], Plan] = {}
        self._counters = {rule.sid: Counter(rule.limit) for rule in self.rules if rule.limit is not None}
        self._off: set[int] = set()

    def plan(self, proto: int, src: bytes, sport: int, dst: bytes, dport: int, up: bool) -> Plan:
        classes = self._address_class
        a, b = classes.get(src), classes.get(dst)
        if a is None:
            a = self._classify(src)
        if b is None:
            b = self._classify(dst)
        p, q = self._port_class.get(sport), self._port_class.get(dport)
        if p is None:
            p = self._port_class[sport] = _class(self._ports, sport)
        if q is None:
            q = self._port_class[dport] = _class(self._ports, dport)
        key = (proto, a, p, b, q, up)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan([rule for rule, *sets in self._heads if _fits(rule, sets, key)])
        return plan

    def _classify(self, address: bytes) -> int:
        if len(self._address_class) >= CLASSES_LIMIT:
            self._address_class.clear()
        found = self._address_class[address] = _class(self._addresses, int.from_bytes(address, "big"))
        return found

    def matches(self, rules: Sequence[Rule], sight: Sight) -> list[Rule]:
        """The rules to be said about this sight: all conditions hold, flowbits are set, limits are counted."""
        said: list[Rule] = []
        for rule in rules:
            if rule.sid in self._off or not self._holds(rule, sight):
                continue
            if rule.sets and sight.flow is not None:
                _set_bits(sight.flow, rule)
            if rule.action == "pass":
                return []
            counter = self._counters.get(rule.sid)
            if counter is not None and not counter.passes(sight.at, sight.src, sight.dst):
                continue
            if not rule.quiet:
                said.append(rule)
        return said

    def _holds(self, rule: Rule, sight: Sight) -> bool:
        flow = sight.flow
        if rule.established is not None and (flow is not None and flow.answered) is not rule.established:
            return False
        if rule.up is not None and sight.up is not rule.up:
            return False
        if rule.flags is not None and not rule.flags(sight.flags):
            return False
        message = sight.message
        if rule.functions is not None and (message is None or message.function not in rule.functions):
            return False
        if rule.app and not (message.proto == rule.app if message else flow is not None and flow.app == rule.app):
            return False
        if rule.icmp != (None, None) and not _icmp(rule, sight.payload):
            return False
        for check in rule.checks:
            if not check(sight):
                return False
        for command, bits in rule.bits:
            held = flow.bits if flow is not None and flow.bits is not None else ()
            if any(bit in held for bit in bits) is not (command == "isset"):
                return False
        if not rule.steps:
            return True
        began = time.perf_counter()
        for buffer, steps in rule.steps.items():
            if buffer == PAYLOAD:
                data = sight.payload
            elif message is None or buffer not in message.buffers:
                return False
            else:
                data = message.buffers[buffer]
            if not found(steps, data):
                self._watch(rule, time.perf_counter() - began)
                return False
        self._watch(rule, time.perf_counter() - began)
        return True

    def _watch(self, rule: Rule, seconds: float) -> None:
        """One rule must not cost what all of them have: it is switched off and reported."""
        if seconds > SLOW:
            self._off.add(rule.sid)
            reason = f"switched off: it took {seconds * 1000:.0f} ms on one payload"
            self.problems.append(Problem(rule.file, rule.line, rule.sid, "pcre", reason))


def _number(known: list[Addresses], one: Addresses) -> int:
    if one not in known:
        known.append(one)
    return known.index(one)


def _class(sets: Sequence[Addresses], value: int) -> int:
    """One bit per set that holds the value."""
    return sum(1 << index for index, one in enumerate(sets) if one.has(value))


def _fits(rule: Rule, sets: Sequence[int], key: tuple[int, int, int, int, int, bool]) -> bool:
    proto, a, p, b, q, up = key
    if rule.protos and proto not in rule.protos:
        return False
    if rule.up is not None and rule.up is not up:
        return False
    src, sport, dst, dport = sets
    if a >> src & 1 and p >> sport & 1 and b >> dst & 1 and q >> dport & 1:
        return True
    return bool(rule.both_ways and b >> src & 1 and q >> sport & 1 and a >> dst & 1 and p >> dport & 1)


def _set_bits(flow: Flow, rule: Rule) -> None:
    if flow.bits is None:
        flow.bits = set()
    for command, bits in rule.sets:
        if command == "set":
            flow.bits |= bits
        elif command == "unset":
            flow.bits -= bits
        else:
            flow.bits ^= bits


def _icmp(rule: Rule, data: bytes) -> bool:
    kind, code = rule.icmp
    if len(data) < 2:
        return False
    return (kind is None or data[0] in kind) and (code is None or data[1] in code)
