"""The settings for usage, for the prices with which its cost is estimated, and for budgets."""

from typing import Annotated, Literal

from pydantic import Field

from berth.config.section import Section
from berth.config.values import Name, Number, ProviderName
from berth.core.usage.prices import PUBLIC_AS_OF

Usd = Annotated[float, Field(ge=0, le=1_000_000), Number]


class Budget(Section):
    """How much the containers of a key may cost, as far as Berth can estimate that."""

    usd: Annotated[float, Field(gt=0, le=1_000_000_000), Number]
    """The amount in US dollars. A container that would exceed it, with its minimum price, is refused."""
    per: Literal["day", "month"] = "month"
    """The period that the amount is for: a day or a month in UTC."""


class Usage(Section):
    """What is counted for each tenant, key, provider and day, and the prices with which its cost is estimated."""

    days: Annotated[int, Field(ge=31, le=36_500), Number] = 400
    """How long the usage of a day is kept."""
    prices: dict[ProviderName, dict[Literal["1g", "4g", "16g", "64g"], Usd]] = Field(default_factory=dict)
    """The prices of containers by provider and memory size, in US dollars per 20 minutes. They are billed by the
    minute, at least five minutes of each. Unless set, a passthrough provider has the public prices of OpenAI, `{1g:
    0.03, 4g: 0.12, 16g: 0.48, 64g: 1.92}`, and hosted containers cost nothing."""
    prices_as_of: Name = PUBLIC_AS_OF
    """Of when the prices are; it is shown beside estimated costs."""
