"""What a new scenario may begin from: the blank that runs, a packaged one, a version somebody here has published."""

from __future__ import annotations

from pathlib import Path

import cyber_range.engine
from cyber_range import catalogue
from cyber_range.authoring.text import dump, parse
from cyber_range.engine.lab.written import BRIEF, FILE_NAME, YAMLS, alias_line
from cyber_range.written import ScenarioVersion

BLANK = "blank"
STARTER = Path(cyber_range.engine.__file__ or "").parent / "cli" / "starter"


def texts_of(folder: Path) -> dict[str, str]:
    """A folder's texts, with anchors written out: what is edited in pieces may not hang together by them."""
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and (name in (*YAMLS, BRIEF) or FILE_NAME.fullmatch(name)):
            files[name] = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    for name in YAMLS:
        if alias_line(files.get(name, "")):
            files[name] = dump(parse(files[name], name))
    return files


def blank() -> dict[str, str]:
    return {name: text.replace("SCENARIO_ID", "own") for name, text in texts_of(STARTER).items()}


def packaged(scenario_id: str) -> dict[str, str]:
    """LookupError when there is none of that id."""
    if catalogue.is_written(scenario_id):
        raise LookupError(scenario_id)
    catalogue.entry(scenario_id)
    return texts_of(catalogue.FOLDER / scenario_id)


def brief_of(scenario_id: str, version: ScenarioVersion | None) -> str:
    """The instructor's brief, Markdown."""
    if version is not None:
        return str(version.files.get(BRIEF, ""))
    path = catalogue.FOLDER / scenario_id / BRIEF
    return path.read_text(encoding="utf-8") if path.is_file() else ""
