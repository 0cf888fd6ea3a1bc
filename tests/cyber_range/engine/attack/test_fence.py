"""The attack starts in a lab or not at all, and never looks outside."""

from __future__ import annotations

from typing import Any

import pytest

from cyber_range.engine.attack.fence import Fence
from cyber_range.engine.errors import Refused

LAB = {"range": "0123456789ab", "networks": ["10.7.0.0/28", "10.7.0.16/28"]}


@pytest.mark.parametrize(
    ("lab", "own", "sentence"),
    [
        (None, ["10.7.0.2"], "no range id"),
        ({**LAB, "range": "lab"}, ["10.7.0.2"], "no range id"),
        ({**LAB, "networks": []}, ["10.7.0.2"], "need the lab's networks"),
        ({**LAB, "networks": ["0.0.0.0/0"]}, ["10.7.0.2"], "too wide"),
        (LAB, [], "has none"),
        (LAB, ["10.7.0.2", "192.168.1.5"], "192.168.1.5, which is not of the lab's plan"),
    ],
)
def test_it_refuses_to_start(lab: dict[str, Any] | None, own: list[str], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        Fence(lab, own)


@pytest.mark.parametrize("target", ["8.8.8.8", "127.0.0.1", "10.7.0.32", "example.org", "::1"])
def test_it_refuses_targets_outside(target: str) -> None:
    with pytest.raises(Refused, match="is not an address of this lab"):
        Fence(LAB, ["10.7.0.2"]).check(target)


def test_it_lets_targets_of_the_lab_through() -> None:
    fence = Fence(LAB, ["10.7.0.2"])

    assert fence.check("10.7.0.17") == "10.7.0.17"
    assert fence.hosts(["10.7.0.0/30", "10.7.0.20"]) == ["10.7.0.1", "10.7.0.2", "10.7.0.20"]
