"""The command line as people and CI use it: processes, exit codes, what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from cyber_range.engine.host.client import Client

ROOT = Path(__file__).parents[4]
SCENARIOS = Path(__file__).parents[1] / "scenarios"


def engine(*argv: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cyber_range.engine", *argv], cwd=ROOT, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "LIANBING_LANG": "zh"},
    )  # fmt: skip


def test_a_new_scenario_is_valid_and_can_be_won(tmp_path: Path) -> None:
    folder = tmp_path / "my_line"

    assert engine("scenario", "new", str(folder)).returncode == 0
    valid = engine("validate", str(folder))
    won = engine("solve", str(folder), "--driver", "memory", "--speed", "10", "--captures", str(tmp_path / "captures"))

    assert (valid.returncode, valid.stdout.split(",")[0]) == (0, f"{folder}: 正确 (8 个节点")
    assert won.returncode == 0, won.stdout + won.stderr
    assert won.stdout.count(": verified (") == 4
    assert sorted(path.name for path in (tmp_path / "captures").iterdir()) == [
        "office-000001.pcapng", "workshop-000001.pcapng",
    ]  # fmt: skip


def test_what_cannot_be_won_exits_with_one(tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    engine("scenario", "new", str(folder))
    document = yaml.safe_load((folder / "scenario.yml").read_text(encoding="utf-8"))
    document["solver"] = [{"do": "submit", "objective": "tag", "value": "wrong"}]
    (folder / "scenario.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")

    done = engine("solve", str(folder), "--driver", "memory")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "未完成: name_it, tag, block, setpoint")


def test_mistakes_exit_with_three(tmp_path: Path) -> None:
    (tmp_path / "scenario.yml").write_text("schema: 1\nid: x\n", encoding="utf-8")

    done = engine("validate", str(tmp_path))

    assert done.returncode == 3
    assert "scenario.yml:1: title is missing. Add it" in done.stderr.splitlines()


def test_a_driver_that_is_not_here_exits_with_four() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cyber_range.engine", "launch", str(SCENARIOS / "tiny"), "--driver", "docker"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "LIANBING_LANG": "zh", "DOCKER_HOST": "unix:///nowhere/docker.sock"},
    )  # fmt: skip

    assert done.returncode == 4
    assert "处置: " in done.stderr


def test_schema_is_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(engine("schema").stdout))


def test_launch_ends_after_its_time_and_shows_the_nodes() -> None:
    done = engine("launch", str(SCENARIOS / "tiny"), "--driver", "memory", "--for", "2")

    assert done.returncode == 0
    assert "  plc            workshop " in done.stdout
    assert done.stdout.splitlines()[0].startswith("靶场 ")


def test_doctor_names_every_driver() -> None:
    done = engine("doctor")

    assert done.returncode == 0
    for name in ("docker", "netns", "memory"):
        assert f"驱动 {name}" in done.stdout


def test_doctor_gives_data() -> None:
    done = engine("doctor", "--json")

    found = json.loads(done.stdout)
    assert {"docker", "netns", "memory"} <= {driver["name"] for driver in found["drivers"]}
    assert {frozenset(driver) for driver in found["drivers"]} == {
        frozenset(("name", "usable", "reason", "remedy", "unbounded"))
    }
    assert [driver["name"] for driver in found["drivers"] if not driver["usable"] and not driver["remedy"]] == []
    assert found["auto"] in {driver["name"] for driver in found["drivers"] if driver["usable"]}


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lb-cli-") as folder:
        yield Path(folder)


def serve(place: Path, driver: str = "memory") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [
            sys.executable, "-m", "cyber_range.engine", "host", "--socket", str(place / "s.sock"),
            "--state", str(place / "state"), "--driver", driver, "--scenarios", str(SCENARIOS),
        ],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with Client(place / "s.sock") as client:
                client.call("ping")
            return process
        except Exception:
            time.sleep(0.1)
    process.kill()
    pytest.fail(f"range-host did not come up: {process.communicate()[0]}")


def test_host_ends_orderly_on_sigterm(place: Path) -> None:
    process = serve(place)
    with Client(place / "s.sock") as client:
        assert client.call("launch", scenario="tiny", seed="s", team="t")["state"] == "ready"

    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0
    [folder] = (place / "state" / "ranges").iterdir()
    assert json.loads((folder / "lab.json").read_text())["reason"] == "range-host was stopped"


def test_a_client_goes_on_with_a_host_that_was_killed_and_started_again(place: Path) -> None:
    process = serve(place)
    client = Client(place / "s.sock")
    range_id = client.call("launch", scenario="tiny", seed="s", team="t")["range_id"]
    before = client.call("events", range_id=range_id)["events"]
    process.kill()
    process.wait(10)

    process = serve(place)
    try:
        after = client.call("events", range_id=range_id, limit=5000)["events"]  # over the old connection's client

        assert after[: len(before)] == before
        assert after[-1]["data"]["state"] == "gone"
        assert client.call("reset", range_id=range_id)["state"] == "ready"
    finally:
        client.close()
        process.terminate()
        process.wait(20)


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_started_as_root_it_serves_as_a_user_of_its_own(place: Path) -> None:
    process = serve(place, "netns")
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        with Client(place / "s.sock") as client:
            launched = client.call("launch", scenario="tiny", seed="s", team="t")
            done = client.call("exec", range_id=launched["range_id"], node="ws", argv=["sh", "-c", "echo $((6*7))"])
    finally:
        process.terminate()
        process.wait(30)

    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    assert "0" not in uids
    assert (launched["state"], done["stdout"]) == ("ready", "42\n")
