"""Sign-in: people are invited by their organisation; there is no open sign-up."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest, HttpResponse

from lms.accounts.language import remember
from lms.accounts.models import User


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        """Whoever chose a language reads it from the first page on, on every device."""
        return remember(super().post_login(request, user, **kwargs), user.language)
