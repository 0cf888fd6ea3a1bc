"""The enterprise's admin answers; its people see the plan; the bureau of its region sees level and plan, not answers."""

from __future__ import annotations

from lms.accounts.models import Organisation, User
from lms.accounts.rules import Role, has_role, may_see_organisation


def may_answer(user: User, organisation: Organisation) -> bool:
    return organisation.kind == Organisation.Kind.ENTERPRISE and has_role(user, Role.ADMIN, organisation.pk)


def may_see_result(user: User, organisation: Organisation) -> bool:
    return may_see_organisation(user, organisation)
