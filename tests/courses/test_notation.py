"""The trainers' plain lines: reading and writing undo each other, faults name their line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courses.domain import notation
from courses.domain.notation import Asked, NotationError

words = st.text("甲乙丙丁数据防火墙abc123", min_size=1, max_size=8)


@given(st.lists(words, min_size=2, max_size=6, unique=True), st.data())
def test_choices_round_trip(texts, data):
    right = data.draw(st.lists(st.sampled_from(range(len(texts))), min_size=1, unique=True))
    for kind in ("multiple", "single"):
        places = right if kind == "multiple" else right[:1]
        lines = "\n".join(f"{'+' if n in places else '-'} {text}" for n, text in enumerate(texts))

        asked = notation.parse(kind, lines)

        assert notation.write(kind, asked.content, asked.key) == lines


@given(st.lists(words, min_size=2, max_size=6, unique=True), st.data())
def test_matching_and_ordering_round_trip(texts, data):
    rights = [data.draw(words) for _ in texts]
    lines = "\n".join(f"{left} = {right}" for left, right in zip(texts, rights, strict=True))
    matched, ordered = notation.parse("matching", lines), notation.parse("ordering", "\n".join(texts))

    assert notation.write("matching", matched.content, matched.key) == lines
    assert notation.write("ordering", ordered.content, ordered.key) == "\n".join(texts)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("500 ± 5 毫升", Asked({"unit": "毫升"}, {"value": "500", "tolerance": "5"})),
        ("3.5", Asked({}, {"value": "3.5", "tolerance": "0"})),
        ("-2.5 +- 0.5", Asked({}, {"value": "-2.5", "tolerance": "0.5"})),
        ("\uff11\uff12,000 元", Asked({"unit": "元"}, {"value": "12000", "tolerance": "0"})),
    ],
)
def test_numeric(text, asked):
    assert notation.parse("numeric", text) == asked
    assert notation.parse("numeric", notation.write("numeric", asked.content, asked.key)) == asked


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("single", "", "不能为空"),
        ("single", "+ 甲\n+ 乙", "现在有 2 个"),
        ("single", "+ 甲\n乙", "第 2 行"),
        ("multiple", "- 甲\n- 乙", "至少要有一个"),
        ("multiple", "+ 甲\n- 甲", "重复"),
        ("truefalse", "也许", "只写"),
        ("numeric", "大约五百", "数值题"),
        ("matching", "左 右\n左二 = 右二", "第 1 行"),
        ("ordering", "甲\n甲", "各不相同"),
    ],
)
def test_faults_are_told(kind, text, says):
    with pytest.raises(NotationError, match=says):
        notation.parse(kind, text)


def test_full_width_signs_count():
    assert notation.parse("single", "\uff0b甲\n\uff0d乙").key == "a"
    assert notation.parse("matching", "甲\uff1d乙\n丙\uff1d丁").key == {"l0": "r0", "l1": "r1"}
