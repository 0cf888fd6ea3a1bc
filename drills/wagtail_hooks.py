from __future__ import annotations

from django.urls import reverse
from wagtail import hooks
from wagtail.admin.menu import MenuItem


@hooks.register("register_admin_menu_item")
def drills_menu() -> MenuItem:
    """The way from the editor to the drills' own screens."""
    return MenuItem("演练", reverse("drills:home"), icon_name="warning", order=320)
