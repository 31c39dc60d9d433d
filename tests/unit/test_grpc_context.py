"""A call of grpc.aio whose caller has disconnected, before grpc.aio says so."""

import asyncio
from typing import Any, NoReturn, cast

import grpc.aio
import pytest

from berth.rpc.transports.grpcio.context import GrpcContext


class Gone:
    """What grpc.aio gives a handler when nothing can be sent any more."""

    async def send_initial_metadata(self, _: object) -> NoReturn:
        """Fail as grpc.aio does."""
        raise grpc.aio.InternalError('Failed "execute_batch"')

    write = send_initial_metadata


async def test_a_caller_who_has_gone_is_no_fault() -> None:
    """Whatever is sent then, the call is cancelled: it is neither an internal error nor logged as one."""
    context = GrpcContext(cast("Any", Gone()))
    for send in (context.write(b""), context.send_headers([]), context.require_whole([])):
        with pytest.raises(asyncio.CancelledError):
            await send
