"""The credential, what happened to it, and the keys and lists that let others check it."""

from __future__ import annotations

import uuid
from datetime import date
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from certification.domain.credential import Status, status_on
from certification.models.awards import Decision
from certification.models.standards import CredentialType, StandardLevel
from certification.querysets import CredentialQuerySet
from lms.accounts.models import Industry, Organisation, Region


class SigningKey(models.Model):
    """Ed25519 for badges and releases, P-256 with a certificate of its own (X.509, PEM) for PDF documents. The private half is
    sealed with a key drawn from SECRET_KEY; the public half stays published for ever."""

    class Purpose(models.TextChoices):
        CREDENTIAL = "credential", _("证书")
        RELEASE = "release", _("统计发布")
        DOCUMENT = "document", _("证书文件")

    kid = models.CharField(max_length=64, unique=True)
    purpose = models.CharField(max_length=12, choices=Purpose.choices)
    public_jwk = models.JSONField()
    private_sealed = models.BinaryField()
    certificate = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            # Which key signs now? At most one per purpose.
            models.UniqueConstraint(fields=["purpose"], condition=models.Q(retired_at=None), name="key_current_once")
        ]

    def __str__(self) -> str:
        return self.kid


class StatusList(models.Model):
    """A W3C Bitstring Status List: places are drawn at random so that neighbours say nothing about each other."""

    SIZE = 131072

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)
    used = models.PositiveIntegerField(default=0)


class Credential(models.Model):
    """A certificate a person holds, or an official one that was registered with us.

    Name, organisation, region, industry and size are those of the day of issue: a count of the past comes out the same
    for ever. `person` stands for the holder when the account is gone; `user` may then be empty.

    States: active → expired (term over) | revoked (visible for ever, with its reason) | reissued (`replaced_by` points
    on). The status on a day follows from the dates alone; `state` exists for the constraint "one active per level".
    """

    class State(models.TextChoices):
        ACTIVE = "active", _("有效")
        EXPIRED = "expired", _("已过期")
        REVOKED = "revoked", _("已撤销")
        REISSUED = "reissued", _("已补发")

    credential_type = models.CharField(_("证书类型"), max_length=24, choices=CredentialType.choices)
    number = models.CharField(_("证书编号"), max_length=40, unique=True)
    title = models.CharField(_("名称"), max_length=160)
    standard_code = models.CharField(_("标准代号"), max_length=40)
    level_code = models.CharField(_("等级"), max_length=40, blank=True)
    level = models.ForeignKey(StandardLevel, models.PROTECT, null=True, blank=True, related_name="credentials")
    decision = models.ForeignKey(Decision, models.PROTECT, null=True, blank=True, related_name="credentials")
    person = models.UUIDField(editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="credentials"
    )
    holder_name = models.CharField(_("姓名"), max_length=60)
    organisation = models.ForeignKey(Organisation, models.PROTECT, null=True, related_name="+")
    region = models.ForeignKey(Region, models.PROTECT, related_name="+")
    industry = models.ForeignKey(Industry, models.PROTECT, null=True, related_name="+")
    size = models.CharField(max_length=8, blank=True)
    state = models.CharField(_("状态"), max_length=10, choices=State.choices, default=State.ACTIVE)
    issued_at = models.DateTimeField(_("签发时间"))
    issued_on = models.DateField(_("签发日期"))
    known_from = models.DateField(_("登记日期"))
    expires_on = models.DateField(_("有效期至"), null=True, blank=True)
    ended_on = models.DateField(null=True, blank=True)
    replaces = models.OneToOneField("self", models.PROTECT, null=True, blank=True, related_name="replaced_by")
    # Ours: verification, badge, document.
    check_code_hash = models.CharField(max_length=64, blank=True)
    check_code_sealed = models.BinaryField(default=b"")
    identity_salt = models.CharField(max_length=32, blank=True)
    status_list = models.ForeignKey(StatusList, models.PROTECT, null=True, blank=True, related_name="credentials")
    status_index = models.PositiveIntegerField(null=True, blank=True)
    badge_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    badge = models.TextField(blank=True)
    document = models.FileField(upload_to="certification/", blank=True)
    # Official ones: where they come from.
    external_issuer = models.CharField(_("发证机构"), max_length=120, blank=True)
    external_number = models.CharField(_("原证书编号"), max_length=80, blank=True)
    external_evidence = models.FileField(_("证明材料"), upload_to="certification/external/", blank=True)
    is_demo = models.BooleanField(default=False, editable=False)

    objects = CredentialQuerySet.as_manager()

    class Meta:
        verbose_name = _("证书")
        verbose_name_plural = _("证书")
        ordering: ClassVar = ["-issued_at", "-pk"]
        constraints: ClassVar = [
            # Exactly once: a person holds one active certificate of a level, whoever asks and however often.
            models.UniqueConstraint(
                fields=["person", "level"],
                condition=models.Q(state="active", level__isnull=False),
                name="credential_active_once",
            ),
            # A decision awards one certificate; only its replacement may cite it again.
            models.UniqueConstraint(
                fields=["decision"],
                condition=models.Q(replaces=None, decision__isnull=False),
                name="credential_once_per_decision",
            ),
            # An official certificate is registered once.
            models.UniqueConstraint(
                fields=["external_issuer", "external_number"],
                condition=models.Q(credential_type="official_external"),
                name="external_registered_once",
            ),
            models.UniqueConstraint(fields=["status_list", "status_index"], name="status_place_once"),
        ]
        indexes: ClassVar = [
            # How many valid on a day, by region, standard and level, types apart? (bureau page, rollups)
            models.Index(
                fields=["credential_type", "standard_code", "level_code", "region", "known_from"],
                name="credential_cube",
            ),
            # Which terms end by today? (expiry)
            models.Index(fields=["state", "expires_on"], name="credential_expiring"),
            # What does this person hold? (my certificates)
            models.Index(fields=["person", "-issued_at"], name="credential_by_person"),
        ]

    def __str__(self) -> str:
        return self.number

    def status_on(self, day: date) -> Status:
        return status_on(
            day,
            issued_on=self.issued_on,
            expires_on=self.expires_on,
            revoked_on=self.ended_on if self.state == self.State.REVOKED else None,
            reissued_on=self.ended_on if self.state == self.State.REISSUED else None,
        )

    @property
    def is_ours(self) -> bool:
        return self.credential_type != CredentialType.EXTERNAL


class CredentialEvent(models.Model):
    """What happened to a certificate, in order; rows are added only. `reason` is public, `note` is not."""

    class Kind(models.TextChoices):
        ISSUED = "issued", _("签发")
        REGISTERED = "registered", _("登记")
        REVOKED = "revoked", _("撤销")
        REISSUED = "reissued", _("补发")
        EXPIRED = "expired", _("到期")

    class Reason(models.TextChoices):
        NONE = "", ""
        FRAUD = "fraud", _("以虚假材料或替代参加取得")
        ERROR = "error", _("签发有误")
        EVIDENCE = "evidence", _("证据经复核不成立")
        REQUEST = "request", _("持证人申请")
        NAME = "name", _("姓名更正")
        LOST = "lost", _("校验码泄露或遗失")

    credential = models.ForeignKey(Credential, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    reason = models.CharField(max_length=10, choices=Reason.choices, blank=True)
    note = models.TextField(blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["at", "pk"]
