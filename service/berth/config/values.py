"""The types of settings, with strict validation and readable error messages.

Validators raise PydanticCustomError; people see its message after the name of the setting.
"""

import re
from base64 import b64decode
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from berth.config.files import SecretSources, UnreadableError, expand_home
from berth.core.auth.credentials import VIRTUAL_KEY_PREFIX
from berth.core.providers import PROVIDERS
from berth.core.validation import did_you_mean
from berth.launch.address import Address
from berth.launch.kept_secrets import DIGITS

EVERY_PROVIDER = "*"
KEY_BYTES = 32
MAX_INT32 = 2_147_483_647
# File sizes are 32-bit numbers in JSON: see rest/view.py.
MAX_FILE_BYTES = 4_294_967_295
_SQLITE, _POSTGRES, _FILE = "sqlite:///", "postgresql://", "file://"
_BUCKETS = {"s3", "gs", "az"}
# No name is "." or "..", and there is no room for a user and a password.
_BUCKET_AND_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
# Of two digits or more, because short keys such as sk-bf-a are words of people, not parts of a generated key.
_HEXADECIMAL = re.compile(r"[0-9a-f]{2,}")


def invalid(reason: str) -> PydanticCustomError:
    """Return the error for an invalid value; `reason` follows the name of the setting in the message."""
    return PydanticCustomError("invalid", "{reason}", {"reason": reason})


def _address(value: object) -> Address:
    try:
        return Address.parse(str(value))
    except ValueError:
        raise invalid(f"must be an IP address and a port, such as 127.0.0.1:8080, not '{value}'") from None


def _number(value: object) -> object:
    """Reject what YAML, or people, may read as another number: true is 1, 020 is 16, and 1:30 is 90."""
    if isinstance(value, bool):
        raise invalid("must be a number")
    if isinstance(value, str) and _LEADING_ZERO.fullmatch(value.strip()):
        raise invalid(f"must be a number without a leading zero, not '{value}', which may be octal")
    if isinstance(value, str) and re.fullmatch(r"[-+0-9_.:]*:[0-9_.:]*", value):
        raise invalid(f"must be a decimal number, not '{value}', which may be sexagesimal")
    return value


def _expand(value: object) -> object:
    """Expand `~` at the beginning of a path."""
    return _home(value) if isinstance(value, str) else value


def _home(path: str) -> str:
    try:
        return expand_home(path)
    except UnreadableError as error:
        raise invalid(str(error)) from None


def _provider(name: str) -> str:
    if name not in PROVIDERS:
        raise invalid(f"unknown provider '{name}'{did_you_mean(name, PROVIDERS)}")
    return name


def _provider_or_all(name: str) -> str:
    return name if name == EVERY_PROVIDER else _provider(name)


def _resolve(value: object, info: ValidationInfo) -> object:
    """Return the value that `env:NAME` or `file:PATH` refers to; return any other value unchanged."""
    if not isinstance(value, str):
        return value
    source, _, name = value.partition(":")
    if source not in {"env", "file"}:
        return value
    sources: SecretSources = info.context or SecretSources({}, only_regular=False)
    try:
        return sources.variable(name) if source == "env" else sources.file(name)
    except UnreadableError as error:
        raise invalid(str(error)) from None


def _header_safe(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value:
        raise invalid("is empty")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise invalid("has characters that are not allowed in an HTTP header")
    return secret


def _virtual_key(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value.startswith(VIRTUAL_KEY_PREFIX):
        raise invalid(f"must begin with '{VIRTUAL_KEY_PREFIX}'")
    random = value.removeprefix(VIRTUAL_KEY_PREFIX)
    if not random:
        raise invalid(f"is only the prefix '{VIRTUAL_KEY_PREFIX}' and may be cut")
    if _HEXADECIMAL.fullmatch(random) and len(random) < DIGITS:
        raise invalid(
            f"has {len(random)} hexadecimal digits after '{VIRTUAL_KEY_PREFIX}' and may be cut; a key of hexadecimal"
            f" digits needs at least {DIGITS}"
        )
    return secret


def _not_empty(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise invalid("is empty")
    return secret


def _basic_name(name: str) -> str:
    if ":" in name:
        raise invalid("must not contain ':', which ends the name in a Basic credential")
    return name


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise invalid("must be an http:// or https:// URL without user, query and fragment")
    return url.rstrip("/")


def _origin(origin: str) -> str:
    parts = urlsplit(origin)
    if origin != "*" and (not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}"):
        raise invalid(f"must be '*' or an origin such as https://app.example.com, not '{origin}'")
    return origin


def _valkey_url(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        is_good = parts.scheme in {"redis", "rediss", "valkey", "valkeys"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise invalid("must be a URL such as valkey://HOST:6379/0, or with redis, rediss or valkeys")
    return url


def key_bytes(text: str) -> bytes:
    """Return the 32 bytes of a key in hexadecimal or Base64. ValueError if it is neither."""
    key = bytes.fromhex(text) if len(text) == KEY_BYTES * 2 else b64decode(text, validate=True)
    if len(key) != KEY_BYTES:
        raise ValueError
    return key


def _secret_key(secret: SecretStr) -> SecretStr:
    try:
        key_bytes(secret.get_secret_value())
    except ValueError:
        raise invalid(
            f"must be {KEY_BYTES} bytes in hexadecimal or Base64, such as from 'openssl rand -hex 32'"
        ) from None
    return secret


def _store_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if url.startswith(_POSTGRES):
        _require_server(url)
        return secret
    path = url.removeprefix(_SQLITE)
    if path in {url, "", ":memory:"}:
        raise invalid(f"must be sqlite:///PATH, the path of a file, or {_POSTGRES}USER:PASSWORD@HOST/DATABASE")
    return SecretStr(_SQLITE + _home(path))


def _require_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = bool(parts.hostname) and parts.port != 0 and len(parts.path) > 1 and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good:
        raise invalid(f"must be a URL such as {_POSTGRES}USER:PASSWORD@HOST:5432/DATABASE")


def _blobs_url(url: str) -> str:
    scheme, _, place = url.partition("://")
    if scheme in _BUCKETS:
        if not _BUCKET_AND_PREFIX.fullmatch(place):
            raise invalid(f"must be {scheme}://BUCKET/PREFIX, with letters, digits and -._ in names, and nothing else")
        return url.rstrip("/")
    if not url.startswith("file:///"):
        raise invalid("must be file:///PATH, the absolute path of a folder, or a bucket such as s3://BUCKET/PREFIX")
    path = url.removeprefix(f"{_FILE}/")
    return _FILE + _with_home(path) if path.startswith("~") else url


def _with_home(path: str) -> str:
    """Expand `~` in an encoded path; the home folder is encoded, too."""
    user, slash, rest = path.partition("/")
    return quote(_home(user)) + slash + rest


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError:
        raise invalid(f"must be an IP address or a network such as 10.1.0.0/16, not '{value}'") from None


def _off(value: object) -> object:
    """Read the word as YAML 1.1 does, where `off` is false."""
    return "off" if value is False else value


def _cgroup(value: object) -> str | Path:
    if (word := _off(value)) in {"auto", "off"}:
        return str(word)
    path = Path(_home(str(value)))
    if not path.is_absolute():
        raise invalid(f"must be auto, off or an absolute path, not '{value}'")
    return path


Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Number = BeforeValidator(_number)
LocalPath = Annotated[Path, BeforeValidator(_expand)]
MayBeOff = BeforeValidator(_off)
_CGROUP_SCHEMA = WithJsonSchema({"type": "string", "examples": ["auto", "off", "/sys/fs/cgroup/berth"]})
Cgroup = Annotated[str | Path, PlainValidator(_cgroup), PlainSerializer(str), _CGROUP_SCHEMA]
Count = Annotated[int, Field(ge=1, le=MAX_INT32), Number]
Bytes = Annotated[int, Field(ge=1), Number]
Seconds = Annotated[float, Field(gt=0, le=3600), Number]
Retries = Annotated[int, Field(ge=0, le=10), Number]
_ADDRESS_SCHEMA = WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080"]})
ListenAddress = Annotated[Address, PlainValidator(_address), PlainSerializer(str), _ADDRESS_SCHEMA]
_NETWORK_SCHEMA = WithJsonSchema({"type": "string", "examples": ["10.1.0.0/16"]})
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network), PlainSerializer(str), _NETWORK_SCHEMA]
ProviderName = Annotated[str, AfterValidator(_provider), WithJsonSchema({"type": "string", "enum": [*PROVIDERS]})]
ProviderNameOrAll = Annotated[
    str, AfterValidator(_provider_or_all), WithJsonSchema({"type": "string", "enum": [EVERY_PROVIDER, *PROVIDERS]})
]
BasicName = Annotated[Name, AfterValidator(_basic_name)]
Secret = Annotated[SecretStr, BeforeValidator(_resolve), AfterValidator(_not_empty)]
HeaderSecret = Annotated[SecretStr, BeforeValidator(_resolve), AfterValidator(_header_safe)]
SecretKey = Annotated[Secret, AfterValidator(_secret_key)]
ValkeyUrl = Annotated[Secret, AfterValidator(_valkey_url)]
VirtualKeySecret = Annotated[HeaderSecret, AfterValidator(_virtual_key)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Origin = Annotated[str, AfterValidator(_origin)]
StoreUrl = Annotated[Secret, AfterValidator(_store_url)]
BlobsUrl = Annotated[str, AfterValidator(_blobs_url)]
