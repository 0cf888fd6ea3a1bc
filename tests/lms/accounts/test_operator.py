"""What the platform's operator does: places, organisations, the first admin."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from lms.accounts import services
from lms.accounts.models import AuditEntry, Organisation, Region, User
from lms.accounts.uscc import check_character
from tests.factories.accounts import IndustryFactory, OrganisationFactory, RegionFactory

pytestmark = pytest.mark.django_db
USCC = "91330681MA2D0007Q" + check_character("91330681MA2D0007Q")


def run(*words: str, **options: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, **options)
    return out.getvalue().strip()


def test_load_places_says_what_is_there() -> None:
    assert re.fullmatch(r"3\d{3} regions, 37 reporting units, 31 industries", run("load_places"))
    assert Region.objects.get(code="330681").full_name == "浙江省绍兴市诸暨市"


def test_invite_admin_opens_an_organisation_whose_admin_can_join() -> None:
    RegionFactory(code="330681")
    IndustryFactory(code="15")

    told = run("invite_admin", "新厂有限公司", "boss", "王建国", region="330681", uscc=USCC.lower(), industry="15")

    organisation = Organisation.objects.get()
    assert (organisation.kind, organisation.uscc, organisation.industry_id) == ("enterprise", USCC, "15")
    user = services.join(code=told.split()[-1], password="quiet-river-29", consented=True, ip=None)
    assert list(user.memberships.values_list("organisation", "role")) == [(organisation.pk, "admin")]
    assert AuditEntry.objects.filter(action="staff.invited", actor=None).count() == 1


def test_invite_admin_finds_the_organisation_that_is_there() -> None:
    organisation = OrganisationFactory(name="老厂")

    run("invite_admin", "老厂", "boss", "王建国")

    assert User.objects.get().memberships.get().organisation == organisation


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "--region"),
        ({"region": "999999"}, "--region"),
        ({"region": "330681"}, "统一社会信用代码"),
        ({"region": "330681", "uscc": USCC[:-1] + "?"}, "统一社会信用代码"),
        ({"region": "330681", "uscc": USCC, "industry": "99"}, "--industry"),
    ],
)
def test_invite_admin_says_what_is_missing_and_writes_nothing(options: dict[str, str], word: str) -> None:
    RegionFactory(code="330681")

    with pytest.raises(CommandError, match=word):
        run("invite_admin", "新厂", "boss", "王建国", **options)
    assert (Organisation.objects.count(), User.objects.count()) == (0, 0)


def test_load_instrument_takes_the_packaged_ones_and_names_a_missing_file() -> None:
    assert "2024" in run("load_instrument")
    with pytest.raises(CommandError, match="nowhere"):
        run("load_instrument", "/nowhere.yml")


def test_operator_opens_organisations_in_the_admin_and_others_do_not(
    member: Callable[..., User], signed_in: Callable[[User], Client]
) -> None:
    RegionFactory(code="330681")
    operator = User.objects.create_superuser("root", password=None, name="平台管理员")
    values = {"kind": "enterprise", "name": "新厂", "region": "330681", "uscc": USCC}

    refused = signed_in(operator).post("/cms/organisations/new/", {**values, "uscc": USCC[:-1] + "A0"})
    done = signed_in(operator).post("/cms/organisations/new/", values)
    stranger = signed_in(member("admin")).get("/cms/organisations/")

    assert (refused.status_code, done.status_code) == (200, 302)
    assert Organisation.objects.filter(uscc=USCC, name="新厂").count() == 1
    assert "新厂" in signed_in(operator).get("/cms/organisations/?q=新").content.decode()
    assert stranger.status_code in (302, 403)
