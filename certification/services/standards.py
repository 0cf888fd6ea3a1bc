"""Standards come from files: checked whole, then written in one transaction, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from django.db import transaction
from django.utils import timezone

from certification.domain.criteria import Rule
from certification.models import (
    AwardRule,
    Credential,
    Function,
    Occupation,
    Requirement,
    Standard,
    StandardLevel,
    Weight,
    WorkContent,
)
from certification.models.standards import CredentialType
from lms.accounts import audit
from lms.accounts.models import Organisation, User

FOLDER = Path(__file__).resolve().parent.parent / "content" / "standards"
KEYS = {
    "standard": {
        "code",
        "version",
        "title",
        "occupation",
        "credential_type",
        "issued_by",
        "effective_from",
        "superseded_by",
        "levels",
    },
    "occupation": {"code2022", "code_std", "name"},
    "level": {
        "rank",
        "code",
        "name",
        "audience",
        "min_hours",
        "theory_pass",
        "practice_pass",
        "has_review",
        "validity_months",
        "functions",
        "weights",
    },
    "function": {"code", "name", "contents"},
    "content": {"code", "name", "requirements"},
    "requirement": {"code", "kind", "text", "to_verify"},
    "weight": {"function", "pct"},
}
OPTIONAL = {"superseded_by", "audience", "to_verify", "validity_months"}
BASIC = "BASE"  # the code of 基本要求, which the weight tables list beside the functions


class StandardError(ValueError):
    """A standard file that cannot be used: which file, where in it, what is wrong."""


def load_standards(*, folder: Path = FOLDER) -> list[Standard]:
    """Every file of the folder; a version that is there with the same content is left alone."""
    return [load_standard(path=path) for path in sorted(folder.glob("*.yml"))]


@transaction.atomic
def load_standard(*, path: Path) -> Standard:
    raw = path.read_bytes()
    data = yaml.safe_load(raw)
    _check(path.name, data)
    digest = hashlib.sha256(raw).hexdigest()
    known = Standard.objects.filter(code=data["code"], version=str(data["version"])).first()
    if known is not None and known.digest == digest:
        return known
    if known is not None and _is_used(known):
        raise StandardError(
            f"{path.name}: version {known.version} of {known.code} has been used for applications and cannot change; "
            "raise `version` and load again"
        )
    occupation, _made = Occupation.objects.update_or_create(
        code2022=data["occupation"]["code2022"],
        defaults={"code_std": data["occupation"]["code_std"], "name": data["occupation"]["name"]},
    )
    values = {
        "occupation": occupation,
        "title": data["title"],
        "credential_type": data["credential_type"],
        "issued_by": data["issued_by"],
        "effective_from": date.fromisoformat(str(data["effective_from"])),
        "superseded_by": data.get("superseded_by") or "",
        "digest": digest,
    }
    standard, _made = Standard.objects.update_or_create(
        code=data["code"], version=str(data["version"]), defaults=values
    )
    for level in data["levels"]:
        _write_level(standard, level)
    return standard


def _write_level(standard: Standard, data: Mapping[str, Any]) -> None:
    names = ("code", "name", "audience", "min_hours", "theory_pass", "practice_pass", "has_review", "validity_months")
    level, _made = StandardLevel.objects.update_or_create(
        standard=standard,
        rank=data["rank"],
        defaults={name: data.get(name) for name in names} | {"audience": data.get("audience", "")},
    )
    level.functions.all().delete()
    weights = {(component, row["function"]): row["pct"] for component, rows in data["weights"].items() for row in rows}
    for order, function_data in enumerate(data["functions"], start=1):
        function = Function.objects.create(
            level=level,
            code=function_data["code"],
            name=function_data["name"],
            basic=function_data["code"] == BASIC,
            order=order,
        )
        Weight.objects.bulk_create(
            Weight(function=function, component=component, pct=weights[component, function.code])
            for component in Weight.Component.values
        )
        for place, content_data in enumerate(function_data["contents"], start=1):
            content = WorkContent.objects.create(
                function=function, code=content_data["code"], name=content_data["name"], order=place
            )
            Requirement.objects.bulk_create(
                Requirement(
                    content=content,
                    code=row["code"],
                    kind=row["kind"],
                    text=row["text"],
                    to_verify=row.get("to_verify", False),
                    order=number,
                )
                for number, row in enumerate(content_data["requirements"], start=1)
            )


def _is_used(standard: Standard) -> bool:
    levels = standard.levels.all()
    return levels.filter(applications__isnull=False).exists() or Credential.objects.filter(level__in=levels).exists()


@transaction.atomic
def set_rule(
    *, level: StandardLevel, data: Mapping[str, Any], assessed_by: Organisation | None = None, by: User | None = None
) -> AwardRule:
    """Makes `data` the rule of the level; the same data again changes nothing, other data is the next version."""
    Rule.from_data(data)
    current = level.rules.select_for_update().filter(active=True).first()
    if current is not None and current.data == data and current.assessed_by == assessed_by:
        return current
    if current is not None:
        AwardRule.objects.filter(pk=current.pk).update(active=False)
    rule = AwardRule.objects.create(
        level=level,
        version=(level.rules.order_by("-version").values_list("version", flat=True).first() or 0) + 1,
        data=dict(data),
        assessed_by=assessed_by,
        effective_from=timezone.now(),
    )
    audit.record("award_rule.set", rule, by=by, version=rule.version, rule=dict(data))
    return rule


# --- the check, before anything is written ---------------------------------------------------------------------------


def _check(file: str, data: Any) -> None:
    _keys(file, "standard", "standard", data)
    if data["credential_type"] not in CredentialType.values:
        raise StandardError(
            f"{file}: credential_type {data['credential_type']!r}; allowed: {', '.join(CredentialType.values)}"
        )
    _keys(file, "occupation", "occupation", data["occupation"])
    _once(file, "levels", [level.get("rank") for level in data["levels"]])
    for level in data["levels"]:
        where = f"level {level.get('code', '?')}"
        _keys(file, where, "level", level)
        _once(file, f"{where} functions", [function.get("code") for function in level["functions"]])
        for function in level["functions"]:
            _keys(file, f"{where} function {function.get('code', '?')}", "function", function)
            for content in function["contents"]:
                _keys(file, f"{where} content {content.get('code', '?')}", "content", content)
                for row in content["requirements"]:
                    _keys(file, f"{where} requirement {row.get('code', '?')}", "requirement", row)
                    if row["kind"] not in Requirement.Kind.values:
                        raise StandardError(f"{file}: {row['code']}: kind {row['kind']!r}; allowed: ability, knowledge")
        _once(
            file,
            f"{where} requirements",
            [row["code"] for f in level["functions"] for c in f["contents"] for row in c["requirements"]],
        )
        _check_weights(file, where, level)


def _check_weights(file: str, where: str, level: Mapping[str, Any]) -> None:
    if set(level["weights"]) != set(Weight.Component.values):
        raise StandardError(f"{file}: {where}: weights needs exactly the tables theory and ability")
    functions = {function["code"] for function in level["functions"]}
    for component, rows in level["weights"].items():
        for row in rows:
            _keys(file, f"{where} weights.{component}", "weight", row)
        named = [row["function"] for row in rows]
        _once(file, f"{where} weights.{component}", named)
        if set(named) != functions:
            odd = ", ".join(sorted(set(named) ^ functions))
            raise StandardError(f"{file}: {where}: weights.{component} and functions differ in {odd}")
        total = sum(row["pct"] for row in rows)
        if total != 100:
            raise StandardError(f"{file}: {where}: weights.{component} adds up to {total}, not 100")


def _keys(file: str, where: str, kind: str, data: Any) -> None:
    if not isinstance(data, Mapping):
        raise StandardError(f"{file}: {where}: a mapping is expected here")
    unknown, missing = set(data) - KEYS[kind], KEYS[kind] - OPTIONAL - set(data)
    if unknown:
        raise StandardError(
            f"{file}: {where}: unknown key {sorted(unknown)[0]!r}; allowed: {', '.join(sorted(KEYS[kind]))}"
        )
    if missing:
        raise StandardError(f"{file}: {where}: key {sorted(missing)[0]!r} is missing")


def _once(file: str, where: str, values: list[Any]) -> None:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise StandardError(f"{file}: {where}: {twice[0]!r} appears twice")
