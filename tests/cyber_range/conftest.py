"""What tests of the range's Django side share: small scenarios and a host of paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cyber_range import catalogue, hosts


@pytest.fixture
def small_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "FOLDER", Path(__file__).parents[1] / "drills" / "scenarios")


class PaperHost:
    """Answers what the test put down under (host, verb) or verb; an exception is raised, a function called. `asked` keeps
    what was asked."""

    def __init__(self) -> None:
        self.answers: dict[Any, Any] = {
            "ping": {"driver": "memory"}, "capacity": {"max_ranges": 8, "free": 8}, "probe": {"drivers": []},
            "list": {"ranges": []}, "pool": {"pools": []}, "snapshots": {"snapshots": []},
        }  # fmt: skip
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def __setitem__(self, verb: Any, answer: Any) -> None:
        self.answers[verb] = answer

    def verbs(self) -> list[str]:
        return [verb for _host, verb, _args in self.asked]

    def client(self, host: Any) -> Any:
        paper = self

        class Client:
            def call(self, verb: str, **args: Any) -> Any:
                paper.asked.append((host.name, verb, args))
                answer = paper.answers.get((host.name, verb), paper.answers.get(verb))
                if answer is None:
                    raise AssertionError(f"nobody put down an answer to {verb}")
                if callable(answer):
                    answer = answer(**args)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            def close(self) -> None: ...
            def __enter__(self) -> Client:
                return self

            def __exit__(self, *exc: object) -> None: ...
            def file(self, verb: str, **args: Any) -> Any:
                yield b"pcap"

        return Client()


@pytest.fixture
def paper_host(monkeypatch: pytest.MonkeyPatch) -> PaperHost:
    paper = PaperHost()
    monkeypatch.setattr(hosts, "client", paper.client)
    monkeypatch.setattr(hosts, "within_reach", lambda host: True)
    return paper


def status(**values: Any) -> dict[str, Any]:
    return {
        "state": "ready", "reason": "", "driver": "memory", "health": {}, "production": {"alive": True},
        "scenario": {}, "expires": None, **values,
    }  # fmt: skip
