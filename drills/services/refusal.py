"""A verb that is understood and not possible now."""

from __future__ import annotations


class Refused(Exception):
    """The text is for the person: what, why, what now."""
