"""Who may do what with applications, certificates and counts. Deny by default; nothing here writes.

An assessor works for an assessment body and never judges himself or people of an organisation he belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lms.accounts.rules import Role, has_role, jurisdiction_prefixes, organisation_ids

if TYPE_CHECKING:
    from certification.models import Appeal, Application, Credential
    from lms.accounts.models import Region, User


def is_assessor(user: User) -> bool:
    return has_role(user, Role.ASSESSOR)


def may_judge(user: User, application: Application) -> bool:
    """Own body (or any body when the rule names none), not oneself, not one's own organisation."""
    bodies = organisation_ids(user, Role.ASSESSOR)
    rule = application.level.rules.filter(active=True).first()
    body = rule.assessed_by_id if rule else None
    return (
        bool(bodies)
        and (body is None or body in bodies)
        and application.user_id != user.pk
        and application.organisation_id not in organisation_ids(user)
    )


def may_answer(user: User, appeal: Appeal) -> bool:
    """Whoever may judge the case and has had no hand in the decision appealed against."""
    application = appeal.decision.application
    return (
        may_judge(user, application)
        and appeal.decision.decided_by_id != user.pk
        and not application.marks.filter(assessor=user).exists()
    )


def may_see_decision(user: User, application: Application) -> bool:
    return application.user_id == user.pk or may_judge(user, application)


def may_have_document(user: User, credential: Credential) -> bool:
    """The certificate itself, check code and all: its holder only."""
    return credential.user_id == user.pk


def may_end(user: User, credential: Credential) -> bool:
    """Revoke or reissue: an assessor who could have judged the case; for registered official ones any assessor."""
    if credential.decision is None:
        return is_assessor(user) and credential.user_id != user.pk
    return may_judge(user, credential.decision.application)


def is_officer(user: User) -> bool:
    return bool(jurisdiction_prefixes(user))


def may_see_region(user: User, region: Region) -> bool:
    """Exact figures: the own region and all below it."""
    return any(region.code.startswith(prefix) for prefix in jurisdiction_prefixes(user))


def may_see_prefix(user: User, prefix: str) -> bool:
    """The same for the digits of a region; the whole country ("") needs a bureau whose own digits are empty."""
    return any(prefix.startswith(own) for own in jurisdiction_prefixes(user))


def may_set_target(user: User, region: Region) -> bool:
    """Targets and workforce figures: an officer, for the own region and all below it."""
    return is_officer(user) and may_see_region(user, region)
