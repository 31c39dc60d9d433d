"""How long a test runs: a short form in `make test`, a long one in `make soak`."""

import os

import pytest

IS_LONG = bool(os.environ.get("BERTH_SOAK"))
soak = pytest.mark.soak
"""Marks a test that has a long form."""


def only_long(reason: str) -> pytest.MarkDecorator:
    """Return the mark of a test that has no short form, and why; what compares times has none."""
    return pytest.mark.skipif(not IS_LONG, reason=reason)


def times(short: int, long: int) -> int:
    """Return how often a test repeats its work."""
    return long if IS_LONG else short
