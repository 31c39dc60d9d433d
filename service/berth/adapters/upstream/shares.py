"""Shares: how many of the connections to a provider each tenant may have."""

from asyncio import Semaphore
from weakref import WeakValueDictionary


class Shares:
    """The shares of all tenants, of `size` connections each. Calls of a tenant wait for others of the same tenant.

    Connections are held for as long as a caller reads a download or sends an upload, and without
    shares one tenant could have them all.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._shares = WeakValueDictionary[str, Semaphore]()  # of tenants with calls

    def of(self, tenant: str) -> Semaphore:
        """Return the share of a tenant, which is to be held during a call."""
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = Semaphore(self._size)
        return share
