"""What the platform's operator finds in Wagtail's admin."""

from __future__ import annotations

from wagtail import hooks

from lms.accounts.viewsets import OrganisationViewSet


@hooks.register("register_admin_viewset")
def organisations() -> OrganisationViewSet:
    return OrganisationViewSet("organisations")
