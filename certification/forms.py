"""What people type in certification."""

from __future__ import annotations

from datetime import date
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from certification.models import CredentialEvent, Occupation, Standard
from certification.services import RUBRIC
from lms.accounts.forms import XlsxForm
from lms.accounts.models import Membership, Organisation, User

RUBRIC_WORDS = {
    "analysis": (_("分析研判"), _("能否说清攻击走到哪一步、依据是什么")),
    "action": (_("处置与恢复"), _("措施是否有效，生产是否保持")),
    "report": (_("报告与记录"), _("要素是否齐全、时间线是否准确")),
    "conduct": (_("职业守则"), _("是否先保人身、再保生产、再保证据")),
}
EVIDENCE_TYPES = {".pdf": b"%PDF-", ".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}
EVIDENCE_BYTES = 10 * 1024 * 1024


class AppealForm(forms.Form):
    reason = forms.CharField(
        label=_("申诉理由"),
        min_length=10,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("写明哪一项条件判断有误、依据是什么。"),
    )


class AnswerForm(forms.Form):
    """`unmet` are the criteria an upheld appeal may recognise."""

    verdict = forms.ChoiceField(
        label=_("复核结论"),
        choices=[("upheld", _("申诉成立")), ("rejected", _("维持原决定"))],
        widget=forms.RadioSelect,
    )
    recognise = forms.MultipleChoiceField(
        label=_("认可的条件"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("申诉成立时，勾选经核实应当认可的条件；记录中会标明来自本次申诉。"),
    )
    answer = forms.CharField(label=_("答复"), min_length=4, max_length=2000, widget=forms.Textarea(attrs={"rows": 4}))

    def __init__(self, *args: Any, unmet: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["recognise"].choices = unmet  # type: ignore[attr-defined]


class MarkForm(forms.Form):
    """One number per line of the rubric."""

    comment = forms.CharField(
        label=_("评语"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 3})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, most in RUBRIC.items():
            title, hint = RUBRIC_WORDS[name]
            self.fields[name] = forms.DecimalField(
                label=_("%(title)s（满分 %(most)s）") % {"title": title, "most": most},
                help_text=hint,
                min_value=0,
                max_value=most,
                max_digits=4,
                decimal_places=1,
                widget=forms.NumberInput(attrs={"inputmode": "decimal", "step": "0.5"}),
            )
        self.order_fields([*RUBRIC, "comment"])


class EndForm(forms.Form):
    """Revoke or reissue; the number is typed again because it cannot be undone."""

    act = forms.ChoiceField(label=_("办理事项"), choices=[("revoke", _("撤销")), ("reissue", _("补发"))])
    reason = forms.ChoiceField(label=_("理由（公开）"), choices=[c for c in CredentialEvent.Reason.choices if c[0]])
    holder_name = forms.CharField(
        label=_("更正后的姓名"), required=False, max_length=60, help_text=_("只在更正姓名时填写。")
    )
    note = forms.CharField(
        label=_("内部说明"), required=False, max_length=1000, widget=forms.Textarea(attrs={"rows": 2})
    )
    again = forms.CharField(label=_("再输入一遍证书编号以确认"), max_length=40)

    def __init__(self, *args: Any, number: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.number = number

    def clean_again(self) -> str:
        typed: str = self.cleaned_data["again"].strip().upper()
        if typed != self.number:
            raise forms.ValidationError(_("与证书编号不一致。"))
        return typed


class RegisterForm(forms.Form):
    """An official certificate, checked against the original."""

    username = forms.CharField(label=_("持证人账号"), max_length=150)
    title = forms.CharField(label=_("证书名称"), max_length=160)
    occupation = forms.ModelChoiceField(Occupation.objects.all(), label=_("职业"))
    level_code = forms.CharField(label=_("等级"), max_length=40, help_text=_("照证书原文填写，例如：四级/中级工。"))
    issuer = forms.CharField(label=_("发证机构"), max_length=120)
    number = forms.CharField(label=_("证书编号"), max_length=80)
    issued_on = forms.DateField(label=_("发证日期"), widget=forms.DateInput(attrs={"type": "date"}))
    expires_on = forms.DateField(label=_("有效期至"), required=False, widget=forms.DateInput(attrs={"type": "date"}))
    evidence = forms.FileField(label=_("证书扫描件或查询截图"), help_text=_("PDF、PNG 或 JPG，不超过 10 MB。"))

    def clean_username(self) -> User:
        user = User.objects.filter(username=self.cleaned_data["username"].strip()).first()
        if user is None:
            raise forms.ValidationError(_("没有这个账号。"))
        return user

    def clean_evidence(self) -> Any:
        file = self.cleaned_data["evidence"]
        suffix = "." + file.name.rsplit(".", 1)[-1].lower()
        magic = EVIDENCE_TYPES.get(suffix)
        if magic is None or not file.read(len(magic)) == magic:
            raise forms.ValidationError(_("文件须为 PDF、PNG 或 JPG，内容与扩展名一致。"))
        file.seek(0)
        if file.size > EVIDENCE_BYTES:
            raise forms.ValidationError(_("文件超过 10 MB。"))
        return file

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        user = data.get("username")
        if user is not None:
            membership = (
                Membership.objects.active()
                .filter(user=user)
                .exclude(organisation__kind=Organisation.Kind.BUREAU)
                .select_related("organisation")
                .order_by("started_at")
                .first()
            )
            if membership is None:
                self.add_error("username", _("这个账号不属于任何单位，无法登记所在地区。"))
            else:
                data["organisation"] = membership.organisation
        issued, expires = data.get("issued_on"), data.get("expires_on")
        if issued and expires and expires < issued:
            self.add_error("expires_on", _("有效期早于发证日期。"))
        return data


class PurposeForm(forms.Form):
    purpose = forms.CharField(
        label=_("查看名单的用途"),
        min_length=4,
        max_length=200,
        help_text=_("例如：核对 2026 年四季度培训补贴名单。用途、时间、范围和人数会记入日志。"),
    )


class ReleaseForm(forms.Form):
    as_of = forms.ChoiceField(label=_("统计截止日期"))

    def __init__(self, *args: Any, days: list[date], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["as_of"].choices = [  # type: ignore[attr-defined]
            (day.isoformat(), f"{day.year}年{day.month}月{day.day}日") for day in days
        ]


class CheckReleaseForm(forms.Form):
    file = forms.FileField(label=_("发布文件"), required=False)
    text = forms.CharField(label=_("或粘贴签名文本"), required=False, widget=forms.Textarea(attrs={"rows": 4}))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("file"):
            if data["file"].size > EVIDENCE_BYTES:
                self.add_error("file", _("文件超过 10 MB。"))
            else:
                data["text"] = data["file"].read().decode("utf-8", "replace")
        if not data.get("text"):
            raise forms.ValidationError(_("请选择文件或粘贴文本。"))
        return data


class TargetForm(forms.Form):
    """A target for one standard and year; 0 takes it away."""

    standard = forms.ChoiceField(label=_("标准"))
    year = forms.TypedChoiceField(label=_("年度"), coerce=int)
    holders = forms.IntegerField(label=_("目标持证人数"), min_value=0, max_value=10_000_000, help_text=_("年末持该标准有效证书的人数，同一人只计一次。填 0 表示取消目标。"))  # fmt: skip
    source = forms.CharField(label=_("依据"), required=False, max_length=200, help_text=_("例如：本市数字化人才培养年度计划。"))  # fmt: skip

    def __init__(self, *args: Any, years: range, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        titles = dict(
            Standard.objects.filter(superseded_by="").order_by("-effective_from").values_list("code", "title")
        )
        self.fields["standard"].choices = sorted(titles.items())  # type: ignore[attr-defined]
        self.fields["year"].choices = [(year, f"{year}") for year in years]  # type: ignore[attr-defined]


class WorkforceForm(XlsxForm):
    """The sheet with its day and where its figures come from."""

    as_of = forms.DateField(label=_("数据日期"), widget=forms.DateInput(attrs={"type": "date"}), help_text=_("数字说的是哪一天的情况，例如 2025 年末填 2025-12-31。"))  # fmt: skip
    source = forms.CharField(label=_("数据来源"), min_length=4, max_length=200, help_text=_("例如：绍兴统计年鉴 2026，表 3-2。"))  # fmt: skip
    field_order = ("as_of", "source", "file")
