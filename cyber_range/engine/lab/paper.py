"""The scripted blue team on paper: whether its script wins with these draws, judged without launching anything.

What can be known beforehand is known: answers handed in, what a firewall rule catches and what it must not catch, which
accounts are closed, which points are written back. What only the plant can say (bands, counts, polls) is left to the
bots; `Verdict.left` names it. Pure, so fifty seeds take seconds.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cyber_range.engine.lab.compile import Compiled
from cyber_range.engine.lab.submissions import is_right
from cyber_range.engine.scenario.model import (
    Check,
    FlowAliveCheck,
    FlowBlockedCheck,
    LoginCheck,
    PollAliveCheck,
    RegisterValueCheck,
    SolverExec,
    SolverSubmit,
    StateCheck,
    SubmissionCheck,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One block that the script puts on a firewall. Empty matches everything."""

    source: str = ""
    target: str = ""
    port: str = ""

    def catches(self, source: str, target: str, port: int) -> bool:
        return _in(source, self.source) and _in(target, self.target) and self.port in ("", str(port))


@dataclass(slots=True)
class Paper:
    """What the script has done so far."""

    rules: list[Rule] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    written: dict[tuple[str, str, str], str] = field(default_factory=dict)  # (host, table, address) -> value
    closed: set[tuple[str, str]] = field(default_factory=set)  # (host, user): another password, or disabled
    blocked_names: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`faults`: objectives that this script cannot win, and why. `left`: kinds of checks that only a range can judge."""

    faults: tuple[str, ...]
    left: frozenset[str]


def on_paper(compiled: Compiled) -> Verdict:
    scenario = compiled.scenario
    paper, faults, left = Paper(), [], set()
    for action in scenario.solver:
        if isinstance(action, SolverSubmit):
            paper.answers[action.objective] = action.value
        elif isinstance(action, SolverExec):
            note(paper, list(action.argv))
    for objective in scenario.objectives:
        for check in objective.checks:
            fault = judge(check, objective.id, paper, compiled)
            if fault is None:
                left.add(check.kind)
            elif fault:
                faults.append(f"{objective.id}: {fault}")
    faults += [f"production: {what} is cut by the script's own rule" for what in _cut(paper, compiled)]
    return Verdict(tuple(faults), frozenset(left))


def note(paper: Paper, argv: list[str]) -> None:
    """One command line of the script."""
    match argv:
        case ["lb-fw", "block", source, *options]:
            given = _options(options)
            paper.rules.append(Rule("" if source == "any" else source, given.get("dst", ""), given.get("port", "")))
        case ["lb-modbus", "write", host, table, address, value, *_]:
            paper.written[host, table, address] = value
        case ["lb-ssh", login, *rest] if "passwd" in rest:
            paper.closed.add((login.partition("@")[2], rest[rest.index("passwd") + 1]))
        case ["lb-ssh", login, *rest] if "disable" in rest:
            paper.closed.add((login.partition("@")[2], rest[rest.index("disable") + 1]))
        case ["lb-web", "put", url, *_]:
            parts = urllib.parse.urlsplit(url)
            match urllib.parse.unquote(parts.path).strip("/").split("/"):
                case ["blocked", domain]:
                    paper.blocked_names.add(domain.lower())
                case ["accounts", user, "password" | "state"]:
                    paper.closed.add((parts.hostname or "", user))


def judge(check: Check, objective: str, paper: Paper, compiled: Compiled) -> str | None:
    """A fault in words, "" when it holds on paper, None when only a range can tell."""
    if isinstance(check, SubmissionCheck):
        if objective not in paper.answers:
            return "the script hands nothing in"
        return "" if is_right(check, paper.answers[objective]) else f"{paper.answers[objective]!r} is not the answer"
    if isinstance(check, FlowBlockedCheck):
        target = compiled.address(check.target, check.zone)
        sources = [leg.ip for leg in compiled.plan.node(check.source).interfaces]
        caught = any(rule.catches(source, target, int(check.port)) for rule in paper.rules for source in sources)
        # Closing a door in another way (a rule deleted, a service stopped) is for the range to see.
        return "" if caught else None
    if isinstance(check, LoginCheck) and check.kind == "login_fails":
        return "" if (compiled.address(check.target), check.user) in paper.closed else None
    if isinstance(check, RegisterValueCheck) and getattr(check, "tag", None) is None:
        addresses = [leg.ip for leg in compiled.plan.node(check.node).interfaces]
        values = [paper.written[key] for key in _points(addresses, check) if key in paper.written]
        if not values:
            return None
        return "" if _fits(float(values[-1]), check) else f"{check.table} {check.address} is left at {values[-1]}"
    if isinstance(check, StateCheck) and check.ask == "blocked":
        name = str(check.args.get("domain", "")).lower()
        held = any(name == one or name.endswith(f".{one}") for one in paper.blocked_names)
        return "" if held == bool(check.equals) else f"{name} is not blocked"
    return None


def _points(addresses: list[str], check: RegisterValueCheck) -> Iterator[tuple[str, str, str]]:
    for address in addresses:
        yield address, str(check.table), str(check.address)


def _fits(value: float, check: RegisterValueCheck) -> bool:
    if check.equals is not None:
        return value == float(check.equals)
    return (check.low is None or value >= float(check.low)) and (check.high is None or value <= float(check.high))


def _cut(paper: Paper, compiled: Compiled) -> Iterator[str]:
    """Legitimate traffic that the script's blocks would catch."""
    production = compiled.scenario.production
    for poll in production.polls if production else ():
        assert isinstance(poll, PollAliveCheck | FlowAliveCheck)
        for source in compiled.plan.node(poll.client).interfaces:
            for target in compiled.plan.node(poll.server).interfaces:
                if any(rule.catches(source.ip, target.ip, int(poll.port)) for rule in paper.rules):
                    yield f"{poll.client} to {poll.server}:{poll.port}"
                    break


def _options(words: list[str]) -> Mapping[str, str]:
    found, rest = {}, iter(words)
    for word in rest:
        if word.startswith("--"):
            found[word[2:]] = next(rest, "")
    return found


def _in(address: str, place: str) -> bool:
    if not place:
        return True
    try:
        return ipaddress.IPv4Address(address) in ipaddress.IPv4Network(place, strict=False)
    except ValueError:
        return False
