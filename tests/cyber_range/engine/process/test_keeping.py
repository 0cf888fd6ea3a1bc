"""A kept model goes on exactly as the one it was kept from; a kept logic has its timers."""

from __future__ import annotations

import json
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyber_range.engine.process.catalogue import MODELS
from cyber_range.engine.process.controllers import LOGICS
from cyber_range.engine.process.keeping import NotKept, keep, take_back


@pytest.mark.parametrize("name", MODELS)
def test_a_model_taken_back_goes_on_as_the_first(name: str) -> None:
    one, other = MODELS[name]({}), MODELS[name]({})
    for controller in one.CONTROLLERS:
        one.outputs(controller, {"alive": 1.0, **dict.fromkeys(one.inputs(controller), 1.0)})
    one.advance(90.0)
    one.events()
    kept = json.loads(json.dumps(keep(one)))

    take_back(kept, other)
    again = keep(other)
    for model in (one, other):
        model.advance(60.0)

    assert again == kept
    assert (one.values(), one.events()) == (other.values(), other.events())


@pytest.mark.parametrize("name", LOGICS)
def test_a_logic_taken_back_scans_as_the_first(name: str) -> None:
    one, other = LOGICS[name](), LOGICS[name]()
    tags = {tag.name: tag.start for tag in one.tags}
    for tenth in range(50):
        one.scan(tags, {"clock_s": tenth / 10})
    copy = dict(tags)

    take_back(json.loads(json.dumps(keep(one))), other)
    outputs = [(logic.scan(of, {"clock_s": 9.0}), of) for logic, of in ((one, tags), (other, copy))]

    assert outputs[0] == outputs[1]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner) | st.lists(inner).map(deque)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(plain | st.frozensets(st.integers()) | st.sets(st.tuples(st.text(), st.text())))
def test_what_is_kept_comes_back(value: object) -> None:
    back = take_back(json.loads(json.dumps(keep(value))))

    assert (back, type(back)) == (value, type(value))


def test_strangers_are_neither_kept_nor_made() -> None:
    with pytest.raises(NotKept, match="a object cannot be kept"):
        keep(object())
    with pytest.raises(NotKept, match="subprocess is no place of models"):
        take_back({"object": "subprocess:Popen", "state": {}})
    with pytest.raises(NotKept, match="no kept state"):
        take_back({"pickle": "…"})
