"""Every page a role opens: no fault for axe, nothing refused by the policy, no sideways scroll, at both sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import DESK, PHONE, Visitor, axe_faults, scrolls_sideways

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = {
    None: ["/", "/accounts/login/", "/people/join/", "/certification/verify/"],
    "learner": ["/learn/", "/learn/exams/", "/drills/", "/people/me/", "/jobs/", "/certification/"],
    "admin": ["/people/dossier/", "/people/staff/", "/people/staff/invite/", "/people/staff/import/", "/maturity/",
              "/maturity/plan/", "/drills/"],
    "trainer": ["/learn/teaching/", "/range/"],
    "security": ["/drills/", "/range/"],
    "assessor": ["/certification/desk/"],
    "officer": ["/certification/bureau/", "/certification/bureau/?map=rate", "/certification/bureau/targets/",
                "/certification/bureau/workforce/"],
}  # fmt: skip


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("person", PAGES, ids=lambda person: person or "public")
def test_pages_are_clean(visit: Callable[..., Visitor], person: str | None, size: dict[str, int]) -> None:
    visitor = visit(person, size=size)

    found = {}
    for path in PAGES[person]:
        page = visitor.go(path)
        faults = axe_faults(page)
        if page.locator(".lb-error").count():
            faults.append("shows an error page")
        if scrolls_sideways(page):
            faults.append("scrolls sideways")
        if faults:
            found[path] = faults

    assert found == {}
