"""A verb that cannot be done says what is in the way and what to do about it."""

from __future__ import annotations

from django.utils.functional import Promise


class Refusal(Exception):
    """`what` and `remedy` are sentences for the person who asked."""

    def __init__(self, what: str | Promise, remedy: str | Promise = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(str(what))

    def as_dict(self) -> dict[str, str]:
        return {"code": "refused", "what": str(self.what), "remedy": str(self.remedy)}
