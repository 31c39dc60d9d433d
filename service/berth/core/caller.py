"""Who is calling."""

from dataclasses import dataclass

from berth.core.errors import PermissionDeniedError
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import Provider


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, and the providers it may use; `providers` None means all.

    `name` is that of the key or user, for logs; it is never a secret.
    """

    tenant: str
    name: str
    providers: frozenset[Provider] | None = None

    def require(self, provider: Provider) -> None:
        """Raise PermissionDeniedError (`provider_blocked`) unless the caller may use `provider`."""
        if self.providers is not None and provider not in self.providers:
            name = provider_name(provider)
            message = f"Provider '{name}' is not allowed for this virtual key"
            raise PermissionDeniedError(message, code="provider_blocked", provider=name)
