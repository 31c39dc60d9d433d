"""Authenticate every call before its body is read."""

from dataclasses import replace
from typing import Any

from berth.core.auth.credentials import Credentials
from berth.core.auth.login_throttle import LoginThrottle
from berth.core.errors import AuthenticationError
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.options import read_options


def auth_interceptor(credentials: Credentials, throttle: LoginThrottle) -> Interceptor:
    """Return the interceptor that authenticates the caller, before any part of the body is read.

    `throttle` delays the rejection of failed logins, longer with each further one from the same
    source.
    """

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            try:
                call.identity = await credentials.authenticate(
                    call.head.credentials, certificate=call.certificate_names
                )
            except AuthenticationError:
                if call.head.credentials:
                    await throttle.refused(call.source)
                raise
            if call.head.options:
                call.identity = replace(call.identity, options=read_options(call.head.options))
            return await next_handler(message, call)

        return handler

    return intercept
