"""Scenarios written in a browser arrive as texts under their hash: checked, kept, launched, and nothing else of them believed."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

import cyber_range.engine
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.host.wire import BadRequest
from cyber_range.engine.lab.vocabulary import TOOLS, USES
from cyber_range.engine.lab.written import digest_of, read
from cyber_range.engine.scenario.load import digest as form_digest
from tests.cyber_range.engine.host.conftest import Running, start

ENGINE = Path(cyber_range.engine.__file__ or "").parent
BLANK = {
    path.name: path.read_text(encoding="utf-8").replace("SCENARIO_ID", "own_line")
    for path in sorted((ENGINE / "cli" / "starter").iterdir())
    if path.is_file()
}


def changed(old: str, new: str, name: str = "scenario.yml") -> dict[str, str]:
    assert old in BLANK[name]
    return BLANK | {name: BLANK[name].replace(old, new, 1)}


async def test_a_written_scenario_is_kept_and_launched_by_its_hash(host: Running) -> None:
    digest = digest_of(BLANK)
    before = await host.client.call("scenario_put", digest=digest)

    put = await host.client.call("scenario_put", digest=digest, files=BLANK)
    status = await host.client.call("launch", scenario=digest, seed="s", team="t", speed=8)

    assert before == {"digest": digest, "known": False}
    assert put == {
        "digest": digest, "known": True, "id": "own_line", "version": "1.0.0", "form": form_digest(read(BLANK)),
    }  # fmt: skip
    assert (status["state"], status["scenario"]["id"], status["scenario"]["digest"]) == (
        "ready",
        "own_line",
        put["form"],
    )
    kept = host.daemon.settings.state / "scenarios" / f"{digest}.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    await host.client.call("destroy", range_id=status["range_id"])


async def test_it_is_there_after_a_restart(folder: Path) -> None:
    digest = digest_of(BLANK)
    first = await start(folder)
    await first.client.call("scenario_put", digest=digest, files=BLANK)
    await first.stop()

    second = await start(folder)

    assert (await second.client.call("scenario_put", digest=digest))["known"] is True
    assert second.daemon.scenario(digest).id == "own_line"
    await second.stop()


async def test_another_hash_is_refused_and_nothing_is_kept(host: Running) -> None:
    with pytest.raises(BadRequest, match="do not have this digest"):
        await host.client.call("scenario_put", digest="0" * 64, files=BLANK)
    with pytest.raises(ScenarioError, match="does not have scenario"):
        await host.client.call("launch", scenario="0" * 64, seed="s", team="t")
    with pytest.raises(BadRequest):
        await host.client.call("scenario_put", digest="../../etc/passwd", files=BLANK)

    assert list((host.daemon.settings.state).glob("scenarios/*")) == []


async def test_a_damaged_file_is_not_believed(host: Running) -> None:
    digest = digest_of(BLANK)
    await host.client.call("scenario_put", digest=digest, files=BLANK)
    kept = host.daemon.settings.state / "scenarios" / f"{digest}.json"
    kept.write_text(kept.read_text().replace("陌生主机", "熟悉主机"))

    with pytest.raises(ScenarioError, match="damaged"):
        await host.client.call("launch", scenario=digest, seed="s", team="t")

    assert (await host.client.call("scenario_put", digest=digest))["known"] is False


BAD: dict[str, tuple[dict[str, str], str]] = {
    "a way up": (BLANK | {"../x.yml": "a"}, "file name is not allowed"),
    "a hidden file": (BLANK | {"nodes/.ssh": "a"}, "file name is not allowed"),
    "an absolute path": (BLANK | {"/etc/passwd": "a"}, "file name is not allowed"),
    "file and folder": (BLANK | {"nodes/a": "1", "nodes/a/b": "1"}, "same name"),
    "too large": (BLANK | {"nodes/a.txt": "x" * 300_000}, "larger than 256 KiB"),
    "no scenario": ({"story.yml": BLANK["story.yml"]}, "there is no scenario.yml"),
    "aliases": (changed("title: {zh: 小灌装线, en: Tiny filling line}", "title: &t 小灌装线"), "anchors and aliases"),
    "a program of the host": (changed("programs: [sensor]", "programs: [kernel]"), 'no program "kernel"'),
    "a folder of the host": (
        changed("with: {default: accept, rules: []}", "with: {default: accept, rules: [], store: /etc}"), "store is not for"),
    "suricata of the host": (
        changed("programs: [sensor]", "programs: [{use: sensor, with: {suricata: true}}]"), "suricata is not for"),
    "net_admin for anybody": (changed("caps: [net_raw]", "caps: [net_raw, net_admin]"), "only a firewall or router"),
    "a command": (changed("argv: [lb-fw, block,", "argv: [sh, -c,"), "no bundled tool"),
    "an attack beyond the range": (
        changed("    gateway: fw\n  - name: sensor", '    gateway: fw\n    programs: [{use: attack, with: {lab: {range: "${range.id}", networks: ["10.0.0.0/24"]}}}]\n  - name: sensor'),
        "zones of its own range alone"),
    "another plant": (changed("model: filling_line", "model: os.system"), "no plant model"),
    "another logic": (changed("logic: tank", "logic: ../tank"), "no controller logic"),
    "a mistake of the loader": (changed("role: sensor", "role: senser"), "scenario.yml:"),
    "no room for draws": (changed("low: 5, high: 12", "low: 15, high: 20"), "no free host number"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BAD))
async def test_what_is_not_data_alone_is_refused(host: Running, name: str) -> None:
    files, why = BAD[name]

    with pytest.raises(ScenarioError) as refused:
        await host.client.call("scenario_put", digest=digest_of(files), files=files)

    assert why in refused.value.what
    problems: Any = refused.value.detail["problems"]
    assert problems[0]["remedy"] or problems[0]["what"]
    assert list((host.daemon.settings.state).glob("scenarios/*")) == []


def test_the_catalogue_names_every_program_there_is() -> None:
    agents = ENGINE / "agents"
    there = {path.stem for path in agents.glob("[a-z]*.py") if "async def run(node" in path.read_text(encoding="utf-8")}

    assert set(USES) == (there | {"modbus_hmi"}) - {"probe"}


def test_the_bundled_tools_are_those_of_the_nodes() -> None:
    said = (ENGINE / "agents" / "tools" / "__init__.py").read_text(encoding="utf-8").split("\n\n")[0]

    assert all(tool in said for tool in TOOLS)
