"""Standards come whole from a file, or the file is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from certification import services
from certification.models import AwardRule, Requirement, Standard, StandardLevel, Weight
from certification.services.standards import FOLDER, load_standard
from lms.accounts.models import User
from tests.factories.certification import RULE, CredentialFactory

pytestmark = pytest.mark.django_db


def test_our_own_standard_loads_and_loads_again_to_nothing() -> None:
    services.load_standards()
    before = list(Requirement.objects.values_list("pk", "code"))

    services.load_standards()

    standard = Standard.objects.get(code="ics-ops")
    assert standard.credential_type == "platform_competency"
    assert [(level.code, level.has_review) for level in standard.levels.all()] == [("L1", False), ("L2", True)]
    assert list(Requirement.objects.values_list("pk", "code")) == before
    for level in standard.levels.all():
        for component in Weight.Component.values:
            assert (
                sum(Weight.objects.filter(function__level=level, component=component).values_list("pct", flat=True))
                == 100
            )


def test_names_that_only_filed_bodies_may_use_do_not_appear() -> None:
    for path in FOLDER.glob("*.yml"):
        data = yaml.safe_load(path.read_text())
        names = [data["title"], *(level["name"] for level in data["levels"])]
        for word in ("国家", "中国", "全国", "职业资格", "职业技能等级", "初级", "中级", "高级"):
            assert not any(word in name for name in names)


def break_it(data: dict[str, Any], how: str) -> str:
    level = data["levels"][0]
    if how == "unknown key":
        level["hours"] = 8
        return "level L1: unknown key 'hours'; allowed: "
    if how == "missing key":
        del level["min_hours"]
        return "level L1: key 'min_hours' is missing"
    if how == "weights":
        level["weights"]["theory"][0]["pct"] += 1
        return "level L1: weights.theory adds up to 101, not 100"
    if how == "weight of nothing":
        level["weights"]["theory"][0]["function"] = "F9"
        return "level L1: weights.theory and functions differ in BASE, F9"
    if how == "type":
        data["credential_type"] = "职业资格证书"
        return "credential_type '职业资格证书'; allowed: "
    requirements = level["functions"][0]["contents"][0]["requirements"]
    requirements.append(dict(requirements[0]))
    return f"level L1 requirements: '{requirements[0]['code']}' appears twice"


@pytest.mark.parametrize("how", ["unknown key", "missing key", "weights", "weight of nothing", "type", "twice"])
def test_a_faulty_file_is_named_with_its_fault_and_writes_nothing(tmp_path: Path, how: str) -> None:
    data = yaml.safe_load((FOLDER / "ics_ops_2026.yml").read_text())
    words = break_it(data, how)
    path = tmp_path / "broken.yml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True))

    with pytest.raises(services.StandardError) as error:
        load_standard(path=path)

    assert str(error.value).startswith(f"broken.yml: {words}")
    assert not Standard.objects.exists()


def test_a_version_that_was_used_cannot_change(tmp_path: Path) -> None:
    text = (FOLDER / "ics_ops_2026.yml").read_text()
    path = tmp_path / "s.yml"
    path.write_text(text)
    standard = load_standard(path=path)
    path.write_text(text.replace("min_hours: 8", "min_hours: 4"))

    load_standard(path=path)  # nobody has used it yet: a correction is taken
    assert standard.levels.get(rank=1).min_hours == 4

    CredentialFactory(level=standard.levels.get(rank=1))
    path.write_text(text)
    with pytest.raises(services.StandardError, match="raise `version`"):
        load_standard(path=path)


def test_a_rule_gets_a_new_version_only_when_it_changes() -> None:
    services.load_standards()
    level = StandardLevel.objects.get(code="L1")

    first = services.set_rule(level=level, data=RULE)
    assert services.set_rule(level=level, data=RULE) == first
    second = services.set_rule(level=level, data={**RULE, "hours": 12})

    assert list(AwardRule.objects.order_by("version").values_list("version", "active")) == [(1, False), (2, True)]
    assert second.rule.hours == 12
    assert not User.objects.exists()
