"""Blocks never overlap each other or what the host uses, and the error names what is in the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.errors import AddressSpaceTaken
from cyber_range.engine.lab.addresses import AddressPool, Block, _routes

SMALL = Block("10.9.0.0/24")


def pool(*pools: Block, used: dict[Block, str] | None = None) -> AddressPool:
    return AddressPool(pools or (SMALL,), used_by_host=lambda: used or {})


@given(
    prefixes=st.lists(st.integers(25, 29), min_size=1, max_size=12),
    used=st.lists(st.integers(0, 15), max_size=6),
)
def test_blocks_never_overlap(prefixes: list[int], used: list[int]) -> None:
    host = {Block((int(SMALL.network_address) + 16 * number, 28)): f"net{number}" for number in used}
    addresses = pool(used=host)
    given_out: list[Block] = []

    for index, prefix in enumerate(prefixes):
        try:
            block = addresses.take(str(index), prefix)
        except AddressSpaceTaken:
            size = 2 ** (32 - prefix)
            starts = range(int(SMALL.network_address), int(SMALL.broadcast_address), size)
            free = [
                Block((start, prefix)) for start in starts
                if not any(Block((start, prefix)).overlaps(other) for other in [*given_out, *host])
            ]  # fmt: skip
            assert free == []
            continue
        assert block.prefixlen == prefix
        assert block.subnet_of(SMALL)
        assert not any(block.overlaps(other) for other in [*given_out, *host])
        given_out.append(block)


def test_a_range_keeps_its_block_and_gives_it_back() -> None:
    addresses = pool()

    first = addresses.take("a", 25)

    assert addresses.take("a", 25) == first
    assert addresses.take("b", 25) != first
    addresses.give_back("a")
    assert addresses.take("c", 25) == first


def test_the_blocking_network_is_named() -> None:
    addresses = pool(used={Block("10.9.0.0/16"): "Docker network labshock_default"})

    with pytest.raises(AddressSpaceTaken) as caught:
        addresses.take("a", 27)

    assert str(caught.value) == (
        "no free /27 is left in 10.9.0.0/24: Docker network labshock_default uses 10.9.0.0/16. "
        "Destroy ranges that are not needed, remove that network, or give range-host another --pool"
    )


def test_the_next_pool_is_taken_when_one_is_full() -> None:
    addresses = pool(Block("10.9.0.0/28"), Block("10.10.0.0/24"))

    assert [str(addresses.take(name, 28)) for name in "ab"] == ["10.9.0.0/28", "10.10.0.0/28"]


def test_own_networks_on_the_host_do_not_block_us() -> None:
    used: dict[Block, str] = {}
    addresses = AddressPool((SMALL,), used_by_host=lambda: used)
    block = addresses.take("a", 26)
    used[Block((int(block.network_address), 28))] = "Docker network of range a"

    assert str(addresses.take("b", 26)) == "10.9.0.64/26"


def test_a_claimed_block_must_still_be_free() -> None:
    addresses = pool()
    block = addresses.take("a", 26)

    with pytest.raises(AddressSpaceTaken) as caught:
        addresses.claim("b", block)

    assert caught.value.what == "block 10.9.0.0/26 of range b was given to range a"


def test_routes_are_read_little_endian(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )

    assert _routes(table) == {Block("172.17.0.0/16"): "interface docker0"}
