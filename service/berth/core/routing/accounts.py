"""Which accounts at providers are a caller's own, and so who decides what the caller may reach in them.

In an account of the caller's own the provider decides: an id that Berth does not know is sent to it. In an account that
several tenants share, Berth decides: it knows what it created for whom, and what it does not know is not found.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from berth.core.caller import Caller
from berth.core.ports.container_store import ForeignRow
from berth.v1.provider_pb2 import Provider


class Account(Protocol):
    """The account, or accounts, of one provider."""

    def owns(self, caller: Caller) -> bool:
        """Return whether the caller has a key of its own, sent with the request or reserved for its tenant."""

    def admits_unknown(self, caller: Caller) -> bool:
        """Return whether the caller may reach what Berth does not know."""

    def is_own_key(self, tenant: str, key: str) -> bool:
        """Return whether `tenant` has the account of the key with this name to itself now."""


class Accounts:
    """The accounts at all providers that keep containers and files themselves."""

    def __init__(self, accounts: Mapping[Provider, Account]) -> None:
        self._accounts = accounts

    def owns(self, caller: Caller, provider: Provider) -> bool:
        """Return whether the caller has an account of its own at `provider`."""
        account = self._accounts.get(provider)
        return account is not None and account.owns(caller)

    def admits_unknown(self, caller: Caller, provider: Provider) -> bool:
        """Return whether `provider` is asked for an id that Berth does not know."""
        account = self._accounts.get(provider)
        return account is not None and account.admits_unknown(caller)

    def only_one(self, caller: Caller) -> Provider | None:
        """Return the provider that is asked if the caller names none: that of its only own account.

        Without an own account it is the only one where everybody may reach everything.
        """
        allowed = [provider for provider in self._accounts if caller.providers is None or provider in caller.providers]
        own = [provider for provider in allowed if self.owns(caller, provider)]
        candidates = own or [provider for provider in allowed if self.admits_unknown(caller, provider)]
        return candidates[0] if len(candidates) == 1 else None

    def holds_for_others(self, rows: Iterable[ForeignRow]) -> bool:
        """Return whether one of the rows of other tenants is not in an account of their own.

        Such a resource is theirs alone, even if the caller's key can reach it.
        """
        return any(self._is_shared(row) for row in rows)

    def _is_shared(self, row: ForeignRow) -> bool:
        account = self._accounts.get(row.provider)
        return account is None or not account.is_own_key(row.tenant, row.key)


NO_ACCOUNTS = Accounts({})
