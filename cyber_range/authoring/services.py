"""Every write of a written scenario. A draft is saved at each step, wrong or right; a version is only ever added."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from cyber_range import services as ranges
from cyber_range.authoring import script, sources
from cyber_range.authoring.edits import EditRefused, apply, followed
from cyber_range.authoring.faults import Fault, judge
from cyber_range.authoring.text import parse, rewrite
from cyber_range.engine.errors import ScenarioError
from cyber_range.engine.lab.written import ALL_BYTES, BRIEF, FILE_NAME, MAIN, MOST_FILES, YAMLS, digest_of
from cyber_range.engine.scenario.load import digest as form_digest
from cyber_range.engine.scenario.model import Scenario
from cyber_range.models import Instance
from cyber_range.written import DraftTrial, ScenarioVersion, WrittenScenario
from lms.accounts import audit
from lms.accounts.models import AuditEntry, Organisation, User

STORY = "story.yml"
SAME_SITTING = timedelta(minutes=10)  # one line in the audit log for the saves of one sitting
MOST_SCENARIOS = 100  # standing ones of an organisation
SEEDS = tuple(str(number) for number in range(1, 9))  # draws tried for room before a version is published


class Refused(Exception):
    """The request is understood and not possible now; the text says why and what to do, `field` in which control."""

    field: str | None = None


class Conflict(Refused):
    """Somebody else has saved meanwhile."""


def create(*, organisation: Organisation, by: User, source: str, title: str) -> WrittenScenario:
    """A draft begun from a blank, a packaged scenario or a version of this organisation."""
    title = _one_line(title.strip())[:80]
    if not title:
        raise Refused(_("请填写场景名称。"))
    if source == sources.BLANK:
        files, based_on = sources.blank(), ""
    else:
        try:
            files, based_on = _copied(source, organisation)
        except LookupError as error:
            raise Refused(_("没有场景“%(name)s”。请从列表中选择。") % {"name": source}) from error
    with transaction.atomic():
        Organisation.objects.select_for_update().get(pk=organisation.pk)  # under whose lock its scenarios are counted
        if WrittenScenario.objects.standing().filter(organisation=organisation).count() >= MOST_SCENARIOS:
            raise Refused(_("本单位已有 %(n)d 个自编场景。请先归档不用的。") % {"n": MOST_SCENARIOS})
        row = WrittenScenario.objects.create(
            organisation=organisation, title=title, based_on=based_on, files={}, created_by=by, updated_by=by
        )
        data = parse(files[MAIN])
        old = data.get("title")
        data |= {"id": f"own{row.pk}", "version": "1.0.0", "title": {"zh": title} if isinstance(old, dict) else title}
        row.files = files | {MAIN: rewrite(files[MAIN], data)}
        row.problems = len(judge(row.files)[1])
        row.save(update_fields=["files", "problems"])
        audit.record("scenario.created", row, by=by, organisation=organisation, source=source)
    return row


def _copied(source: str, organisation: Organisation) -> tuple[dict[str, str], str]:
    version = (
        ScenarioVersion.objects.filter(
            scenario__organisation=organisation, pk=int(source.removeprefix("version-"))
        ).first()
        if re.fullmatch(r"version-\d{1,9}", source)
        else None
    )
    if version is not None:
        return dict(version.files), str(version)[:80]
    return sources.packaged(source), source


# ---------------------------------------------------------------- drafts


def change(*, scenario: WrittenScenario, revision: int, edit: dict[str, Any], by: User) -> WrittenScenario:
    """One edit of form or drawing."""
    row = _open(scenario, revision)
    text = row.files.get(MAIN, "")
    try:
        json.dumps(edit, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused(_("文字里有无法保存的字符。")) from None
    try:
        if script.is_script(edit):
            files = script.changed(row.files, edit)
        else:
            files = row.files | {MAIN: rewrite(text, apply(parse(text), edit))}
            if STORY in files:
                files[STORY] = followed(files[STORY], edit)
    except ScenarioError as error:
        raise Refused(
            _("%(file)s 第 %(line)s 行不是正确的 YAML，表单和图暂时不能改它。请先在“文件”里改好。")
            % {"file": error.detail["file"], "line": error.detail["line"]}
        ) from error
    except EditRefused as error:
        refused = Refused(str(error))
        refused.field = error.field
        raise refused from error
    return _saved(row, files, by, str(edit.get("do")))


def save_file(*, scenario: WrittenScenario, revision: int, name: str, text: str | None, by: User) -> WrittenScenario:
    """One text as somebody has typed it; None takes it away."""
    if name not in (*YAMLS, BRIEF) and not FILE_NAME.fullmatch(name):
        raise Refused(
            _("不能用文件名“%(name)s”。请写成 nodes/ 开头的路径，只用汉字、字母、数字和“_-.”。") % {"name": name[:80]}
        )
    if text is not None and "\0" in text:
        raise Refused(_("文件不是纯文本。"))
    row = _open(scenario, revision)
    files = dict(row.files)
    if text is None:
        if name == MAIN:
            raise Refused(_("scenario.yml 不能删除。"))
        files.pop(name, None)
    else:
        files[name] = text.replace("\r\n", "\n").replace("\r", "\n")
    return _saved(row, files, by, f"file {name}")


def put_back(*, scenario: WrittenScenario, revision: int, files: Mapping[str, str], by: User) -> WrittenScenario:
    """All texts at once: undo and redo."""
    wrong = [name for name in files if name not in (*YAMLS, BRIEF) and not FILE_NAME.fullmatch(name)]
    if wrong or MAIN not in files or not all(isinstance(text, str) and "\0" not in text for text in files.values()):
        raise Refused(_("要恢复的内容不完整。"))
    return _saved(_open(scenario, revision), dict(files), by, "undo")


def _open(scenario: WrittenScenario, revision: int, *, lock: bool = False) -> WrittenScenario:
    rows = WrittenScenario.objects.select_for_update(of=("self",)) if lock else WrittenScenario.objects
    row = rows.select_related("organisation", "updated_by").get(pk=scenario.pk)
    if row.archived_at is not None:
        raise Refused(_("场景已归档。要继续修改，请先取消归档。"))
    if row.revision != revision:
        raise Conflict(
            _("%(name)s 刚刚保存了别的修改。页面已换成最新内容，请再做一次。") % {"name": row.updated_by or _("别人")}
        )
    return row


def _saved(row: WrittenScenario, files: dict[str, str], by: User, what: str) -> WrittenScenario:
    try:
        size = sum(len(text.encode()) for text in files.values())
    except UnicodeEncodeError:
        raise Refused(_("文件不是纯文本。")) from None
    if len(files) > MOST_FILES or size > ALL_BYTES:
        raise Refused(
            _("内容太多：最多 %(files)d 个文件，共 %(kib)d KiB。") % {"files": MOST_FILES, "kib": ALL_BYTES // 1024}
        )
    if files == row.files:
        return row
    form, faults = judge(files)  # half a second for a large one: before the row is locked
    with transaction.atomic():
        row = _open(row, row.revision, lock=True)
        row.files, row.revision, row.updated_by, row.updated_at = files, row.revision + 1, by, timezone.now()
        row.problems = len(faults)
        row.title = _title(form, files) or row.title
        row.save(update_fields=["files", "revision", "updated_by", "updated_at", "problems", "title"])
        earlier = AuditEntry.objects.filter(
            action="scenario.changed", actor=by, target_type=row._meta.label_lower, target_id=str(row.pk),
            at__gte=timezone.now() - SAME_SITTING,
        )  # fmt: skip
        if not earlier.exists():
            audit.record(
                "scenario.changed", row, by=by, organisation=row.organisation, first=what, revision=row.revision
            )
    row.judged = (form, faults)  # type: ignore[attr-defined]  # whoever answers the browser need not judge again
    return row


def judged(row: WrittenScenario) -> tuple[Scenario | None, list[Fault]]:
    """Form and faults of the draft as it stands."""
    known: tuple[Scenario | None, list[Fault]] | None = getattr(row, "judged", None)
    return known if known is not None else judge(row.files)


def _title(form: Scenario | None, files: Mapping[str, str]) -> str:
    if form is not None:
        return _one_line(form.title.zh)
    try:
        title = parse(files.get(MAIN, ""))["title"]
    except (ScenarioError, KeyError, TypeError):
        return ""
    return _one_line(str(title.get("zh", "") if isinstance(title, dict) else title))


def _one_line(text: str, most: int = 120) -> str:
    """What a column takes: no control characters, no halves of characters."""
    return "".join(letter for letter in text if letter.isprintable())[:most]


# ---------------------------------------------------------------- versions


def publish(*, scenario: WrittenScenario, revision: int, note: str, by: User) -> ScenarioVersion:
    """Adds an immutable version of the draft as it stands. A version number already used is raised by one."""
    row = _open(scenario, revision)
    form = _right(row.files, SEEDS)
    newest = row.versions.order_by("-number").first()
    if newest and _says(row.files, form.version) == _says(newest.files, newest.version):
        raise Refused(_("和第 %(n)d 版完全相同，没有要发布的修改。") % {"n": newest.number})
    used = set(row.versions.values_list("version", flat=True))
    if form.version in used:
        text = row.files[MAIN]
        raised = rewrite(text, parse(text) | {"version": _next_version(form.version, used)})
        row = _saved(row, row.files | {MAIN: raised}, by, "version")
        form = _right(row.files, ())
    with transaction.atomic():
        row = _open(row, row.revision, lock=True)
        version = ScenarioVersion.objects.create(
            scenario=row,
            number=(newest.number if newest else 0) + 1,
            files=row.files,
            digest=digest_of(row.files),
            form=form_digest(form),
            version=form.version,
            title=_one_line(form.title.zh),
            note=_one_line(note.strip(), 300),
            author=by,
        )
        audit.record(
            "scenario.published",
            row,
            by=by,
            organisation=row.organisation,
            number=version.number,
            digest=version.digest,
        )
    return version


def _right(files: Mapping[str, str], seeds: tuple[str, ...]) -> Scenario:
    form, faults = judge(files, seeds=seeds)
    if form is None:
        raise Refused(_("还有 %(n)d 处问题，改好才能发布。") % {"n": len(faults)})
    return form


def _says(files: Mapping[str, str], version: str) -> dict[str, str]:
    """The texts without their version number: raising it says nothing new."""
    line = re.compile(rf"^version:\s*[\"']?{re.escape(version)}[\"']?\s*$", re.MULTILINE)
    return {**files, MAIN: line.sub("version:", files.get(MAIN, ""))}


def _next_version(version: str, used: set[str]) -> str:
    major, minor, patch = (int(part) for part in version.split("."))
    while f"{major}.{minor}.{patch}" in used:
        patch += 1
    return f"{major}.{minor}.{patch}"


def try_draft(*, scenario: WrittenScenario, revision: int, by: User) -> Instance:
    """A practice range of the draft as it stands, published or not. Refused with what it lacks."""
    row = _open(scenario, revision)
    form, faults = judged(row)
    if form is None:
        raise Refused(_("草稿还不能试运行，有 %(n)d 处问题：%(faults)s") % {
            "n": len(faults), "faults": "；".join(_in_short(one) for one in faults[:3]) + ("……" if len(faults) > 3 else "")
        })  # fmt: skip
    with transaction.atomic():
        trial, _new = DraftTrial.objects.update_or_create(
            scenario=row, digest=digest_of(row.files),
            defaults={"revision": row.revision, "files": row.files, "author": by, "started_at": timezone.now()},
        )  # fmt: skip
        for old in row.trials.exclude(pk=trial.pk).defer("files"):
            if not Instance.objects.living().filter(scenario=old.key).exists():
                old.delete()
        instance, _job = ranges.request_range(scenario=trial.key, organisation=row.organisation, by=by)
        instance.title = _("%(title)s（草稿试运行）") % {"title": _one_line(form.title.zh, 100)}
        instance.save(update_fields=["title"])
        audit.record("scenario.tried", row, by=by, organisation=row.organisation, revision=row.revision)
    return instance


def _in_short(fault: Fault) -> str:
    place = _("%(file)s 第 %(line)s 行") % {"file": fault.file, "line": fault.line} if fault.line else fault.file
    return f"{place} {fault.where} {fault.what}" + (f"（{fault.remedy}）" if fault.remedy else "")


def archive(*, scenario: WrittenScenario, by: User) -> None:
    """Offers it to nobody any more. Versions stay: drills that used them must still be readable."""
    _archived(scenario, by, timezone.now(), "scenario.archived")


def restore(*, scenario: WrittenScenario, by: User) -> None:
    _archived(scenario, by, None, "scenario.restored")


def _archived(scenario: WrittenScenario, by: User, at: Any, action: str) -> None:
    with transaction.atomic():
        row = WrittenScenario.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=scenario.pk)
        if (row.archived_at is None) != (at is None):
            row.archived_at = at
            row.save(update_fields=["archived_at"])
            audit.record(action, row, by=by, organisation=row.organisation)
