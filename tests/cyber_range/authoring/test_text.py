"""File and data in step: what is written reads as what was meant, and an author's own lines stay."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range import catalogue
from cyber_range.authoring import sources
from cyber_range.authoring.text import dump, parse, rewrite
from cyber_range.engine.lab.written import canonical, digest_of, read
from cyber_range.engine.scenario.load import bundle, check, digest

PACKAGED = Path(catalogue.__file__).parent / "scenarios"
FOLDERS = sorted(path.parent for path in PACKAGED.glob("*/scenario.yml"))

words = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20) | st.sampled_from(
    [
        "yes",
        "no",
        "12:30",
        "0x1f",
        "1_000",
        "~",
        "null",
        "${node.plc.ip}",
        "a: b",
        "- x",
        "#x",
        "2026-01-01",
        "a\nb\n",
        "=",
        "<<",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
data = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=25
)
documents = st.dictionaries(st.sampled_from(["zones", "nodes", "title", "draws", "story"]), data, min_size=1)


@settings(max_examples=150, deadline=None)
@given(data)
def test_what_is_dumped_reads_as_what_was_meant(value: object) -> None:
    assert parse(dump(value)) == value


@settings(max_examples=150, deadline=None)
@given(documents, documents)
def test_a_rewritten_file_says_the_new_data(old: dict[str, object], new: dict[str, object]) -> None:
    assert parse(rewrite(dump(old), new)) == new


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(words, words, max_size=6), st.randoms(use_true_random=False))
def test_the_hash_names_the_texts_and_not_their_order(files: dict[str, str], chance: object) -> None:
    names = list(files)
    chance.shuffle(names)  # type: ignore[attr-defined]
    shuffled = {name: files[name] for name in names}

    assert digest_of(shuffled) == digest_of(files)
    assert canonical(files).decode()
    for name in files:
        assert digest_of(files | {name: files[name] + "x"}) != digest_of(files)
        assert digest_of({key: text for key, text in files.items() if key != name}) != digest_of(files)


def test_one_change_touches_the_lines_it_must() -> None:
    text = sources.blank()["scenario.yml"]
    wanted = copy.deepcopy(parse(text))
    wanted["zones"].append({"name": "dmz", "title": "隔离区", "purdue": 3.5})
    wanted["nodes"][0]["title"] = {"zh": "灌装现场"}

    lines = rewrite(text, wanted).splitlines()

    before = text.splitlines()
    assert lines[0] == before[0].strip()
    assert lines[0].startswith("#")
    assert [line for line in lines if line not in before] == [
        "  - {name: dmz, title: 隔离区, purdue: 3.5}",
        "    title: {zh: 灌装现场}",
        "          controllers: {filler: '${node.plc.ip.fieldbus}', tank: '${node.plc2.ip.fieldbus}'}",
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_packaged_scenario_goes_through_the_editors_model_unchanged(folder: Path) -> None:
    """Copy → data → YAML written anew → the engine's loader: the same digest."""
    wanted = digest(catalogue.load(folder))
    files = sources.texts_of(folder)
    rewritten = {
        name: dump(parse(text, name)) if name.endswith(".yml") and "/" not in name else text
        for name, text in files.items()
    }

    form = read(rewritten)

    assert digest(form) == wanted
    assert digest(check(bundle(form))) == wanted


def test_the_blank_runs_and_keeps_its_digest() -> None:
    files = sources.blank()
    rewritten = files | {"scenario.yml": dump(parse(files["scenario.yml"]))}

    assert digest(read(rewritten)) == digest(read(files))
