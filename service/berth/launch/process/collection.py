"""Collects garbage seldom while Berth starts: it makes 90 000 objects then, and nearly no garbage.

Collections of them took a tenth of the processor time of a start.
"""

import gc

_USUAL = gc.get_threshold()
_AT_START = 50_000


def collect_seldom() -> None:
    """Collect garbage only after many objects, from now on."""
    gc.set_threshold(_AT_START)


def exempt_existing() -> None:
    """Collect garbage as usual from now on, except for what exists by now, which takes tens of milliseconds."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
