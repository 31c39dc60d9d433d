"""Credentials: from what a caller sends to who it is.

A virtual key comes in `x-bf-vk`, or, where it begins with `sk-bf-`, as Bearer,
`x-api-key`, `x-goog-api-key` or `api-key`; a Basic user in `authorization`.
Other keys in these headers are the caller's own keys of a provider: they say
nothing about who is calling and are passed over.
"""

import base64
import binascii
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
    takes tells nothing about a key. `anonymous` is who calls without any
    credential being asked for; None asks for one.
    """

    def __init__(
        self,
        *,
        virtual_keys: Mapping[str, Caller],
        basic_users: Mapping[tuple[str, str], Caller],
        anonymous: Caller | None = None,
    ) -> None:
        self._callers = {_key_digest(value): caller for value, caller in virtual_keys.items()}
        for (name, password), caller in basic_users.items():
            self._callers[_user_digest(f"{name}:{password}".encode())] = caller
        self._anonymous = anonymous

    def authenticate(self, headers: Iterable[tuple[str, str]]) -> Caller:
        """Return who sends `headers`, pairs of a lower-case name out of HEADERS and a value.

        AuthenticationError with the code `virtual_key_required` where there is
        no credential, `virtual_key_not_found` or `basic_user_not_found` where
        it is wrong, `conflicting_credentials` where there are several.
        """
        if self._anonymous is not None:
            return self._anonymous
        presented = {_digest(name, value) for name, value in headers}
        ours = presented - {None}
        if len(ours) > 1:
            raise AuthenticationError(_CONFLICT, code="conflicting_credentials")
        if not presented:
            raise AuthenticationError(_REQUIRED, code="virtual_key_required")
        return self._caller(ours.pop() if ours else None)

    def _caller(self, digest: bytes | None) -> Caller:
        caller = self._callers.get(digest) if digest is not None else None
        if caller is not None:
            return caller
        if digest is not None and digest.startswith(_USER):
            raise AuthenticationError(_BASIC_NOT_FOUND, code="basic_user_not_found")
        raise AuthenticationError(_NOT_FOUND, code="virtual_key_not_found")


_KEY, _USER = b"key:", b"user:"


def _key_digest(value: str) -> bytes:
    return _KEY + sha256(value.encode()).digest()


def _user_digest(user_and_password: bytes) -> bytes:
    return _USER + sha256(user_and_password).digest()


def _digest(name: str, value: str) -> bytes | None:
    """Return the digest of a credential of ours, None for somebody else's key."""
    if name == VIRTUAL_KEY_HEADER:
        return _key_digest(value.strip())
    if name == "authorization":
        scheme, _, value = value.partition(" ")
        if scheme.lower() == "basic":
            return _user_digest(_decoded(value.strip()))
    value = value.strip()
    return _key_digest(value) if value.lower().startswith(VIRTUAL_KEY_PREFIX) else None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
