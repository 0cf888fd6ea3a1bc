"""What courses refuse, in words for the person: what it is, and what to do about it."""

from __future__ import annotations


class Refused(Exception):
    """`code` is for programs and tests; `what` and `remedy` are shown."""

    def __init__(self, code: str, what: str, remedy: str = "") -> None:
        self.code, self.what, self.remedy = code, what, remedy
        super().__init__(f"{what}{remedy}")

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "what": self.what, "remedy": self.remedy}
