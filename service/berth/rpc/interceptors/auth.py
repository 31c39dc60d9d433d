"""Authenticate every call before its body is read."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from berth.core.auth.credentials import Credentials
from berth.core.auth.login_throttle import LoginThrottle
from berth.core.errors import AuthenticationError
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.options import read_options
from berth.rpc.tls.check import CertificateCheck, ClientCertificate


def auth_interceptor(
    credentials: Credentials,
    throttle: LoginThrottle,
    certificates: CertificateCheck | None = None,
    *,
    report_names_alone: Callable[[], None] | None = None,
) -> Interceptor:
    """Return the interceptor that authenticates the caller, before any part of the body is read.

    `throttle` delays the rejection of failed logins, longer with each further one from the same
    source. `certificates` refuses every call over a connection with a client certificate that is not
    valid any more, with a key as well: its handshake would fail now. `report_names_alone` is called
    when a caller is refused of whom a sidecar forwards names, but no certificate.
    """

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            certificate = call.certificate()
            if certificate is not None and certificates is not None:
                certificates.require_valid(certificate)
            names = certificate.names if certificate else ()
            try:
                call.identity = await credentials.authenticate(call.head.credentials, certificate=names)
            except AuthenticationError:
                if report_names_alone and _has_names_alone(certificate):
                    report_names_alone()
                if call.head.credentials:
                    await throttle.refused(call.source)
                raise
            if call.head.options:
                call.identity = replace(call.identity, options=read_options(call.head.options))
            return await next_handler(message, call)

        return handler

    return intercept


def _has_names_alone(certificate: ClientCertificate | None) -> bool:
    return certificate is not None and certificate.is_foreign and not certificate.chain
