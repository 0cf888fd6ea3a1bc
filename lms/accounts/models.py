"""People, organisations, the regions and industries they stand in, and what was decided about them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lms.accounts.querysets import AuditQuerySet, MembershipQuerySet, OrganisationQuerySet, UserQuerySet
from lms.accounts.rules import Role
from lms.accounts.uscc import check_uscc


class Region(models.Model):
    """A unit of the GB/T 2260 tree. Codes are six digits; merged units stay with `valid_to` and `successor`."""

    class Level(models.IntegerChoices):
        PROVINCE = 1, _("省级")
        PREFECTURE = 2, _("地级")
        COUNTY = 3, _("县级")

    code = models.CharField(_("区划代码"), max_length=6, primary_key=True)
    name = models.CharField(_("名称"), max_length=40)
    level = models.PositiveSmallIntegerField(_("层级"), choices=Level.choices)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    full_name = models.CharField(_("全称"), max_length=120)
    valid_from = models.DateField(null=True, blank=True)
    valid_to = models.DateField(null=True, blank=True)
    successor = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="predecessors")

    class Meta:
        verbose_name = _("行政区划")
        verbose_name_plural = _("行政区划")
        ordering: ClassVar = ["code"]

    def __str__(self) -> str:
        return self.full_name

    @property
    def prefix(self) -> str:
        """The digits shared by this unit and all below it: "33" for 330000, "3301" for 330100."""
        if self.code.endswith("0000"):
            return self.code[:2]
        if self.code.endswith("00"):
            return self.code[:4]
        return self.code


class ReportingUnit(models.Model):
    """Who reports to the ministry: 31 provinces, 5 cities with a plan of their own, and the Xinjiang corps.

    An overlay on regions: a city with a plan of its own reports for itself and is left out of its province's figures.
    """

    class Kind(models.TextChoices):
        PROVINCE = "province", _("省级单位")
        PLANNED_CITY = "planned_city", _("计划单列市")
        CORPS = "corps", _("新疆生产建设兵团")

    code = models.CharField(max_length=8, primary_key=True)
    name = models.CharField(_("名称"), max_length=40)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    includes = models.JSONField(default=list, help_text=_("区划代码前缀"))
    excludes = models.JSONField(default=list, help_text=_("单独上报、不重复计算的区划代码前缀"))
    to_verify = models.BooleanField(_("待核"), default=False)

    class Meta:
        ordering: ClassVar = ["code"]

    def __str__(self) -> str:
        return self.name


class Industry(models.Model):
    """GB/T 4754-2017 division (two digits); finer classes come by import."""

    code = models.CharField(_("行业代码"), max_length=4, primary_key=True)
    section = models.CharField(_("门类"), max_length=1)
    name = models.CharField(_("名称"), max_length=60)

    class Meta:
        verbose_name = _("行业")
        verbose_name_plural = _("行业")
        ordering: ClassVar = ["section", "code"]

    def __str__(self) -> str:
        return f"{self.section}{self.code} {self.name}"


class Organisation(models.Model):
    class Kind(models.TextChoices):
        ENTERPRISE = "enterprise", _("企业")
        PROVIDER = "provider", _("培训机构")
        ASSESSMENT = "assessment", _("评价机构")
        PARK = "park", _("园区")
        BUREAU = "bureau", _("主管部门")

    class Size(models.TextChoices):
        """工信部联企业〔2011〕300号."""

        MICRO = "micro", _("微型")
        SMALL = "small", _("小型")
        MEDIUM = "medium", _("中型")
        LARGE = "large", _("大型")

    kind = models.CharField(_("类型"), max_length=12, choices=Kind.choices)
    name = models.CharField(_("单位名称"), max_length=120)
    short_name = models.CharField(_("简称"), max_length=30, blank=True)
    uscc = models.CharField(
        _("统一社会信用代码"), max_length=18, unique=True, null=True, blank=True, validators=[check_uscc]
    )
    region = models.ForeignKey(Region, models.PROTECT, verbose_name=_("所在地区"))
    industry = models.ForeignKey(Industry, models.PROTECT, null=True, blank=True, verbose_name=_("行业"))
    size = models.CharField(_("规模"), max_length=8, choices=Size.choices, blank=True)
    staff_count = models.PositiveIntegerField(_("从业人数"), null=True, blank=True)
    revenue_wan = models.PositiveIntegerField(_("营业收入（万元）"), null=True, blank=True)
    is_demo = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = OrganisationQuerySet.as_manager()

    class Meta:
        verbose_name = _("单位")
        verbose_name_plural = _("单位")
        ordering: ClassVar = ["name"]
        indexes: ClassVar = [
            # Which enterprises of this region (a prefix of the code) and industry are there? (bureau lists)
            models.Index(fields=["kind", "region", "industry"], name="organisation_by_place"),
        ]

    def __str__(self) -> str:
        return self.short_name or self.name

    def clean(self) -> None:
        if self.kind == self.Kind.ENTERPRISE and not self.uscc:
            raise ValidationError({"uscc": _("企业须填写统一社会信用代码。")})


class People(UserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # made at run time by Django
    """Creates people and speaks their queries."""


class User(AbstractUser):
    """A person. `pseudonym` stands for him in logs that are never changed; erasing the person leaves it unlinked."""

    first_name = None
    last_name = None
    name = models.CharField(_("姓名"), max_length=60)
    phone = models.CharField(_("手机号"), max_length=20, blank=True)
    job_title = models.CharField(_("岗位"), max_length=60, blank=True)
    pseudonym = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    language = models.CharField(_("界面语言"), max_length=8, blank=True)
    is_demo = models.BooleanField(default=False, editable=False)

    objects: ClassVar = People()
    REQUIRED_FIELDS: ClassVar = ["name"]

    class Meta:
        verbose_name = _("人员")
        verbose_name_plural = _("人员")
        ordering: ClassVar = ["name", "pk"]

    def __str__(self) -> str:
        return self.name or self.username

    def forget_roles(self) -> None:
        """Roles are remembered on the object (rules.roles_of); whoever changes them lets them be read anew."""
        for known in ("_held_roles", "_jurisdictions"):
            self.__dict__.pop(known, None)

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name or self.username


class Membership(models.Model):
    """A role held in an organisation. Ended, never deleted: counts of past months must still come out."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="memberships")
    role = models.CharField(_("角色"), max_length=12, choices=Role.choices)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            # A person holds a role in an organisation once at a time.
            models.UniqueConstraint(
                fields=["user", "organisation", "role"],
                condition=models.Q(ended_at=None),
                name="membership_held_once",
            )
        ]
        indexes: ClassVar = [
            # Who holds this role here now? (staff list, invitations to drills)
            models.Index(fields=["organisation", "role", "ended_at"], name="membership_by_organisation"),
        ]


class Invitation(models.Model):
    """A one-use code with which an invited person sets the first password. Only its hash is kept."""

    user = models.ForeignKey(User, models.CASCADE, related_name="invitations")
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="+")
    code_hash = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)


class Consent(models.Model):
    """What a person agreed to, in which words' version, when and from where (PIPL art. 13-17, 29)."""

    class Purpose(models.TextChoices):
        """Purposes known here; an app above may use others and then names them itself."""

        SERVICE = "service", _("培训、考试、演练和发证")

    user = models.ForeignKey(User, models.CASCADE, related_name="consents")
    purpose = models.CharField(_("目的"), max_length=40)
    version = models.CharField(_("文本版本"), max_length=20)
    given_at = models.DateTimeField(default=timezone.now)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            # One standing consent per purpose and wording.
            models.UniqueConstraint(
                fields=["user", "purpose", "version"],
                condition=models.Q(withdrawn_at=None),
                name="consent_standing_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.in_words} {self.version}"

    @property
    def in_words(self) -> str:
        return str(dict(self.Purpose.choices).get(self.purpose, self.purpose))


class AuditEntry(models.Model):
    """Who decided what about which thing, and when. Rows are added and read, never changed."""

    at = models.DateTimeField(default=timezone.now, editable=False)
    actor = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    organisation = models.ForeignKey(Organisation, models.SET_NULL, null=True, blank=True, related_name="+")
    action = models.CharField(_("动作"), max_length=60)
    target_type = models.CharField(max_length=60)
    target_id = models.CharField(max_length=64)
    target_label = models.CharField(_("对象"), max_length=200)
    detail = models.JSONField(default=dict)
    ip = models.GenericIPAddressField(null=True, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name = _("审计记录")
        verbose_name_plural = _("审计记录")
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            # What happened to this thing? (history beside every record)
            models.Index(fields=["target_type", "target_id"], name="audit_by_target"),
            # What happened in this organisation lately?
            models.Index(fields=["organisation", "-at"], name="audit_by_organisation"),
        ]
