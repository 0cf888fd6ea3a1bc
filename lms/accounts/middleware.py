"""Who has withdrawn the consent to the service may look after the own data and nothing else, until consenting anew.

Who was never asked (an administrator made by the command line) is not meant: only a withdrawal closes the door.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from lms.accounts.services import consent_stands


def consent(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        if (
            request.user.is_authenticated
            and not request.path.startswith((*settings.OPEN_WITHOUT_CONSENT, reverse("accounts:me")))
            and not consent_stands(request.user)
        ):
            if request.method != "GET" or request.headers.get("HX-Request"):
                raise PermissionDenied(_("您已撤回同意，本平台不再处理您的个人信息。可以在“我的”里重新同意。"))
            messages.warning(request, _("您已撤回同意，本平台不再处理您的个人信息。可以在“我的”里重新同意。"))
            return redirect("accounts:me")
        return get_response(request)

    return middleware
