"""How a bucket is reached: ObjectSettings, and the store of obstore for them.

obstore itself finds the credentials: in the environment, in the files that it names (web identity tokens, Google's
application credentials), or at the metadata service of the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from berth.adapters.blobs.errors import open_error
from berth.adapters.blobs.object_errors import FAILURES, reason

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig  # they exist for type checkers only

_CONNECT = timedelta(seconds=3)
_READ = timedelta(seconds=20)
"""How long the store may send nothing: for a part, from the beginning of the request."""
_WHOLE = timedelta(days=1)
"""How long a request may take: a reader may be slow."""
_RETRIES: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """A bucket and prefix as `s3://`, `gs://` or `az://BUCKET/PREFIX`, and what is not the default there.

    `endpoint`, `region`, `encryption` and `kms_key` are S3's, `account` is Azure's; `ca_certificates` in PEM are
    trusted besides the usual ones. `credentials` returns those of S3; None for obstore's own search.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    encryption: str | None = None
    kms_key: str | None = None
    account: str | None = None
    ca_certificates: bytes | None = None
    credentials: Callable[[], Any] | None = None


def store_of(settings: ObjectSettings) -> ObjectStore:
    """Return the store; it connects later. StorageError if it cannot be made from the settings."""
    parts = urlsplit(settings.url)
    make = {"s3": _s3, "gs": _gcs, "az": _azure}[parts.scheme]
    try:
        return make(settings, parts.netloc, parts.path.strip("/") or None)
    except FAILURES as error:
        raise open_error(settings.url, str(reason(error))) from error


def _s3(settings: ObjectSettings, bucket: str, prefix: str | None) -> ObjectStore:
    given = {
        "endpoint": settings.endpoint,
        "region": settings.region,
        "server_side_encryption": settings.encryption,
        "sse_kms_key_id": settings.kms_key,
    }
    config: Any = {name: value for name, value in given.items() if value is not None}
    return S3Store(
        bucket,
        prefix=prefix,
        config=config,
        client_options=_client(settings),
        retry_config=_RETRIES,
        credential_provider=settings.credentials,
    )


def _gcs(settings: ObjectSettings, bucket: str, prefix: str | None) -> ObjectStore:
    return GCSStore(bucket, prefix=prefix, client_options=_client(settings), retry_config=_RETRIES)


def _azure(settings: ObjectSettings, container: str, prefix: str | None) -> ObjectStore:
    config: Any = {
        name: value
        for name, value in (("account_name", settings.account), ("endpoint", settings.endpoint))
        if value is not None
    }
    return AzureStore(container, prefix=prefix, config=config, client_options=_client(settings), retry_config=_RETRIES)


def _client(settings: ObjectSettings) -> "ClientConfig":
    options: ClientConfig = {"connect_timeout": _CONNECT, "read_timeout": _READ, "timeout": _WHOLE}
    if settings.endpoint and settings.endpoint.startswith("http://"):
        options["allow_http"] = True
    if settings.ca_certificates:
        options["root_certificate"] = settings.ca_certificates
    return options
