"""Drawn figures (SVG), sanitised before they are stored and served as pictures, never as documents of ours."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Figure(models.Model):
    """A drawing by its content's hash: the same drawing is stored once, and its address never changes its meaning."""

    title = models.CharField(_("标题"), max_length=120)
    alt = models.TextField(_("替代文字"), help_text=_("读屏软件念给看不见图的人听，写清图里说了什么。"))
    svg = models.TextField("SVG", help_text=_("粘贴 SVG 源码；脚本、外部链接和样式表会被去掉。"))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    width = models.PositiveIntegerField(default=0, editable=False)
    height = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("插图")
        verbose_name_plural = _("插图")
        ordering: ClassVar = ["-pk"]

    def __str__(self) -> str:
        return self.title

    @property
    def url(self) -> str:
        return reverse("courses:figure", args=[self.digest])
