"""Dull objects; a test states everything that matters to it."""
