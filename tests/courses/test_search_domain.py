"""Pairs and single characters: whatever stands in the text together is found."""

from hypothesis import given
from hypothesis import strategies as st

from courses.domain.search import index_text, query_needles

han = st.text("中小企业数字化转型培训网络安全演练据", min_size=1, max_size=30)


@given(han, st.data())
def test_every_contiguous_piece_is_found(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    piece = text[start : data.draw(st.integers(start + 1, len(text)))]

    assert all(needle in index_text(text) for needle in query_needles(piece))


def test_latin_words_match_from_their_beginning_and_full_width_counts_as_plain():
    text = index_text("用 Modbus/TCP 读 PLC")

    assert [all(n in text for n in query_needles(q)) for q in ("mod", "MODBUS", "\uff30\uff2c\uff23", "bus", "读PLC")] == [
        True, True, True, False, True,
    ]  # fmt: skip


def test_nothing_to_look_for_needs_nothing():
    assert query_needles("，。 !") == []
    assert index_text("") == ""
