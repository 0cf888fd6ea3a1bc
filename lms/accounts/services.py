"""Inviting, admitting and releasing people; consent; a person's own data."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from wagtail import hooks

from lms.accounts import audit
from lms.accounts.models import AuditEntry, Consent, Invitation, Membership, Organisation, User
from lms.accounts.rules import Role, grantable_roles, may_reset_password

CODE_CHARACTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # no 0/O, 1/I/L
CODE_LENGTH = 12  # 59 bits, with a rate limit in front and seven days of life
INVITATION_DAYS = 7
CONSENT_VERSION = "2026-11"


def hash_code(code: str) -> str:
    return hashlib.sha256(code.upper().replace("-", "").replace(" ", "").encode()).hexdigest()


@transaction.atomic
def invite(
    organisation: Organisation,
    *,
    username: str,
    name: str,
    job_title: str,
    phone: str,
    roles: Iterable[str],
    by: User | None,
) -> tuple[User, str]:
    """Makes the person with these roles and a one-use code to hand over. Returns (person, code shown once). `by` is
    None for the operator at the command line.

    Raises ValidationError for a taken user name or a role this organisation cannot grant.
    """
    if User.objects.filter(username__iexact=username).exists():
        raise ValidationError(
            {"username": _("用户名“%(u)s”已有人使用，请换一个，例如加上厂名缩写。") % {"u": username}}
        )
    user = User(username=username, name=name, job_title=job_title, phone=phone, is_demo=organisation.is_demo)
    user.set_unusable_password()
    user.full_clean(exclude=["password"])
    user.save()
    set_roles(user, organisation=organisation, roles=roles, by=by)
    code = make_code(user, organisation=organisation, by=by)
    audit.record("staff.invited", user, by=by, organisation=organisation, roles=sorted(roles))
    return user, code


@transaction.atomic
def renew_code(user: User, *, organisation: Organisation, by: User, ip: str | None) -> str:
    """A new code for someone who lost his or forgot the password.

    Raises ValidationError where the code would open more than this organisation: an admin here must not get into what
    the person does elsewhere.
    """
    if not may_reset_password(user, organisation):
        raise ValidationError(
            _("%(name)s 还在其他单位任职或有平台管理权限，本单位不能代为重设密码；请本人用邮箱找回，或联系平台管理员。")
            % {"name": user.name}
        )
    code = make_code(user, organisation=organisation, by=by)
    audit.record("staff.code", user, by=by, organisation=organisation, ip=ip)
    return code


def end_codes(user: User) -> None:
    """Codes handed out and not used yet open nothing any more."""
    user.invitations.filter(used_at=None, expires_at__gt=timezone.now()).update(expires_at=timezone.now())


@transaction.atomic
def make_code(user: User, *, organisation: Organisation, by: User | None) -> str:
    """A fresh one-use code; earlier ones of the person end. Shown once, kept as a hash."""
    end_codes(user)
    raw = "".join(secrets.choice(CODE_CHARACTERS) for _ in range(CODE_LENGTH))
    Invitation.objects.create(
        user=user,
        organisation=organisation,
        code_hash=hash_code(raw),
        made_by=by,
        expires_at=timezone.now() + timedelta(days=INVITATION_DAYS),
    )
    return "-".join(raw[i : i + 4] for i in range(0, CODE_LENGTH, 4))


@transaction.atomic
def join(*, code: str, password: str, consented: bool, ip: str | None) -> User:
    """Sets the first password by an invitation's code. Raises ValidationError; the same words for unknown and used."""
    invitation = (
        Invitation.objects.select_for_update(of=("self",))
        .select_related("user", "organisation")
        .filter(code_hash=hash_code(code), used_at=None, expires_at__gt=timezone.now(), user__is_active=True)
        .first()
    )
    if invitation is None:
        raise ValidationError({"code": _("加入码不对或已过期，请向企业管理员要一个新的。")})
    if not consented:
        raise ValidationError({"consent": _("需要您同意后才能继续。")})
    user = invitation.user
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"password": error.messages}) from error
    user.set_password(password)
    user.save(update_fields=["password"])
    invitation.used_at = timezone.now()
    invitation.save(update_fields=["used_at"])
    give_consent(user, purpose="service", version=CONSENT_VERSION, ip=ip)
    audit.record("staff.joined", user, by=user, organisation=invitation.organisation, ip=ip)
    return user


@transaction.atomic
def set_roles(user: User, *, organisation: Organisation, roles: Iterable[str], by: User | None) -> None:
    """Makes the person's roles here exactly `roles`; ended memberships stay as history. Roles that the organisation
    cannot grant (given by the platform) are left as they are.

    Raises ValidationError for a role the organisation cannot grant and for taking the last admin away.
    """
    wanted, allowed = set(roles), set(grantable_roles(organisation))
    strange = wanted - allowed
    if strange:
        words = "、".join(str(Role(role).label) for role in sorted(strange))
        raise ValidationError({"roles": _("%(roles)s 不能由本单位授予。") % {"roles": words}})
    standing = standing_roles(user, organisation)
    kept = wanted | (standing.keys() - allowed)
    if kept != standing.keys():
        change_roles(user, organisation, standing, kept)
        audit.record("staff.roles", user, by=by, organisation=organisation, roles=sorted(kept))


def standing_roles(user: User, organisation: Organisation) -> dict[str, Membership]:
    """The person's present roles here, read under a lock on the organisation: two admins who take each other's role
    away at the same moment wait for one another, and the second finds himself the last."""
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    return {m.role: m for m in user.memberships.active().of(organisation)}


def change_roles(user: User, organisation: Organisation, standing: dict[str, Membership], wanted: set[str]) -> None:
    if Role.ADMIN in standing and Role.ADMIN not in wanted:
        others = Membership.objects.active().of(organisation).filter(role=Role.ADMIN).exclude(user=user)
        if not others.exists():
            raise ValidationError({"roles": _("至少要留一名企业管理员。")})
    for role in sorted(wanted - standing.keys()):
        Membership.objects.create(user=user, organisation=organisation, role=role)
    for role in sorted(standing.keys() - wanted):
        standing[role].ended_at = timezone.now()
        standing[role].save(update_fields=["ended_at"])
    user.forget_roles()


@transaction.atomic
def update_person(user: User, *, organisation: Organisation, by: User, roles: Iterable[str], **values: str) -> User:
    """Changes name, job title or phone and the roles here."""
    for name, value in values.items():
        setattr(user, name, value)
    user.full_clean(exclude=["password"])
    user.save(update_fields=list(values))
    set_roles(user, organisation=organisation, roles=roles, by=by)
    audit.record("staff.updated", user, by=by, organisation=organisation, fields=sorted(values))
    return user


@transaction.atomic
def release(user: User, *, organisation: Organisation, by: User) -> None:
    """Ends every role of the person here (left the company) and codes not used yet. What he earned stays his."""
    standing = standing_roles(user, organisation)
    change_roles(user, organisation, standing, set())
    end_codes(user)
    audit.record("staff.released", user, by=by, organisation=organisation, roles=sorted(standing))


@transaction.atomic
def give_consent(user: User, *, purpose: str, version: str, ip: str | None) -> Consent:
    consent, made = Consent.objects.get_or_create(
        user=user, purpose=purpose, version=version, withdrawn_at=None, defaults={"ip": ip}
    )
    if made:
        audit.record("consent.given", consent, by=user, ip=ip, purpose=purpose, version=version)
    return consent


@transaction.atomic
def withdraw_consent(consent: Consent, *, by: User) -> None:
    """PIPL art. 15 and 47. Withdrawal is recorded, not deleted; what rested on the consent alone is erased by every app that
    registers the hook "erase_personal_data"; certificates, exams and the log's events rest on more than that and stay."""
    if Consent.objects.filter(pk=consent.pk, withdrawn_at=None).update(withdrawn_at=timezone.now()):
        consent.refresh_from_db()
        audit.record("consent.withdrawn", consent, by=by, purpose=consent.purpose)
        if consent.purpose == Consent.Purpose.SERVICE:
            for erase in hooks.get_hooks("erase_personal_data"):
                erase(consent.user, by)


def consent_stands(user: User) -> bool:
    """False once the consent to the service was withdrawn and not given anew."""
    purposes = user.consents.filter(purpose=Consent.Purpose.SERVICE)
    withdrawn = set(purposes.values_list("withdrawn_at", flat=True))
    return not withdrawn or None in withdrawn


@transaction.atomic
def update_own_profile(user: User, *, phone: str, email: str, language: str) -> User:
    user.phone, user.email, user.language = phone, email, language
    user.full_clean(exclude=["password"])
    user.save(update_fields=["phone", "email", "language"])
    audit.record("profile.updated", user, by=user)
    return user


def personal_data(user: User) -> dict[str, Any]:
    """What this app holds of the person, for 'download my data' (PIPL art. 45). Other apps add theirs by the hook
    "personal_data"."""
    return {
        "profile": {
            "username": user.username, "name": user.name, "phone": user.phone, "email": user.email,
            "job_title": user.job_title, "language": user.language, "joined": user.date_joined.isoformat(),
        },
        "memberships": [
            {"organisation": m.organisation.name, "role": m.role, "from": m.started_at.isoformat(),
             "to": m.ended_at.isoformat() if m.ended_at else None}
            for m in user.memberships.select_related("organisation")
        ],
        "consents": [
            {"purpose": c.purpose, "version": c.version, "given": c.given_at.isoformat(),
             "withdrawn": c.withdrawn_at.isoformat() if c.withdrawn_at else None}
            for c in user.consents.all()
        ],
        "audit": [
            {"at": a.at.isoformat(), "action": a.action, "target": a.target_label}
            for a in AuditEntry.objects.filter(actor=user)[:1000]
        ],
    }  # fmt: skip
