"""The verb that cuts a stretch of time out of a capture."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cyber_range.engine.host.verbs import Verbs
from cyber_range.engine.host.wire import BadRequest
from cyber_range.engine.lab.captures import CaptureStore, packet_block

RANGE = "0123456789ab"


@pytest.fixture
def verbs(tmp_path: Path) -> Verbs:
    store = CaptureStore(tmp_path)
    blocks = b"".join(packet_block(1_700_000_000_000_000_000 + n * 10**9, bytes(60)) for n in range(5))
    store.take("office", {"data": base64.b64encode(blocks).decode()})

    async def lab(range_id: str) -> Any:
        return SimpleNamespace(captures=store)

    return Verbs(SimpleNamespace(lab=lab), None)  # type: ignore[arg-type]


async def test_a_slice_is_made_and_downloaded_by_its_name(verbs: Verbs) -> None:
    made = await verbs.call(
        "slice", {"range_id": RANGE, "zone": "office", "from": 1_700_000_001, "to": 1_700_000_002.5}
    )
    piece = await verbs.call("capture", {"range_id": RANGE, "name": made["name"]})

    assert (made["packets"], made["from"], made["to"]) == (2, 1_700_000_001, 1_700_000_002)
    assert (len(base64.b64decode(piece["data"])), piece["end"]) == (made["bytes"], True)


async def test_wrong_arguments_are_named(verbs: Verbs) -> None:
    with pytest.raises(BadRequest, match="from"):
        await verbs.call("slice", {"range_id": RANGE, "zone": "office", "from": "yesterday"})
