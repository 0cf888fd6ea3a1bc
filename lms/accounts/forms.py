"""Forms of people: invite, change, join, own profile, xlsx."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from lms.accounts.models import Organisation, User
from lms.accounts.rules import grantable_roles

USERNAME = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]{2,39}$", _("3–40 个英文字母、数字或 . _ -,以字母或数字开头。"))
PHONE = RegexValidator(r"^\+?[0-9 -]{6,20}$", _("电话号码只含数字、空格和连字符。"))
LARGEST_XLSX = 2 * 1024 * 1024


class PersonForm(forms.Form):
    """A person of this organisation; `user` is given when one is changed."""

    username = forms.CharField(label=_("用户名"), validators=[USERNAME], help_text=_("登录用，可用工号或拼音。"))
    name = forms.CharField(label=_("姓名"), max_length=60)
    job_title = forms.CharField(label=_("岗位"), max_length=60, required=False)
    phone = forms.CharField(label=_("手机号"), max_length=20, required=False, validators=[PHONE])
    roles = forms.MultipleChoiceField(
        label=_("角色"), widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})
    )

    def __init__(self, *args: Any, organisation: Organisation, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["roles"].choices = [(role.value, role.label) for role in grantable_roles(organisation)]
        if user is not None:
            del self.fields["username"]


CONSENT_WORDS = _(
    "我已阅读并同意：练兵为组织培训、考试、演练和发证处理我的姓名、手机号、单位和岗位；我可以随时查看、更正、导出和撤回。"
)


class JoinForm(forms.Form):
    code = forms.CharField(
        label=_("加入码"),
        max_length=20,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "characters", "spellcheck": "false"}
        ),
    )
    password = forms.CharField(
        label=_("设置密码"),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("至少 10 位，不要全是数字。"),
    )
    consent = forms.BooleanField(label=CONSENT_WORDS, required=False)


class ProfileForm(forms.ModelForm):
    language = forms.ChoiceField(label=_("界面语言"), choices=settings.LANGUAGES)

    class Meta:
        model = User
        fields: ClassVar = ["phone", "email", "language"]
        labels: ClassVar = {"email": _("邮箱")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["phone"].validators.append(PHONE)


class XlsxForm(forms.Form):
    file = forms.FileField(label=_("Excel 文件（.xlsx）"))

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > LARGEST_XLSX:
            raise forms.ValidationError(_("文件超过 2 MB；请分批导入。"))
        if not file.name.lower().endswith(".xlsx") or file.read(4) != b"PK\x03\x04":
            raise forms.ValidationError(_("这不是 .xlsx 文件；请在 Excel 或 WPS 中另存为 .xlsx 后再试。"))
        file.seek(0)
        return file
