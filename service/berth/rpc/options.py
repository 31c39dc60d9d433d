"""Read the headers in which callers set options of a request."""

from collections.abc import Mapping

from berth.core.caller import MAX_IDEMPOTENCY_KEY_LENGTH, MAX_OPTION_LENGTH, NO_OPTIONS, Options
from berth.core.validation import check_integer, check_text, invalid

ORGANIZATION = "openai-organization"
PROJECT = "openai-project"
RAW_REQUEST = "x-bf-send-back-raw-request"
RAW_RESPONSE = "x-bf-send-back-raw-response"
CACHE_KEY = "x-bf-cache-key"
CACHE_TTL = "x-bf-cache-ttl"
CACHE_TYPE = "x-bf-cache-type"
CACHE_NO_STORE = "x-bf-cache-no-store"
IDEMPOTENCY_KEY = "idempotency-key"
CONTENT_ENCODING = "content-encoding"
HEADERS = frozenset(
    {
        ORGANIZATION,
        PROJECT,
        RAW_REQUEST,
        RAW_RESPONSE,
        CACHE_KEY,
        CACHE_TTL,
        CACHE_TYPE,
        CACHE_NO_STORE,
        IDEMPOTENCY_KEY,
        CONTENT_ENCODING,
    }
)

MAX_CACHE_TTL_SECONDS = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600}


def read_options(headers: Mapping[str, str]) -> Options:
    """Return the options in `headers`. InvalidRequestError for an invalid value.

    The keys of `headers` are names in HEADERS.
    """
    if not headers:
        return NO_OPTIONS
    if headers.get(CONTENT_ENCODING, "identity").lower() != "identity":
        raise invalid("Content-Encoding", "compressed bodies are not supported, send the body uncompressed")
    if headers.get(CACHE_TYPE, "direct") != "direct":
        raise invalid(CACHE_TYPE, "only 'direct' is supported, there is no semantic cache")
    return Options(
        organization=_text(headers, ORGANIZATION),
        project=_text(headers, PROJECT),
        raw_request=_flag(headers, RAW_REQUEST),
        raw_response=_flag(headers, RAW_RESPONSE),
        cache_key=_text(headers, CACHE_KEY),
        cache_ttl_seconds=_seconds(headers, CACHE_TTL),
        cache_store=not _flag(headers, CACHE_NO_STORE),
        idempotency_key=_idempotency_key(headers),
    )


def _text(headers: Mapping[str, str], name: str) -> str | None:
    return check_text(headers[name], name, maximum=MAX_OPTION_LENGTH) if headers.get(name) else None


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get(IDEMPOTENCY_KEY)
    if key is not None and not (0 < len(key) <= MAX_IDEMPOTENCY_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise invalid("Idempotency-Key", f"expected 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} printable ASCII characters")
    return key


def _flag(headers: Mapping[str, str], name: str) -> bool:
    value = headers.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise invalid(name, "expected 'true' or 'false'")
    return value == "true"


def _seconds(headers: Mapping[str, str], name: str) -> int | None:
    """Return a duration in seconds, given as seconds or with a unit such as "5m"; None if it is not given."""
    text = headers.get(name)
    if text is None:
        return None
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit()):
        raise invalid(name, "expected seconds, or a duration such as '30s', '5m' or '1h'")
    return check_integer(int(number[:9]) * _UNITS[unit], name, minimum=1, maximum=MAX_CACHE_TTL_SECONDS)
