"""The engine's errors: each writes its own sentence, names the thing and the remedy."""

from __future__ import annotations


class RangeError(Exception):
    """Base of every error the engine raises on purpose.

    `code` is stable and machine-readable (screens translate it), `what` names the thing that failed in
    English, `remedy` is what a person can do next, `detail` holds JSON-able facts for translation.
    """

    code = "range_error"

    def __init__(self, what: str, *, remedy: str = "", **detail: object) -> None:
        self.what = what
        self.remedy = remedy
        self.detail = detail
        super().__init__(f"{what}. {remedy}" if remedy else what)

    def as_dict(self) -> dict[str, object]:
        """JSON form that crosses the range-host socket."""
        return {"code": self.code, "what": self.what, "remedy": self.remedy, "detail": self.detail}


class ScenarioError(RangeError):
    """A scenario folder says something that cannot be built; `detail` has file and line."""

    code = "scenario_error"


class DriverUnavailable(RangeError):
    """The driver cannot work on this machine (no Docker engine, no user namespaces, no image)."""

    code = "driver_unavailable"


class DriverError(RangeError):
    """A verb of the driver failed on a machine where the driver does work."""

    code = "driver_error"


class AddressSpaceTaken(RangeError):
    """No free block is left in the configured pools; `detail` names the network that blocks."""

    code = "address_space_taken"


class UnknownRange(RangeError):
    """No lab with this id lives on this host."""

    code = "unknown_range"


class Refused(RangeError):
    """The request is understood and not allowed (ticket used twice, seat without a shell, quota)."""

    code = "refused"
