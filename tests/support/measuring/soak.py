"""How long a test runs: a short form in `make test`, a long one in `make soak`."""

import os

import pytest

soak = pytest.mark.soak
"""Marks a test that has a long form."""


def times(short: int, long: int) -> int:
    """Return how often a test repeats its work."""
    return long if os.environ.get("BERTH_SOAK") else short
