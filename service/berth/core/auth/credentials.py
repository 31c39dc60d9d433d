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
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType

from berth.core.auth.virtual_keys import RememberedKeys, VirtualKey, digest_of
from berth.core.caller import Caller
from berth.core.errors import AuthenticationError

VIRTUAL_KEY_HEADER = "x-bf-vk"
HEADERS = frozenset({VIRTUAL_KEY_HEADER, "authorization", "x-api-key", "x-goog-api-key", "api-key"})
VIRTUAL_KEY_PREFIX = "sk-bf-"

_REQUIRED = "virtual key is required. Provide a virtual key via the x-bf-vk header."
_NOT_FOUND = "virtual key not found. The provided virtual key does not exist or has been revoked."
_BASIC_NOT_FOUND = "user not found, or the password is wrong."
_CERTIFICATE_NOT_FOUND = "the certificate is valid, but nobody here has a name that is in it."
_NO_SCHEME = "the Authorization header has a virtual key without its scheme. Send 'Authorization: Bearer sk-bf-...'."
_CONFLICT = "the request carries two different credentials. Send one, or the same in each header."

NOBODY: Mapping[str, Caller] = MappingProxyType({})


class Credentials:
    """The virtual keys and Basic users that are let in.

    Only digests are kept, and only digests are compared: the time that a look-up
    takes tells nothing about a key. `virtual_keys` and `basic_users` are those of
    the configuration; what is not among them is looked up in `stored`.
    `certificates` are the names in certificates, DNS names and URIs, and whose
    they are.
    `direct_secret` is the key of the hash that makes a tenant of a caller's own
    key of a provider; None allows no such keys. `anonymous` is who calls without
    any credential being asked for; None asks for one. `now` gives seconds since 1970.
    """

    def __init__(
        self,
        *,
        virtual_keys: Mapping[str, VirtualKey],
        basic_users: Mapping[tuple[str, str], Caller],
        now: Callable[[], int],
        stored: RememberedKeys | None = None,
        certificates: Mapping[str, Caller] = NOBODY,
        direct_secret: bytes | None = None,
        anonymous: Caller | None = None,
    ) -> None:
        self._keys: dict[bytes, VirtualKey] = {}
        self._certificates: dict[str, Caller] = {}
        self.replace(virtual_keys=virtual_keys, basic_users=basic_users, certificates=certificates)
        self._now = now
        self._stored = stored
        self._direct_secret = direct_secret
        self._anonymous = anonymous

    def replace(
        self,
        *,
        virtual_keys: Mapping[str, VirtualKey],
        basic_users: Mapping[tuple[str, str], Caller],
        certificates: Mapping[str, Caller] = NOBODY,
    ) -> None:
        """Let in these in place of those that were configured before."""
        keys = {_key_digest(value): key for value, key in virtual_keys.items()}
        for (name, password), caller in basic_users.items():
            keys[_user_digest(f"{name}:{password}".encode())] = VirtualKey(caller)
        self._keys = keys
        self._certificates = {_canonical(name): caller for name, caller in certificates.items()}

    async def authenticate(
        self, headers: Iterable[tuple[str, str]], *, certificate: Callable[[], Iterable[str]] = tuple
    ) -> Caller:
        """Return who sends `headers`, pairs of a lower-case name out of HEADERS and a value.

        A credential of ours in them comes first, then what `certificate` returns,
        the names in a certificate that was checked, then a provider's key.

        AuthenticationError with the code `virtual_key_required` where there is
        no credential, `virtual_key_not_found` or `basic_user_not_found` where
        it is wrong, `certificate_not_found` where there is nothing but a
        certificate of nobody known, `conflicting_credentials` where there are several;
        PermissionDeniedError (`virtual_key_blocked`) for a key that may not be
        used; StorageError if the stored keys cannot be read.
        """
        if self._anonymous is not None:
            return self._anonymous
        presented = {_read(name, one) for name, value in headers for one in _each(name, value)}
        ours = {credential for credential in presented if isinstance(credential, bytes)}
        if not ours and self._certificates:
            holder = self._holder(certificate(), is_alone=not presented)
            if holder is not None:
                return holder
        if len(ours or presented) > 1:
            raise AuthenticationError(_CONFLICT, code="conflicting_credentials")
        for credential in ours or presented:
            return await self._caller(credential) if isinstance(credential, bytes) else self._direct(credential)
        raise AuthenticationError(_REQUIRED, code="virtual_key_required")

    def _holder(self, names: Iterable[str], *, is_alone: bool) -> Caller | None:
        """Return who has a certificate with one of `names`; AuthenticationError if nobody, and it `is_alone`."""
        known = list(map(_canonical, names))
        for name in known:
            if name in self._certificates:
                return self._certificates[name]
        if known and is_alone:
            raise AuthenticationError(_CERTIFICATE_NOT_FOUND, code="certificate_not_found")
        return None

    async def _caller(self, digest: bytes) -> Caller:
        key = self._keys.get(digest)
        if key is None and self._stored is not None and digest.startswith(_KEY):
            key = await self._stored.find(digest.removeprefix(_KEY))
        if key is not None:
            return key.admit(self._now())
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
    return _KEY + digest_of(value)


def _user_digest(user_and_password: bytes) -> bytes:
    return _USER + sha256(user_and_password).digest()


def _each(name: str, value: str) -> list[str]:
    """Return the credentials in a header: proxies join an `authorization` that is sent twice with a comma."""
    parts = [part.strip() for part in value.split(",")]
    several = name == "authorization" and len(parts) > 1 and all(" " in part for part in parts)
    return parts if several else [value]


def _read(name: str, value: str) -> bytes | str:
    """Return the digest of a credential of ours, or a provider's key as it is."""
    if name == VIRTUAL_KEY_HEADER:
        return _key_digest(value.strip())
    if name == "authorization":
        scheme, _, value = value.partition(" ")
        if scheme.lower() == "basic":
            return _user_digest(_decoded(value.strip()))
        if scheme.lower().startswith(VIRTUAL_KEY_PREFIX):
            raise AuthenticationError(_NO_SCHEME, code="virtual_key_not_found")
    value = value.strip()
    return _key_digest(value) if value.lower().startswith(VIRTUAL_KEY_PREFIX) else value


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _canonical(name: str) -> str:
    """Return a name as it is compared: DNS names know no case, URIs do."""
    return name if "://" in name else name.lower()
