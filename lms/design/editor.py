"""Wagtail's choosers without the inline script each of them writes beside itself (policy: no 'unsafe-inline' anywhere).

Its panels and date fields are templates and are overridden in templates/wagtailadmin/; a chooser writes its script in
Python, in one method, which is replaced here when the apps are ready. A Wagtail that writes it otherwise fails the tests
(tests/lms/design/test_editor.py looks through every template and module of what is installed).
"""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.html import escapejs, format_html
from django.utils.safestring import SafeString
from wagtail.admin.widgets import BaseChooser
from wagtail.admin.widgets.workflows import AdminTaskChooser

WRITES_ITSELF = BaseChooser.render_js_init


def render(self: BaseChooser, name: str, value: object, attrs: dict[str, Any] | None = None, renderer: object = None) -> SafeString:  # fmt: skip
    """The widget, and beside it what lb/js/editor-start.js has to start."""
    if not attrs or "id" not in attrs:
        raise TypeError(f"{type(self).__name__} cannot be rendered without an id")
    value_data = self.get_value_data(value)
    widget = self.render_html(name, value_data, attrs)
    if isinstance(self, AdminTaskChooser):
        start, options = "createTaskChooser", ""
    elif type(self).render_js_init is WRITES_ITSELF:
        start, options = self.js_constructor, json.dumps(self.get_js_init_options(attrs["id"], name, value_data))
    else:
        raise ImproperlyConfigured(
            f"{type(self).__name__} writes a script of its own; teach lms/design/editor.py and editor-start.js to start it"
        )
    return format_html(
        '{}<template data-lb-start="{}" data-lb-id="{}" data-lb-options="{}"></template>',
        widget, start, attrs["id"], escapejs(options),
    )  # fmt: skip


def without_inline_scripts() -> None:
    BaseChooser.render = render
