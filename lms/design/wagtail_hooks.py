"""What our look adds to Wagtail's own screens."""

from __future__ import annotations

from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from wagtail import hooks


@hooks.register("insert_global_admin_js", order=0)
def start_without_inline_scripts() -> SafeString:
    return format_html('<script src="{}"></script>', static("lb/js/editor-start.js"))
