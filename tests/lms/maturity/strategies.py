"""Any answers to the 2024 instrument, whole or half done."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

from lms.maturity.domain.instrument import Instrument, Item, parse
from lms.maturity.services import CONTENT

DATA: dict[str, Any] = yaml.safe_load((CONTENT / "instrument_2024.yml").read_text(encoding="utf-8"))
INSTRUMENT: Instrument = parse(DATA)


def item_answers(item: Item) -> st.SearchStrategy[Any]:
    if item.type != "multiple":
        return st.sampled_from([o.code for o in item.options])
    inclusive = [o.code for o in item.options if not o.exclusive]
    alone = [[o.code] for o in item.options if o.exclusive]
    return st.lists(st.sampled_from(inclusive), unique=True, min_size=1) | st.sampled_from(alone)


_every = {item.code: item_answers(item) for item in INSTRUMENT.items} | {
    f"scene:{scene.code}": st.integers(0, 4) for scene in INSTRUMENT.scenes
}
complete_answers = st.fixed_dictionaries(_every)
answers = st.fixed_dictionaries({}, optional=_every)
