"""How providers spell what they have in common: each other module of this package describes a family of APIs.

Such a module has `DIALECTS`, a map from names to dialects. The names are those of the backends of the configuration:
another dialect is another module, and nothing else has to know it.
"""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from berth.adapters.upstream.dialects.record import Dialect


def _found() -> Iterator[tuple[str, Dialect]]:
    """Yield the names and dialects of all modules of this package."""
    for module in iter_modules(__path__, prefix=f"{__name__}."):
        yield from getattr(import_module(module.name), "DIALECTS", {}).items()


DIALECTS: dict[str, Dialect] = dict(_found())
"""The dialects by the backend of the configuration that means them."""

__all__ = ["DIALECTS", "Dialect"]
