"""Credentials: from what a caller sends to who it is.

A virtual key comes in `x-bf-vk`, or, where it begins with `sk-bf-`, as Bearer,
`x-api-key`, `x-goog-api-key` or `api-key`; a Basic user in `authorization`.
Any other key in these headers is the caller's own key of a provider: beside a
credential of ours it says nothing and is passed over, alone it is who is
calling, where that is allowed.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256

from berth.core.caller import Caller
from berth.core.errors import AuthenticationError

VIRTUAL_KEY_HEADER = "x-bf-vk"
HEADERS = frozenset({VIRTUAL_KEY_HEADER, "authorization", "x-api-key", "x-goog-api-key", "api-key"})
VIRTUAL_KEY_PREFIX = "sk-bf-"

_REQUIRED = "virtual key is required. Provide a virtual key via the x-bf-vk header."
_NOT_FOUND = "virtual key not found. The provided virtual key does not exist or has been revoked."
_BASIC_NOT_FOUND = "user not found, or the password is wrong."
_CONFLICT = "the request carries two different credentials. Send one, or the same in each header."


class Credentials:
    """The virtual keys and Basic users that are let in.

    Only digests are kept, and only digests are compared: the time that a look-up
    takes tells nothing about a key. `direct_secret` is the key of the hash that
    makes a tenant of a caller's own key of a provider; None allows no such keys.
    `anonymous` is who calls without any credential being asked for; None asks
    for one.
    """

    def __init__(
        self,
        *,
        virtual_keys: Mapping[str, Caller],
        basic_users: Mapping[tuple[str, str], Caller],
        direct_secret: bytes | None = None,
        anonymous: Caller | None = None,
    ) -> None:
        self._callers = {_key_digest(value): caller for value, caller in virtual_keys.items()}
        for (name, password), caller in basic_users.items():
            self._callers[_user_digest(f"{name}:{password}".encode())] = caller
        self._direct_secret = direct_secret
        self._anonymous = anonymous

    def authenticate(self, headers: Iterable[tuple[str, str]]) -> Caller:
        """Return who sends `headers`, pairs of a lower-case name out of HEADERS and a value.

        AuthenticationError with the code `virtual_key_required` where there is
        no credential, `virtual_key_not_found` or `basic_user_not_found` where
        it is wrong, `conflicting_credentials` where there are several.
        """
        if self._anonymous is not None:
            return self._anonymous
        presented = {_read(name, value) for name, value in headers}
        ours = {credential for credential in presented if isinstance(credential, bytes)}
        if len(ours or presented) > 1:
            raise AuthenticationError(_CONFLICT, code="conflicting_credentials")
        for credential in ours or presented:
            return self._caller(credential) if isinstance(credential, bytes) else self._direct(credential)
        raise AuthenticationError(_REQUIRED, code="virtual_key_required")

    def _caller(self, digest: bytes) -> Caller:
        caller = self._callers.get(digest)
        if caller is not None:
            return caller
        if digest.startswith(_USER):
            raise AuthenticationError(_BASIC_NOT_FOUND, code="basic_user_not_found")
        raise AuthenticationError(_NOT_FOUND, code="virtual_key_not_found")

    def _direct(self, key: str) -> Caller:
        if self._direct_secret is None or not key:
            raise AuthenticationError(_NOT_FOUND, code="virtual_key_not_found")
        digest = hmac.new(self._direct_secret, key.encode(), sha256).hexdigest()
        return Caller(tenant=f"direct-{digest}", name="direct", direct_key=key)


_KEY, _USER = b"key:", b"user:"


def _key_digest(value: str) -> bytes:
    return _KEY + sha256(value.encode()).digest()


def _user_digest(user_and_password: bytes) -> bytes:
    return _USER + sha256(user_and_password).digest()


def _read(name: str, value: str) -> bytes | str:
    """Return the digest of a credential of ours, or a provider's key as it is."""
    if name == VIRTUAL_KEY_HEADER:
        return _key_digest(value.strip())
    if name == "authorization":
        scheme, _, value = value.partition(" ")
        if scheme.lower() == "basic":
            return _user_digest(_decoded(value.strip()))
    value = value.strip()
    return _key_digest(value) if value.lower().startswith(VIRTUAL_KEY_PREFIX) else value


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
