"""Organisations in Wagtail's admin, for the platform's operator. People are invited by their organisation's admin."""

from __future__ import annotations

from typing import ClassVar

from django.utils.translation import gettext_lazy as _
from wagtail.admin.viewsets.model import ModelViewSet

from lms.accounts.models import Organisation


class OrganisationViewSet(ModelViewSet):
    model = Organisation
    icon = "group"
    menu_label = _("单位")
    menu_order = 900
    add_to_admin_menu = True
    search_backend_name = None  # plain words in names and codes are enough
    search_fields: ClassVar = ["name", "short_name", "uscc"]
    list_display: ClassVar = ["name", "kind", "region", "industry", "size"]
    list_filter: ClassVar = ["kind", "size"]
    list_per_page = 50
    form_fields: ClassVar = [
        "kind", "name", "short_name", "uscc", "region", "industry", "size", "staff_count", "revenue_wan",
    ]  # fmt: skip
