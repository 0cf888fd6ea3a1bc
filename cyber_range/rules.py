"""Who may do what with ranges. Practice ranges belong to the organisation that started them; drills own theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lms.accounts.rules import Role, organisation_ids

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from cyber_range.models import Instance
    from lms.accounts.models import User


def operating_organisations(user: User | AnonymousUser) -> set[int]:
    """Organisations for which the person may start ranges."""
    return organisation_ids(user, Role.SECURITY, Role.TRAINER)


def may_administer_ranges(user: User | AnonymousUser) -> bool:
    """Range administrators look after machines, quotas and every organisation's ranges: superusers, and staff whose group
    was given the right to change range hosts."""
    return bool(user.is_active and user.has_perm("cyber_range.change_rangehost"))


def may_use_range(user: User | AnonymousUser) -> bool:
    return bool(operating_organisations(user))


def may_see_instance(user: User | AnonymousUser, instance: Instance) -> bool:
    return instance.organisation_id in operating_organisations(user)


def may_operate_instance(user: User | AnonymousUser, instance: Instance) -> bool:
    """Reset, extend, end. A drill's range is run from its room, by its white cell."""
    return may_see_instance(user, instance) and instance.purpose == "practice"


def may_download_captures(user: User | AnonymousUser, instance: Instance) -> bool:
    """Captures of a practice range; those of a drill are handed out by its review, when it is over."""
    return may_operate_instance(user, instance)
