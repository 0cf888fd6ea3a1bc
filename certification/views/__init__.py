"""Screens of the holder, anyone, the assessor and the bureau."""
