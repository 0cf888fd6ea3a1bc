"""One set of rules, two firewalls: the pure one and the kernel's must list, order and refuse alike."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.agents.context import FilterRule
from cyber_range.engine.agents.packet_filter import PacketFilter, checked

STORY = """
import asyncio, json, pathlib, sys, tempfile
from cyber_range.engine.agents import nft, packet_filter
nft.BASELINE = pathlib.Path(tempfile.mkdtemp()) / "forward.json"

async def story(firewall):
    await firewall.install([
        {"action": "accept", "src": "10.0.0.7/28", "dst": "10.0.1.5", "proto": "tcp", "dport": "502", "comment": "主站"},
        {"action": "accept", "proto": "udp", "dport": "100-200", "iif": "eth0", "oif": "eth1"},
    ], "drop")
    early = await firewall.add({"action": "drop", "src": "10.9.9.9", "early": True})
    await firewall.add({"action": "reject", "src": "10.9.9.8", "early": True}, first=True)
    await firewall.add({"action": "accept", "proto": "icmp"})
    await firewall.add({"action": "accept", "proto": "tcp"}, first=True)
    told = [await said(firewall)]
    await firewall.delete(early)
    told.append(await said(firewall))
    for wrong in (firewall.delete(4711), firewall.add({"action": "maybe"}), firewall.add({"action": "drop", "dport": "5"})):
        try:
            await wrong
        except (LookupError, ValueError) as exc:
            told.append(str(exc))
    await firewall.restore()
    told.append(await said(firewall))
    told.append((await firewall.default())["action"])
    return told

async def said(firewall):
    return [{k: v for k, v in rule.items() if k != "handle"} for rule in await firewall.rules()]

kind = nft.NftFirewall if sys.argv[1] == "kernel" else packet_filter.PacketFilter
print(json.dumps(asyncio.run(story(kind())), sort_keys=True))
"""


def told(kind: str, *before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-c", STORY, kind],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )


@pytest.mark.netns
def test_the_kernel_and_the_pure_firewall_tell_the_same_story() -> None:
    kernel = told("kernel", "unshare", "--user", "--map-root-user", "--net")
    if "unshare" in kernel.stderr or "No such file" in kernel.stderr or "not permitted" in kernel.stderr:
        pytest.skip(f"no unprivileged user namespaces with nftables here: {kernel.stderr.strip()[-200:]}")
    pure = told("pure")

    assert kernel.returncode == pure.returncode == 0, kernel.stderr + pure.stderr
    assert json.loads(kernel.stdout) == json.loads(pure.stdout)


def decided(rules: list[FilterRule], **packet: Any) -> str:
    firewall = PacketFilter()
    asyncio.run(firewall.install(rules, "drop"))
    return firewall.decide(**{"src": "10.0.0.1", "dst": "10.0.1.5", "proto": "tcp", "dport": 502, **packet})


ALLOW: FilterRule = {"action": "accept", "src": "10.0.0.0/28", "dst": "10.0.1.5", "proto": "tcp", "dport": "500-510"}


@pytest.mark.parametrize(
    ("rules", "packet", "verdict"),
    [
        ([ALLOW], {}, "accept"),
        ([ALLOW], {"src": "10.0.0.99"}, "drop"),
        ([ALLOW], {"dport": 511}, "drop"),
        ([ALLOW], {"proto": "udp"}, "drop"),
        ([], {"established": True}, "accept"),
        ([{"action": "drop", "src": "10.0.0.1"}], {"established": True}, "accept"),
        ([{"action": "drop", "src": "10.0.0.1", "early": True}], {"established": True}, "drop"),
        ([ALLOW, {"action": "reject", "dst": "10.0.1.5", "early": True}], {}, "reject"),
        ([{"action": "accept", "iif": "eth0"}], {"iif": "eth0"}, "accept"),
        ([{"action": "accept", "iif": "eth0"}], {"iif": "eth1"}, "drop"),
    ],
)
def test_a_packet_meets_the_first_rule_that_fits(rules: list[FilterRule], packet: dict[str, Any], verdict: str) -> None:
    assert decided(rules, **packet) == verdict


async def test_the_deciding_rule_counts_the_packet() -> None:
    firewall = PacketFilter()
    await firewall.install([ALLOW], "drop")

    for source in ("10.0.0.1", "10.0.0.1", "10.5.5.5"):
        firewall.decide(src=source, dst="10.0.1.5", proto="tcp", dport=502, size=60)

    assert [(r["packets"], r["bytes"]) for r in await firewall.rules()] == [(2, 120)]
    assert (await firewall.default())["packets"] == 1


@given(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["accept", "drop", "reject"])},
        optional={
            "src": st.ip_addresses(v=4).map(str),
            "dst": st.sampled_from(["10.0.0.0/8", "10.1.2.3/32", "10.1.2.3/28"]),
            "proto": st.sampled_from(["tcp", "udp"]),
            "comment": st.text(max_size=80),
            "early": st.booleans(),
        },
    )
)
def test_checking_twice_changes_nothing(rule: FilterRule) -> None:
    assert checked(checked(rule)) == checked(rule)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"action": "allow"}, "action is one of accept, drop, reject"),
        ({"action": "drop", "src": "10.0.0.0/40"}, "is no IPv4 address or network"),
        ({"action": "drop", "proto": "tcp", "dport": "70000"}, "is no port"),
        ({"action": "drop", "proto": "tcp", "dport": "9-3"}, "is no port"),
        ({"action": "drop", "iif": "a" * 16}, "is not an interface name"),
    ],
)
def test_a_wrong_rule_is_refused_in_words(rule: FilterRule, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        checked(rule)
