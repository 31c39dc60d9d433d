"""The errors that the core and its adapters raise.

Messages are written for the caller. The table in `rpc.status` maps each error to its gRPC status,
HTTP status and default type.
"""

DAMAGED = "file_damaged"
"""The error code for stored content that is damaged."""
STORAGE_RETRY_SECONDS = 2
"""When a client may try again: within seconds the storage answers again, or another replica is called."""


class BerthError(Exception):
    """An error that is reported to the caller.

    `message` is one sentence for people, without secrets; `param` names the invalid parameter;
    `code` is for programs; `provider` is the short name of the provider, set where only the raising
    code knows it; `kind` is the error's type, if a provider returned its own; `reason` is the
    reason for gRPC callers where there is no code. `is_final` asks clients not to retry
    automatically: the request may have been executed, or would fail again. `is_replayed` says that
    the error is the stored outcome of an earlier request with the same idempotency key.
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
        """Return the message, including what was added to it after construction."""
        return self.message


class InvalidRequestError(BerthError):
    """A field is missing, malformed or too large, or refers to something that does not exist."""


class SlowRequestError(BerthError):
    """The request did not arrive in time."""


class UnsupportedMediaTypeError(InvalidRequestError):
    """The operation does not accept the media type of the body."""


class PreconditionFailedError(BerthError):
    """A precondition of the request, such as If-Match, does not hold."""


class RangeNotSatisfiableError(BerthError):
    """The requested range contains no byte of the file; `size` is the file's size in bytes, None if unknown."""

    def __init__(self, size: int | None) -> None:
        known = "" if size is None else f", which has {size} bytes"
        super().__init__(f"The range begins beyond the end of the file{known}.")
        self.size = size


class UnsupportedOperationError(BerthError):
    """The provider does not support this operation."""

    def __init__(self, request_type: str, provider: str) -> None:
        super().__init__(f"{request_type} is not supported by {provider} provider", provider=provider)


class ProviderNotConfiguredError(BerthError):
    """The provider is known but not configured."""


class ContainerExpiredError(BerthError):
    """The container was idle for too long and can no longer be changed."""

    def __init__(self, *, provider: str | None = None) -> None:
        super().__init__("Container is expired.", provider=provider)


class AuthenticationError(BerthError):
    """The caller could not be authenticated. `code` says what is wrong with the credential."""

    def __init__(self, message: str, *, code: str, kind: str | None = None) -> None:
        super().__init__(message, code=code, kind=kind)


class PermissionDeniedError(BerthError):
    """The caller is authenticated but not allowed to do this. `code` says why."""

    def __init__(self, message: str, *, code: str, provider: str | None = None, kind: str | None = None) -> None:
        super().__init__(message, code=code, provider=provider, kind=kind)


class NotFoundError(BerthError):
    """The resource does not exist or belongs to another tenant; callers cannot tell the difference.

    `reason` says to gRPC callers what was not found, such as "container_not_found".
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
    """A request with the same idempotency key is still running, or its outcome is unknown."""


class ContainerBusyError(BerthError):
    """Another command is running in the container."""

    def __init__(self) -> None:
        super().__init__("Another command is running in the container.", code="container_busy", retry_after_seconds=1)


class ExecUnsupportedError(BerthError):
    """Commands cannot be run, or not in this container; the message says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Commands cannot be run: {reason}.", code="exec_unsupported")


class StoppingError(BerthError):
    """The service stops, and starts nothing new. Another process may do so, or this one after a restart."""

    def __init__(self) -> None:
        super().__init__("The service is stopping. Try again in 1 s.", retry_after_seconds=1)


class RateLimitError(BerthError):
    """A limit of the caller is exhausted, in Berth or at the provider."""

    def __init__(self, message: str, *, code: str, retry_after_seconds: int, kind: str | None = None) -> None:
        super().__init__(message, code=code, retry_after_seconds=retry_after_seconds, kind=kind)


class BudgetExceededError(BerthError):
    """The budget of the caller's key does not suffice for another container."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="budget_exceeded")


class UpstreamError(BerthError):
    """The provider failed, could not be reached, or rejected the configured keys."""


class StorageError(UpstreamError):
    """Berth's own storage failed, such as the database or the blob store.

    Unless it is final, clients may try again after STORAGE_RETRY_SECONDS.
    """

    def __init__(
        self, message: str, *, code: str | None = None, retry_after_seconds: int = STORAGE_RETRY_SECONDS
    ) -> None:
        super().__init__(message, code=code, retry_after_seconds=retry_after_seconds)


class UpstreamTimeoutError(BerthError):
    """The provider did not answer in time, or the caller's own deadline passed."""


def file_damaged() -> StorageError:
    """Return the error for damaged content; it is final, because a retry would fail again."""
    error = StorageError("The file is damaged: its content differs from what was stored.", code=DAMAGED)
    error.is_final = True
    return error


def not_configured(provider: str) -> ProviderNotConfiguredError:
    """Return the error for a provider, given by its short name, that is not configured."""
    message = (
        f"Provider '{provider}' is not configured. Set providers.{provider}.keys to use your account there, "
        f"or 'providers.{provider}: {{backend: hosted}}' to have Berth host its containers."
    )
    return ProviderNotConfiguredError(message, param="provider", provider=provider)
