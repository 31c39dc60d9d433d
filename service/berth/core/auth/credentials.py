"""Credentials: finds the caller of a request from its headers and its client certificate.

A virtual key is sent in `x-bf-vk`. If it begins with `sk-bf-`, it may also be sent as a Bearer
token or in `x-api-key`, `x-goog-api-key` or `api-key`. A Basic user is sent in `authorization`. Any
other key in these headers is the caller's own key of a provider (direct key). A direct key is
ignored if the request has a credential of Berth; otherwise it identifies the caller, where direct
keys are allowed.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_CERTIFICATE_NOT_FOUND = "the client certificate is valid, but none of its names is known here."
_AMBIGUOUS = "the client certificate has names of two different tenants."
_NO_SCHEME = "the Authorization header has a virtual key without its scheme. Send 'Authorization: Bearer sk-bf-...'."
_EMPTY = "the key in the request is empty. A variable, such as $KEY, may not be set."
_CONFLICT = "the request carries two different credentials. Send one, or the same in each header."

NO_CERTIFICATES: Mapping[str, Caller] = MappingProxyType({})


class Credentials:
    """The virtual keys, Basic users and client certificates that are accepted.

    Keys and passwords are kept and compared only as digests, so the duration of a lookup reveals
    nothing about a key. `virtual_keys` and `basic_users` come from the configuration; other virtual
    keys are looked up in `stored`. `certificates` maps the names in client certificates, DNS names
    and URIs, to callers. `direct_secret` is the HMAC key that derives a tenant from a direct key;
    None allows no direct keys. `anonymous` is the caller of every request if no credential is
    required; None requires one. `now` returns seconds since 1970.
    """

    def __init__(
        self,
        *,
        virtual_keys: Mapping[str, VirtualKey],
        basic_users: Mapping[tuple[str, str], Caller],
        now: Callable[[], int],
        stored: RememberedKeys | None = None,
        certificates: Mapping[str, Caller] = NO_CERTIFICATES,
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
        certificates: Mapping[str, Caller] = NO_CERTIFICATES,
    ) -> None:
        """Replace the configured virtual keys, Basic users and certificates."""
        keys = {_key_digest(value): key for value, key in virtual_keys.items()}
        for (name, password), caller in basic_users.items():
            keys[_user_digest(f"{name}:{password}".encode())] = VirtualKey(caller)
        self._keys = keys
        self._certificates = {_canonical(name): caller for name, caller in certificates.items()}

    def configured(self) -> Iterator[Caller]:
        """Yield the callers of the configuration, and the anonymous one; those of stored keys are not among them."""
        yield from (key.caller for key in self._keys.values() if key.active)
        yield from self._certificates.values()
        if self._anonymous is not None:
            yield self._anonymous

    async def authenticate(self, headers: Iterable[tuple[str, str]], *, certificate: Iterable[str] = ()) -> Caller:
        """Return the caller who sends `headers`, pairs of a lower-case name in HEADERS and a value.

        A credential of Berth takes precedence over the names in `certificate`, those in a verified
        client certificate, and these take precedence over a direct key.

        AuthenticationError with the code `virtual_key_required` if there is no credential,
        `virtual_key_not_found` or `basic_user_not_found` if it is wrong, `certificate_not_found` if
        there is only a certificate and none of its names is known, `conflicting_credentials` if
        there are several; PermissionDeniedError (`virtual_key_blocked`) for a key that may not be
        used; StorageError if the stored keys cannot be read.
        """
        if self._anonymous is not None:
            return self._anonymous
        presented = {_parse(name, part) for name, value in headers for part in _split(name, value)}
        ours = {credential for credential in presented if isinstance(credential, bytes)}
        if not ours and self._certificates:
            caller = self._find_certificate_caller(certificate, is_only=not presented)
            if caller is not None:
                return caller
        if len(ours or presented) > 1:
            raise AuthenticationError(_CONFLICT, code="conflicting_credentials")
        for credential in ours or presented:
            return await self._look_up(credential) if isinstance(credential, bytes) else self._direct_caller(credential)
        raise AuthenticationError(_REQUIRED, code="virtual_key_required")

    def _find_certificate_caller(self, names: Iterable[str], *, is_only: bool) -> Caller | None:
        """Return the caller with one of the certificate `names`, None if there is none.

        AuthenticationError if the names belong to two tenants, and instead of None if the certificate
        has names and is the only credential.
        """
        known = list(map(_canonical, names))
        callers = [self._certificates[name] for name in known if name in self._certificates]
        if len({caller.tenant for caller in callers}) > 1:
            raise AuthenticationError(_AMBIGUOUS, code="conflicting_credentials")
        if callers:
            return callers[0]
        if known and is_only:
            raise AuthenticationError(_CERTIFICATE_NOT_FOUND, code="certificate_not_found")
        return None

    async def _look_up(self, digest: bytes) -> Caller:
        key = self._keys.get(digest)
        if key is None and self._stored is not None and digest.startswith(_KEY):
            key = await self._stored.find(digest.removeprefix(_KEY))
        if key is not None:
            return key.admit(self._now())
        if digest.startswith(_USER):
            raise AuthenticationError(_BASIC_NOT_FOUND, code="basic_user_not_found")
        raise AuthenticationError(_EMPTY if digest == _key_digest("") else _NOT_FOUND, code="virtual_key_not_found")

    def _direct_caller(self, key: str) -> Caller:
        if not key:
            raise AuthenticationError(_EMPTY, code="virtual_key_not_found")
        if self._direct_secret is None:
            raise AuthenticationError(_NOT_FOUND, code="virtual_key_not_found")
        digest = hmac.new(self._direct_secret, key.encode(), sha256).hexdigest()
        return Caller(tenant=f"direct-{digest}", name="direct", direct_key=key)


_KEY, _USER = b"key:", b"user:"


def _key_digest(value: str) -> bytes:
    return _KEY + digest_of(value)


def _user_digest(user_and_password: bytes) -> bytes:
    return _USER + sha256(user_and_password).digest()


def _split(name: str, value: str) -> list[str]:
    """Return the credentials in a header: proxies join repeated `authorization` headers with a comma."""
    parts = [part.strip() for part in value.split(",")]
    several = name == "authorization" and len(parts) > 1 and all(" " in part for part in parts)
    return parts if several else [value]


def _parse(name: str, value: str) -> bytes | str:
    """Return the digest of a credential of Berth, or a provider's key unchanged."""
    if name == VIRTUAL_KEY_HEADER:
        return _key_digest(value.strip())
    if name == "authorization":
        scheme, _, value = value.partition(" ")
        if scheme.lower() == "basic":
            return _user_digest(_decode(value.strip()))
        if scheme.lower().startswith(VIRTUAL_KEY_PREFIX):
            raise AuthenticationError(_NO_SCHEME, code="virtual_key_not_found")
    value = value.strip()
    return _key_digest(value) if value.lower().startswith(VIRTUAL_KEY_PREFIX) else value


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _canonical(name: str) -> str:
    """Return a name in the form that is compared: DNS names are case-insensitive, URIs are not."""
    return name if "://" in name else name.lower()
