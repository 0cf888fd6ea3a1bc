"""The certificate: issued exactly once, verified without a trace of its code, ended in the open."""

from __future__ import annotations

import secrets
from datetime import date, datetime, time
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification import badges, rules
from certification.documents import CertificateText, certificate_pdf
from certification.domain.credential import (
    Status,
    check_code_fits,
    check_code_hash,
    last_valid_day,
    new_check_code,
    new_number,
    read_check_code,
    read_number,
    shown_check_code,
)
from certification.models import Credential, CredentialEvent, Decision, SigningKey, StatusList
from certification.models.standards import CredentialType
from certification.sealing import seal, unseal
from certification.services.keys import current_key, private_pem
from certification.services.refusal import Refusal
from certification.signing import signed_pdf
from certification.wording import CREDENTIAL_TITLE, ISSUER_NAME, proven
from lms.accounts import audit
from lms.accounts.models import Organisation, User
from lms.jobs.services import enqueue

USE = "check code"


@transaction.atomic
def issue(*, decision: Decision, by: User | None = None, now: datetime | None = None) -> Credential:
    """The certificate of a decision that was met; the one that is there when it was issued before."""
    if not decision.met:
        raise Refusal(_("这份决定未满足授予条件，不能签发证书。"))
    now = now or timezone.now()
    existing = Credential.objects.filter(decision=decision, replaces=None).first()
    if existing is not None:
        return existing
    application = decision.application
    level, user, organisation = application.level, application.user, application.organisation
    today = timezone.localdate(now)
    try:
        with transaction.atomic():
            credential = _create_ours(
                credential_type=level.standard.credential_type,
                title=f"{level.standard.title} {level.name}",
                standard_code=level.standard.code,
                level_code=level.code,
                level=level,
                decision=decision,
                person=user.pseudonym,
                user=user,
                holder_name=user.name,
                organisation=organisation,
                region_id=organisation.region_id,
                industry_id=organisation.industry_id,
                size=organisation.size,
                issued_at=now,
                issued_on=today,
                known_from=today,
                expires_on=last_valid_day(today, level.validity_months),
                is_demo=organisation.is_demo or user.is_demo,
            )
    except IntegrityError:  # another worker was faster, or the person holds one from another application
        return Credential.objects.get(person=user.pseudonym, level=level, state=Credential.State.ACTIVE)
    CredentialEvent.objects.create(credential=credential, kind=CredentialEvent.Kind.ISSUED, by=by, at=now)
    audit.record(
        "credential.issued", credential, by=by, organisation=organisation, decision=decision.number, level=str(level)
    )
    _order_document(credential)
    return credential


@transaction.atomic
def reissue(
    *, credential: Credential, by: User, reason: str, note: str = "", holder_name: str = "", now: datetime | None = None
) -> Credential:
    """A new number, code and badge for the same achievement and term; the old one says that it was replaced."""
    now = now or timezone.now()
    credential = Credential.objects.select_for_update().get(pk=credential.pk)
    if not rules.may_end(by, credential):
        raise Refusal(_("您不能补发这张证书。"), _("请由签发该证书的评价机构办理。"))
    if credential.state != Credential.State.ACTIVE or not credential.is_ours:
        raise Refusal(_("只有本平台签发的有效证书可以补发。"))
    _end(credential, Credential.State.REISSUED, CredentialEvent.Kind.REISSUED, reason, note, by, now)
    copied = (
        "credential_type",
        "title",
        "standard_code",
        "level_code",
        "level",
        "decision",
        "person",
        "user",
        "organisation",
        "region",
        "industry",
        "size",
        "expires_on",
        "is_demo",
    )
    today = timezone.localdate(now)
    new = _create_ours(
        **{name: getattr(credential, name) for name in copied},
        holder_name=holder_name or credential.holder_name,
        replaces=credential,
        issued_at=now,
        issued_on=today,
        known_from=today,
    )
    CredentialEvent.objects.create(credential=new, kind=CredentialEvent.Kind.ISSUED, by=by, at=now)
    _order_document(new)
    return new


@transaction.atomic
def revoke(*, credential: Credential, by: User, reason: str, note: str = "", now: datetime | None = None) -> Credential:
    """Takes a certificate back. It stays in every list and on the verification page, with day and reason."""
    now = now or timezone.now()
    credential = Credential.objects.select_for_update().get(pk=credential.pk)
    if not rules.may_end(by, credential):
        raise Refusal(_("您不能撤销这张证书。"), _("请由签发该证书的评价机构办理。"))
    if reason not in CredentialEvent.Reason.values or not reason:
        raise Refusal(_("撤销须写明理由。"))
    if credential.state not in (Credential.State.ACTIVE, Credential.State.EXPIRED):
        raise Refusal(_("这张证书已经撤销或被补发替代。"))
    return _end(credential, Credential.State.REVOKED, CredentialEvent.Kind.REVOKED, reason, note, by, now)


@transaction.atomic
def expire_due(*, today: date, limit: int = 1000) -> int:
    """Turns certificates past their last day into expired ones; how many. The status on a day never depended on it:
    it frees the place under "one active per level" so that the person can apply anew."""
    due = Credential.objects.select_for_update(skip_locked=True).filter(
        state=Credential.State.ACTIVE, expires_on__lt=today
    )
    rows = list(due.order_by("pk")[:limit])
    for credential in rows:
        CredentialEvent.objects.create(credential=credential, kind=CredentialEvent.Kind.EXPIRED)
        credential.state = Credential.State.EXPIRED
        credential.save(update_fields=["state"])
    return len(rows)


@transaction.atomic
def register_external(
    *,
    user: User,
    organisation: Organisation,
    title: str,
    standard_code: str,
    level_code: str,
    issuer: str,
    number: str,
    issued_on: date,
    expires_on: date | None,
    evidence: UploadedFile,
    by: User,
    now: datetime | None = None,
) -> Credential:
    """Books an official certificate that another body issued, with its own number and a picture of it. We vouch for the
    entry, not for the certificate: it gets no check code and no badge, and no count mixes it with ours."""
    now = now or timezone.now()
    if not rules.is_assessor(by) or by.pk == user.pk:
        raise Refusal(_("外部证书由考评员核对原件后登记。"))
    if issued_on > timezone.localdate(now):
        raise Refusal(_("签发日期不能晚于今天。"))
    try:
        with transaction.atomic():
            credential = Credential.objects.create(
                credential_type=CredentialType.EXTERNAL,
                number=_free_number(now.year),
                title=title,
                standard_code=standard_code,
                level_code=level_code,
                person=user.pseudonym,
                user=user,
                holder_name=user.name,
                organisation=organisation,
                region_id=organisation.region_id,
                industry_id=organisation.industry_id,
                size=organisation.size,
                issued_at=now,
                issued_on=issued_on,
                known_from=timezone.localdate(now),
                expires_on=expires_on,
                external_issuer=issuer,
                external_number=number,
                external_evidence=evidence,
                is_demo=organisation.is_demo,
            )
    except IntegrityError:
        raise Refusal(_("%(issuer)s 的这个证书编号已经登记过。") % {"issuer": issuer}) from None
    CredentialEvent.objects.create(credential=credential, kind=CredentialEvent.Kind.REGISTERED, by=by, at=now)
    audit.record("credential.registered", credential, by=by, organisation=organisation, issuer=issuer)
    return credential


def verify(*, number: str, code: str) -> Credential | None:
    """The certificate when number and check code belong together. Unknown number, wrong code and unreadable input give
    the same None after the same work, so that nobody learns which numbers exist. Only the code's hash is compared."""
    read, typed = read_number(number) or "", read_check_code(code) or ""
    credential = (
        Credential.objects.filter(number=read)
        .exclude(check_code_hash="")
        .select_related("level__standard__occupation", "decision", "replaced_by", "organisation")
        .first()
    )
    fits = check_code_fits(read, typed, credential.check_code_hash if credential else check_code_hash("", "-"))
    return credential if fits and credential is not None else None


def check_code_of(credential: Credential) -> str:
    """For the holder's own page and document: 7K2M-9QXA-4TB0W."""
    return shown_check_code(unseal(credential.check_code_sealed, use=USE).decode())


def verification_url(credential: Credential) -> str:
    """What the QR says. The code stands after #: browsers do not send that part to any server."""
    path = reverse("certification:verify_number", args=[credential.number])
    return f"{settings.PUBLIC_URL}{path}#{check_code_of(credential).replace('-', '')}"


def render_document(*, credential: Credential) -> Credential:
    """Makes the PDF, signs it and keeps it beside the certificate; made already, it stays."""
    if credential.document:
        return credential
    level = credential.level
    key = current_key(SigningKey.Purpose.DOCUMENT)
    pdf = certificate_pdf(
        CertificateText(
            number=credential.number,
            title=credential.title,
            kind=credential.get_credential_type_display(),
            holder=credential.holder_name,
            standard_title=level.standard.title if level else credential.title,
            standard=f"{level.standard.code} {level.standard.version}" if level else credential.standard_code,
            occupation=level.standard.occupation.name if level else "",
            level=level.name if level else "",
            issued_on=credential.issued_on,
            expires_on=credential.expires_on,
            proven=proven(credential),
            issuer=ISSUER_NAME,
            notice=level.standard.issued_by if level else "",
            check_code=check_code_of(credential),
            url=verification_url(credential),
            verify_page=f"{settings.PUBLIC_URL}{reverse('certification:verify')}",
            is_demo=credential.is_demo,
        )
    )
    pdf = signed_pdf(
        pdf,
        private_pem=private_pem(key),
        certificate_pem=key.certificate,
        reason=f"签发证书 {credential.number}",
    )
    name = Path(f"{credential.badge_id}.pdf").name
    with transaction.atomic():
        row = Credential.objects.select_for_update().get(pk=credential.pk)
        if not row.document:
            row.document.save(name, ContentFile(pdf), save=False)
            row.save(update_fields=["document"])
    return row


def status_list_token(*, status_list: StatusList, now: datetime | None = None) -> str:
    """The list as a signed credential, made from the books at this moment."""
    ended = status_list.credentials.filter(state__in=[Credential.State.REVOKED, Credential.State.REISSUED]).values_list(
        "status_index", flat=True
    )
    key = current_key(SigningKey.Purpose.CREDENTIAL)
    return badges.signed_status_list(
        url=status_list_url(status_list),
        issuer_url=issuer_url(),
        ended=list(ended),
        size=StatusList.SIZE,
        now=now or timezone.now(),
        private_pem=private_pem(key),
    )


def status_list_url(status_list: StatusList) -> str:
    return f"{settings.PUBLIC_URL}{reverse('certification:status_list', args=[status_list.token])}"


def issuer_url() -> str:
    return f"{settings.PUBLIC_URL}{reverse('certification:issuer')}"


# --- inside ------------------------------------------------------------------------------------------------------------


def _create_ours(**values: object) -> Credential:
    """A row with number, sealed code, a place in the status list and a signed badge."""
    issued_on = values["issued_on"]
    assert isinstance(issued_on, date)
    number, code = _free_number(issued_on.year), new_check_code()
    status_list, place = _status_place()
    credential = Credential(
        **values,
        number=number,
        check_code_hash=check_code_hash(number, code),
        check_code_sealed=seal(code.encode(), use=USE),
        identity_salt=secrets.token_hex(16),
        status_list=status_list,
        status_index=place,
    )
    key = current_key(SigningKey.Purpose.CREDENTIAL)
    credential.badge = badges.sign(_badge_facts(credential), private_pem=private_pem(key))
    credential.save()
    return credential


def _badge_facts(credential: Credential) -> badges.BadgeFacts:
    level = credential.level
    assert level is not None
    assert credential.status_list is not None
    assert credential.status_index is not None
    standard = level.standard
    page = (
        f"{settings.PUBLIC_URL}{reverse('certification:standard', args=[standard.code, standard.version, level.code])}"
    )
    until = credential.expires_on and timezone.make_aware(
        datetime.combine(credential.expires_on, time.max.replace(microsecond=0))
    )
    return badges.BadgeFacts(
        badge_id=str(credential.badge_id),
        achievement_url=page,
        title=CREDENTIAL_TITLE.format(title=credential.title),
        description=standard.issued_by,
        criteria="\n".join(line.narrative for line in proven(credential)),
        framework=f"{standard.title} {standard.version}(职业编码 {standard.occupation.code2022})",
        standard_code=f"{standard.code}/{standard.version}/{level.code}",
        standard_url=page,
        issuer_url=issuer_url(),
        issuer_name=ISSUER_NAME,
        issuer_site=f"{settings.PUBLIC_URL}/",
        person=str(credential.person),
        salt=credential.identity_salt,
        issued_at=credential.issued_at,
        valid_until=until or None,
        status_list_url=status_list_url(credential.status_list),
        status_index=credential.status_index,
        proofs=tuple(proven(credential)),
    )


def _status_place() -> tuple[StatusList, int]:
    """A random free place. Lists are filled to a half, so that a draw seldom meets a taken one."""
    current = StatusList.objects.select_for_update().filter(used__lt=StatusList.SIZE // 2).order_by("pk").first()
    if current is None:
        current = StatusList.objects.create()
    while True:
        place = secrets.randbelow(StatusList.SIZE)
        if not current.credentials.filter(status_index=place).exists():
            break
    current.used += 1
    current.save(update_fields=["used"])
    return current, place


def _free_number(year: int) -> str:
    while True:
        number = new_number(year)
        if not Credential.objects.filter(number=number).exists():
            return number


def _end(
    credential: Credential, state: str, kind: str, reason: str, note: str, by: User | None, now: datetime
) -> Credential:
    credential.state, credential.ended_on = state, timezone.localdate(now)
    credential.save(update_fields=["state", "ended_on"])
    CredentialEvent.objects.create(credential=credential, kind=kind, reason=reason, note=note, by=by, at=now)
    audit.record(f"credential.{kind}", credential, by=by, organisation=credential.organisation, reason=reason)
    return credential


def order_document_again(*, credential: Credential, by: User) -> None:
    """The holder's second wish for a PDF whose making failed for good. Nothing happens while it is made, or when it is there."""
    if not credential.is_ours or credential.document:
        raise Refusal(_("这张证书没有要重新生成的 PDF。"), _("请回到证书页查看。"))
    with transaction.atomic():
        audit.record("credential.document_again", credential, by=by, organisation=credential.organisation)
        _order_document(credential, again=True)


def _order_document(credential: Credential, *, again: bool = False) -> None:
    enqueue(
        "certification.document",
        title=str(_("生成证书 PDF")),
        by=credential.user,
        again=again,
        args={"credential": credential.pk},
        key=f"certification.document:{credential.pk}",
        link=reverse("certification:certificate", args=[credential.number]),
    )


def days_left(credential: Credential, today: date) -> int | None:
    if credential.expires_on is None or credential.status_on(today) is not Status.VALID:
        return None
    return (credential.expires_on - today).days
