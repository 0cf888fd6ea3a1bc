"""Files of rules: what is understood, what is reported with place and word, and that nothing ever raises."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cyber_range.engine.sensor.rules.book import load
from cyber_range.engine.sensor.rules.header import Header, joined, without
from cyber_range.engine.sensor.rules.keywords import METHODS
from cyber_range.engine.sensor.rules.shipped import SHIPPED, book_of
from cyber_range.engine.sensor.rules.text import Unsupported
from cyber_range.engine.sensor.suricata import Suricata, probe
from tests.conftest import skip_or_fail

WELL = 'alert tcp any any -> any 502 (msg:"a"; content:"b"; sid:7;)'
DEPRECATED = {
    "T0850",
    "T0810",
    "T0841",
    "T0854",
    "T0825",
    "T0870",
    "T0875",
    "T0808",
    "T0844",
    "T0818",
    "T0833",
    "T0824",
}


def test_rules_know_where_they_stand_and_what_they_say() -> None:
    text = (
        "# a comment\n\n" + WELL + "\n"
        "alert modbus !$MODBUS_CLIENT any -> [10.1.0.0/16,!10.1.2.3] [502,1502:1510] \\\n"
        '    (msg:"二; \\"引号\\""; modbus: function 5; classtype:attempted-admin; reference:url,a.b; rev:3; sid:8; \\\n'
        "    metadata:created_at 2026_01_01, mitre_technique_id T0855;)\n"
    )

    rules, problems = load(text, "own.rules")

    assert problems == []
    assert [(r.sid, r.line, r.severity, r.technique, r.msg) for r in rules] == [
        (7, 3, 3, "", "a"), (8, 4, 1, "T0855", '二; "引号"'),
    ]  # fmt: skip
    assert (rules[1].rev, rules[1].references, rules[1].functions) == (3, ("url,a.b",), frozenset({5}))


BAD = {
    'alert tcp any any -> any 502 (msg:"a"; luajit:x.lua; sid:7;)': "luajit",
    'alert smb any any -> any any (msg:"a"; sid:7;)': "protocol",
    'alert tcp any any -> any (msg:"a"; sid:7;)': "header",
    'alert tcp any any <- any any (msg:"a"; sid:7;)': "direction",
    'shout tcp any any -> any any (msg:"a"; sid:7;)': "action",
    'alert tcp $NOWHERE any -> any any (msg:"a"; sid:7;)': "address",
    'alert tcp any 70000 -> any any (msg:"a"; sid:7;)': "port",
    'alert tcp ::1 any -> any any (msg:"a"; sid:7;)': "address",
    'alert tcp any any -> any any (msg:"a"; content:"|4|"; sid:7;)': "content",
    'alert tcp any any -> any any (msg:"a"; depth:4; sid:7;)': "depth",
    'alert tcp any any -> any any (msg:"a"; content:"abc"; depth:2; sid:7;)': "depth",
    'alert tcp any any -> any any (msg:"a"; pcre:"/(a+)+b/"; sid:7;)': "pcre",
    'alert tcp any any -> any any (msg:"a"; pcre:"/(?<=a)b/"; sid:7;)': "pcre",
    'alert tcp any any -> any any (msg:"a"; pcre:"/a.*b.*c.*d/"; sid:7;)': "pcre",
    'alert tcp any any -> any any (msg:"a"; pcre:"/(a/"; sid:7;)': "pcre",
    'alert tcp any any -> any any (msg:"a"; byte_test:1,~,5,0; sid:7;)': "byte_test",
    'alert tcp any any -> any any (msg:"a"; flow:sideways; sid:7;)': "flow",
    'alert udp any any -> any any (msg:"a"; flags:S; sid:7;)': "flags",
    'alert udp any any -> any any (msg:"a"; http.uri; content:"a"; sid:7;)': "http.uri",
    'alert dns any any -> any any (msg:"a"; modbus: function 5; sid:7;)': "modbus",
    'alert tcp any any -> any any (msg:"a"; threshold:type sometimes, track by_src, count 1, seconds 1; sid:7;)': "threshold",
    'alert tcp any any -> any any (msg:"a"; content:"a")': "content",
    'alert tcp any any -> any any (msg:"a"; content:"a"; sid:7': "rule",
    'alert tcp any any -> any any (msg:"a"; content:"a";)': "sid",
    "alert tcp any any -> !any any (sid:7;)": "address",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_understood_is_left_out_and_named(text: str) -> None:
    rules, problems = load(f"# one\n{text}\n{WELL.replace('sid:7', 'sid:99')}", "own.rules")

    assert [rule.sid for rule in rules] == [99]
    assert [(p.file, p.line, p.keyword) for p in problems] == [("own.rules", 2, BAD[text])]
    assert "sid:7" not in text or problems[0].sid == 7
    assert problems[0].reason


def test_a_sid_is_used_once_and_the_second_is_told_where_the_first_is() -> None:
    rules, problems = load(f"{WELL}\n{WELL}", "own.rules")

    assert len(rules) == 1
    assert str(problems[0]) == "own.rules:2: sid 7: sid: 7 stands in line 1 already"


OPTIONS = st.one_of(
    st.tuples(
        st.sampled_from([*METHODS, "http.uri", "dns.query", "s7comm.func", "http_uri"]), st.text(max_size=20)
    ).map(lambda pair: f"{pair[0]}:{pair[1]};"),
    st.sampled_from(
        ['content:"a";', "nocase;", "sid:1;", 'pcre:"/a/R";', "http.uri;", 'content:!"|00 ff|";', "distance:-4;"]
    ),
)


@given(
    st.text(max_size=200)
    | st.lists(OPTIONS, max_size=6).map(lambda o: f"alert tcp any any -> any any ({''.join(o)} sid:3;)")
)
@example('alert tcp any any -> any any (pcre:"/' + "(" * 300 + '/"; sid:1;)')
@example("alert tcp any any -> any any (byte_test:1,=,1,0,bitmask 0xzz; sid:1;)")
@example('alert tcp any any -> any any (content:"\\")')
@settings(max_examples=300, deadline=None)
def test_no_text_makes_the_loader_raise(text: str) -> None:
    rules, problems = load(text, "x")

    lines = [line for line in text.split("\n") if line.strip() and not line.strip().startswith("#")]
    assert len(rules) + len(problems) <= len(lines)


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p))), max_size=5)


@given(SPANS, SPANS)
@settings(deadline=None)
def test_sets_of_addresses_are_sets(some: list[tuple[int, int]], less: list[tuple[int, int]]) -> None:
    inside = {n for first, last in some for n in range(first, last + 1)}
    outside = {n for first, last in less for n in range(first, last + 1)}

    spans = without(joined(some), joined(less))

    assert {n for first, last in spans for n in range(first, last + 1)} == inside - outside


def test_groups_variables_and_negations_of_headers() -> None:
    header = Header({"PLC": "[10.0.0.1,10.0.0.2]", "HMI": "!$PLC"})
    number = lambda text: sum(int(part) << shift for part, shift in zip(text.split("."), (24, 16, 8, 0), strict=True))  # noqa: E731

    def has(word: str, *addresses: str) -> list[bool]:
        return [header.addresses(word).has(number(one)) for one in addresses]

    assert has("$PLC", "10.0.0.1", "10.0.0.3") == [True, False]
    assert has("$HMI", "10.0.0.1", "10.0.0.3") == [False, True]
    assert has("![10.0.0.0/8,!10.1.0.0/16]", "10.0.0.1", "10.1.0.1", "11.0.0.1") == [False, True, True]
    assert has("[!10.0.0.0/8]", "10.0.0.1", "11.0.0.1") == [False, True]
    assert has("192.168.1.10-192.168.1.20", "192.168.1.15", "192.168.1.21") == [True, False]
    assert [header.ports("[80:90,!85,443]").has(port) for port in (80, 85, 90, 443, 91)] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert [header.ports(":1023").has(port) for port in (0, 1023, 1024)] == [True, True, False]
    with pytest.raises(Unsupported, match="matches nothing"):
        header.addresses("[10.0.0.1,!10.0.0.0/8]")


def test_a_variable_that_points_at_itself_is_an_error_not_a_hang() -> None:
    with pytest.raises(Unsupported, match="nested too deeply"):
        Header({"A": "$B", "B": "$A"}).addresses("$A")


def test_every_shipped_rule_is_understood_speaks_chinese_and_names_a_technique() -> None:
    book = book_of()

    assert book.problems == []
    assert len(book.rules) >= 50
    for rule in book.rules:
        assert re.search("[\u4e00-\u9fff]", rule.msg), rule.sid
        assert re.fullmatch(r"T0\d{3}", rule.technique), rule.sid
        assert rule.technique not in DEPRECATED, rule.sid
        assert 1_990_000 < rule.sid < 1_991_000


def test_a_scenario_replaces_a_shipped_rule_by_its_sid_and_can_do_without_them() -> None:
    own = 'alert tcp any any -> any 502 (msg:"mine"; content:"b"; sid:1990001;)'

    assert [r.msg for r in book_of(own).rules if r.sid == 1990001] == ["mine"]
    assert [r.msg for r in book_of(own, shipped=False).rules] == ["mine"]


def test_suricata_itself_takes_every_shipped_rule_that_is_meant_for_it(tmp_path: Path) -> None:
    found = probe()
    if not found.usable:
        skip_or_fail(f"Suricata: {found.reason}. {found.remedy}")
    Suricata(tmp_path, ["z"], book_of().rules, {}, lambda alert: None, lambda why: None)._write_files()
    program = shutil.which("suricata")
    assert program

    done = subprocess.run(
        [program, "-T", "-c", str(tmp_path / "suricata.yaml"), "-S", str(tmp_path / "all.rules"), "-l", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert (done.returncode, [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]) == (0, [])
    assert len((tmp_path / "all.rules").read_text(encoding="utf-8").splitlines()) >= 35
    assert SHIPPED.is_file()
