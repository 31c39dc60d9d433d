"""The errors that the core and its adapters raise.

Each says what went wrong in words for the caller. Which status, HTTP code and
default type an error has is not said here but in the table of `rpc.status`.
"""

DAMAGED = "file_damaged"
"""The code of the error of bytes that are not what was stored."""


class BerthError(Exception):
    """Something that the caller is told about.

    `message` is one sentence for people, without secrets; `param` names the
    parameter at fault; `code` is for programs; `provider` is the short name of
    the provider where only the thrower knows it; `kind` is the error's type
    where a provider gave it one of its own; `reason` says to gRPC callers what
    happened where there is no code; `is_final` tells clients not to
    send the request again by themselves: it may have been done; `is_replayed`
    says that it is the outcome of an earlier request with the same key.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        provider: str | None = None,
        retry_after_seconds: int | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.provider = provider
        self.retry_after_seconds = retry_after_seconds
        self.kind = kind
        self.reason: str | None = None
        self.is_final = False
        self.is_replayed = False

    def __str__(self) -> str:
        """Return the message, with what was added to it since."""
        return self.message


class InvalidRequestError(BerthError):
    """A field is missing, malformed, too large, or refers to nothing."""


class UnsupportedMediaTypeError(InvalidRequestError):
    """The body is of a type that the operation does not read."""


class PreconditionFailedError(BerthError):
    """What the caller made its request depend on is not so."""


class RangeNotSatisfiableError(BerthError):
    """The range that was asked for has no byte of the file, which has `size` bytes, None where nobody knows."""

    def __init__(self, size: int | None) -> None:
        known = "" if size is None else f", which has {size} bytes"
        super().__init__(f"The range begins beyond the end of the file{known}.")
        self.size = size


class UnsupportedOperationError(BerthError):
    """The provider does not have this operation."""

    def __init__(self, request_type: str, provider: str) -> None:
        super().__init__(f"{request_type} is not supported by {provider} provider", provider=provider)


class ProviderNotConfiguredError(BerthError):
    """The provider is known, but nothing says how to reach it."""


class ContainerExpiredError(BerthError):
    """The container was idle for too long and can no longer be changed."""

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__("Container is expired.", provider=provider)


class AuthenticationError(BerthError):
    """Nobody known is calling. `code` says what is wrong with the credential."""

    def __init__(self, message: str, *, code: str, kind: str | None = None) -> None:
        super().__init__(message, code=code, kind=kind)


class PermissionDeniedError(BerthError):
    """The caller is known and may not do this. `code` says why."""

    def __init__(self, message: str, *, code: str, provider: str | None = None, kind: str | None = None) -> None:
        super().__init__(message, code=code, provider=provider, kind=kind)


class NotFoundError(BerthError):
    """What was asked for is absent, or another tenant's: both look the same.

    `reason` says to gRPC callers what it was, such as "container_not_found".
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        code: str | None = None,
        provider: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message, code=code, provider=provider, kind=kind)
        self.reason = reason


class IdempotencyConflictError(BerthError):
    """A request with the same idempotency key is still running."""


class RateLimitError(BerthError):
    """A limit of the caller's, here or at the provider, is used up."""

    def __init__(self, message: str, *, code: str, retry_after_seconds: int, kind: str | None = None) -> None:
        super().__init__(message, code=code, retry_after_seconds=retry_after_seconds, kind=kind)


class UpstreamError(BerthError):
    """The provider failed, could not be reached, or refused the configured keys."""


class StorageError(UpstreamError):
    """The service's own store or blob store failed."""


class UpstreamTimeoutError(BerthError):
    """The provider, or the caller's own deadline, ran out of time."""


def file_damaged() -> StorageError:
    """Return the error of bytes that are not what was stored; asking again does not mend them."""
    error = StorageError("The file is damaged: it is not what was stored.", code=DAMAGED)
    error.is_final = True
    return error


def not_configured(provider: str) -> ProviderNotConfiguredError:
    """Return the error for a provider, by its short name, that the configuration says nothing about."""
    message = (
        f"Provider '{provider}' is not configured. Set providers.{provider}.keys to use your account there, "
        f"or 'providers.{provider}: {{backend: hosted}}' to have Berth keep its containers."
    )
    return ProviderNotConfiguredError(message, param="provider", provider=provider)
