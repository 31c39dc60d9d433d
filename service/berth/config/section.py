"""The base class of all sections of the configuration."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from berth.config.values import invalid


class Section(BaseModel):
    """A map of settings; immutable, and unknown settings are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def require_unique(names: Sequence[str], what: str) -> None:
    """Raise an error if a name occurs twice; `what` says in the message what the names are."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise invalid(f"the {what} '{repeated[0]}' is used twice")
