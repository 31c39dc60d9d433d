"""Which writes may still take effect after they have ended, and for how long."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berth.core.errors import BerthError, UpstreamError, UpstreamTimeoutError
from berth.core.ports.response_cache import ResponseCache

SETTLING_SECONDS = 60
"""How long a write that ended without an answer may still take effect."""


@asynccontextmanager
async def writing(cache: ResponseCache, tenant: str, container_id: str) -> AsyncIterator[None]:
    """Record in `cache` a write to a container that runs inside the context.

    A write that is cancelled, or fails without saying whether it happened, is not settled.
    """
    end_write = await cache.begin_write(tenant, container_id)
    is_settled = True
    try:
        yield
    except BaseException as error:
        is_settled = _is_certain_failure(error)
        raise
    finally:
        await end_write(is_settled=is_settled)


def _is_certain_failure(error: BaseException) -> bool:
    """Return whether `error` means that nothing was written."""
    return isinstance(error, BerthError) and not isinstance(error, UpstreamError | UpstreamTimeoutError)
