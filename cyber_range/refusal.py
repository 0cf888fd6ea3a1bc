class RangeRefused(Exception):
    """The request is understood and not possible now; the text says why and what to do."""
