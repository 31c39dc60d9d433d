"""The types of settings, with strict validation and readable error messages.

Validators raise PydanticCustomError; people see its message after the name of the setting.
"""

from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

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

from berth.core.auth.credentials import VIRTUAL_KEY_PREFIX
from berth.core.providers import PROVIDERS
from berth.core.validation import did_you_mean
from berth.launch.address import Address

EVERY_PROVIDER = "*"
KEY_BYTES = 32
MAX_INT32 = 2_147_483_647
# File sizes are 32-bit numbers in JSON: see rest/view.py.
MAX_FILE_BYTES = 4_294_967_295


def invalid(reason: str) -> PydanticCustomError:
    """Return the error for an invalid value; `reason` follows the name of the setting in the message."""
    return PydanticCustomError("invalid", "{reason}", {"reason": reason})


def _address(value: object) -> Address:
    try:
        return Address.parse(str(value))
    except ValueError:
        raise invalid(f"must be an IP address and a port, such as 127.0.0.1:8080, not '{value}'") from None


def _reject_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise invalid("must be a number")
    return value


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
    if source == "env":
        return _variable(name, info.context or {})
    return _read(name) if source == "file" else value


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise invalid(f"the environment variable {name} is not set")
    return environ[name]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise invalid(f"cannot read the file {path}: {reason}") from None


def _header_safe(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value:
        raise invalid("is empty")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise invalid("has characters that are not allowed in an HTTP header")
    return secret


def _virtual_key(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().startswith(VIRTUAL_KEY_PREFIX):
        raise invalid(f"must begin with '{VIRTUAL_KEY_PREFIX}'")
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


def _limits_url(url: SecretStr) -> SecretStr:
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


def _store_url(url: str) -> str:
    if url.startswith("postgres"):
        raise invalid("PostgreSQL is not supported yet; use sqlite:///PATH")
    path = url.removeprefix("sqlite:///")
    if path in {url, "", ":memory:"}:
        raise invalid("must be sqlite:///PATH, the path of a file")
    return url


def _blobs_url(url: str) -> str:
    scheme = urlsplit(url).scheme
    if scheme in {"s3", "gs", "az"}:
        raise invalid(f"{scheme}:// is not supported yet; use file:///PATH")
    if not url.startswith("file:///"):
        raise invalid("must be file:///PATH, the absolute path of a folder")
    return url


Name = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Number = BeforeValidator(_reject_boolean)
Count = Annotated[int, Field(ge=1, le=MAX_INT32), Number]
Bytes = Annotated[int, Field(ge=1), Number]
Seconds = Annotated[float, Field(gt=0, le=3600), Number]
Retries = Annotated[int, Field(ge=0, le=10), Number]
_ADDRESS_SCHEMA = WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080"]})
ListenAddress = Annotated[Address, PlainValidator(_address), PlainSerializer(str), _ADDRESS_SCHEMA]
ProviderName = Annotated[str, AfterValidator(_provider), WithJsonSchema({"type": "string", "enum": [*PROVIDERS]})]
ProviderNameOrAll = Annotated[
    str, AfterValidator(_provider_or_all), WithJsonSchema({"type": "string", "enum": [EVERY_PROVIDER, *PROVIDERS]})
]
BasicName = Annotated[Name, AfterValidator(_basic_name)]
Secret = Annotated[SecretStr, BeforeValidator(_resolve), AfterValidator(_not_empty)]
HeaderSecret = Annotated[SecretStr, BeforeValidator(_resolve), AfterValidator(_header_safe)]
SecretKey = Annotated[Secret, AfterValidator(_secret_key)]
LimitsUrl = Annotated[Secret, AfterValidator(_limits_url)]
VirtualKeySecret = Annotated[HeaderSecret, AfterValidator(_virtual_key)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Origin = Annotated[str, AfterValidator(_origin)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]
BlobsUrl = Annotated[str, AfterValidator(_blobs_url)]
