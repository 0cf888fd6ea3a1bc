"""The editor needs no inline script: looked for in everything that is installed, and in what our widgets write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django import forms
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from wagtail.admin.widgets import AdminDateInput, AdminDateTimeInput, AdminPageChooser, AdminTimeInput
from wagtail.images import get_image_model
from wagtail.images.tests.utils import get_test_image_file

from lms.accounts.models import User

INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*type=[\"'](?:application/json|text/template)[\"'])[^>]*>", re.I)
HANDLER = re.compile(r"<[a-z][^>{}]*\son[a-z]+=[\"']", re.I)
SCRIPT_URL = re.compile(r"href=[\"']javascript:", re.I)


def templates() -> list[str]:
    """Every template name that an installed app brings."""
    names = set()
    for app in apps.get_app_configs():
        folder = Path(app.path) / "templates"
        names |= {str(path.relative_to(folder)) for path in folder.rglob("*.html")}
    return sorted(
        name for name in names if not name.startswith("admin/import_export/")
    )  # Django's own admin is not here


def winner(name: str) -> Path:
    """The file that the name stands for: the first app's. Not parsed: some need tags of apps that are not installed."""
    return next(path for app in apps.get_app_configs() if (path := Path(app.path) / "templates" / name).is_file())


def test_no_template_that_can_be_rendered_holds_an_inline_script() -> None:
    found = {}
    for name in templates():
        source = winner(name).read_text(encoding="utf-8")
        faults = INLINE.findall(source) + HANDLER.findall(source) + SCRIPT_URL.findall(source)
        if faults:
            found[name] = faults

    assert found == {}


def test_no_module_of_wagtail_writes_an_inline_script_but_the_chooser_we_replace() -> None:
    found = set()
    for app in apps.get_app_configs():
        if app.name.split(".")[0] in ("wagtail", "modelcluster", "taggit", "import_export"):
            for path in Path(app.path).rglob("*.py"):
                if "test" not in str(path) and re.search(r"[\"'}]<script>", path.read_text(encoding="utf-8")):
                    found.add(path.relative_to(app.path).as_posix())

    assert found <= {"widgets/chooser.py", "admin/widgets/chooser.py"}


@pytest.mark.parametrize(
    ("widget", "start"),
    [
        (AdminDateInput(), "initDateChooser"),
        (AdminTimeInput(), "initTimeChooser"),
        (AdminDateTimeInput(), "initDateTimeChooser"),
        (AdminPageChooser(), "PageChooser"),
    ],
)
def test_widgets_name_what_to_start_instead_of_starting_it(widget: forms.Widget, start: str) -> None:
    html = widget.render("when", None, {"id": "id_when"})

    assert INLINE.findall(html) == []
    assert f'data-lb-start="{start}" data-lb-id="id_when"' in html


def test_quotes_of_options_are_written_as_wagtails_empty_forms_want_them() -> None:
    html = AdminDateInput().render("when", None, {"id": "id_forms-__prefix__-when"})

    options = re.search(r'data-lb-options="([^"]*)"', html)

    assert options is not None
    assert "&quot;" not in options.group(1)
    assert "\\u0022" in options.group(1)


def test_a_chooser_with_a_script_of_its_own_is_refused_by_name() -> None:
    class Odd(AdminPageChooser):
        def render_js_init(self, id_: str, name: str, value_data: object) -> str:
            return "alert(1)"

    with pytest.raises(ImproperlyConfigured, match="Odd"):
        Odd().render("page", None, {"id": "id_page"})


@pytest.mark.django_db
def test_the_editor_has_the_policy_of_every_other_page_for_scripts(admin_client: Client) -> None:
    policy = admin_client.get("/cms/").headers["Content-Security-Policy"]

    assert re.search(r"script-src ([^;]*)", policy).group(1).split()[0] == "'self'"  # type: ignore[union-attr]
    assert "'unsafe-inline'" not in re.search(r"script-src ([^;]*)", policy).group(1)  # type: ignore[union-attr]
    assert "'unsafe-eval'" not in policy


@pytest.mark.django_db
def test_thumbnails_are_for_editors_and_for_what_the_books_know(
    admin_client: Client, member: Callable[..., User], signed_in: Callable[[User], Client], settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    image = get_image_model().objects.create(title="图", file=get_test_image_file())
    url = f"/media/{image.get_rendition('max-165x165').file.name}"
    (tmp_path / "secret.png").write_bytes(SimpleUploadedFile("s.png", b"x").read())

    assert admin_client.get(url).headers["Content-Type"] == "image/png"
    assert signed_in(member("learner")).get(url).status_code == 403
    assert Client().get(url).status_code == 302
    assert admin_client.get("/media/secret.png").status_code == 404
    assert admin_client.get(f"/media/{image.file.name}").status_code == 404
