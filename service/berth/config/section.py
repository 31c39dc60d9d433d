"""What every part of the configuration has in common."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from berth.config.values import refused


class Section(BaseModel):
    """A map of settings: frozen, and without room for one that does not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


def require_unique(names: Sequence[str], what: str) -> None:
    """Refuse a list in which two items have the same `what`."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refused(f"the {what} '{twice[0]}' is used twice")
