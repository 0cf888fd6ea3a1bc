"""Blocks never overlap each other or what the host uses, and the error names what is in the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyber_range.engine.errors import AddressSpaceTaken
from cyber_range.engine.lab.addresses import AddressPool, Block, Claims, _routes

SMALL = Block("10.9.0.0/24")


def pool(*pools: Block, used: dict[Block, str] | None = None, path: Path | None = None) -> AddressPool:
    return AddressPool(
        pools or (SMALL,), used_by_host=lambda: used or {}, claims=Claims(path or Path("/proc/no/such/folder"))
    )


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


def test_two_engines_never_choose_the_same_block(tmp_path: Path) -> None:
    """Neither sees a network of the other yet: a block is chosen seconds before its network is made."""
    first, second = pool(path=tmp_path / "blocks"), pool(path=tmp_path / "blocks")

    blocks = [
        str(one.take(name, prefix)) for one, name, prefix in ((first, "a", 27), (second, "b", 28), (first, "c", 26))
    ]

    assert blocks == ["10.9.0.0/27", "10.9.0.32/28", "10.9.0.64/26"]


def test_a_block_another_engine_has_chosen_is_named(tmp_path: Path) -> None:
    first, second = pool(path=tmp_path / "blocks"), pool(path=tmp_path / "blocks")
    block = first.take("a", 24)

    with pytest.raises(AddressSpaceTaken) as caught:
        second.take("b", 25)
    with pytest.raises(AddressSpaceTaken) as again:
        second.claim("c", block)
    first.give_back("a")

    assert "another engine on this machine has chosen 10.9.0.0/25" in str(caught.value)
    assert "given to a range of another engine" in str(again.value)
    assert second.take("b", 24) == block


def test_a_killed_engine_leaves_no_choice_behind(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from cyber_range.engine.lab.addresses import AddressPool, Block, Claims
pool = AddressPool((Block("{SMALL}"),), used_by_host=dict, claims=Claims(Path({str(tmp_path / "blocks")!r})))
print(pool.take("a", 25), flush=True)
sys.stdin.read()
"""
    second = pool(path=tmp_path / "blocks")
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    chosen = other.stdout.readline().strip()
    beside = second.take("b", 25)
    other.kill()
    other.wait()

    assert (chosen, str(beside), str(second.take("c", 25))) == ("10.9.0.0/25", "10.9.0.128/25", "10.9.0.0/25")


def test_without_a_file_to_lock_blocks_are_given_all_the_same(tmp_path: Path) -> None:
    assert str(pool(path=tmp_path / "missing" / "blocks").take("a", 25)) == "10.9.0.0/25"
