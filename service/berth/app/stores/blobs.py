"""Opens the blob store that the configuration names: a folder, or a bucket."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from berth.adapters.blobs.folder import FileBlobs
from berth.app.authorities import bucket_authorities
from berth.config import Config
from berth.core.ports.blob_store import BlobStore
from berth.launch.aws_file import file_credentials

if TYPE_CHECKING:
    from berth.adapters.blobs.object_settings import ObjectSettings


class OpenBlobs(BlobStore, Protocol):
    """A BlobStore as the app uses it."""

    def close(self) -> None:
        """Release it."""

    async def check(self) -> None:
        """Return if it can be reached. StorageError if it cannot."""

    def held(self) -> AbstractContextManager[None]:
        """Keep complete blobs while the context lasts, even if they are deleted. StorageError if another one does."""


def open_blobs(config: Config) -> OpenBlobs:
    """Open the blob store, and prepare it if it is new. StorageError if it cannot be used.

    StartError if the file of authorities cannot be used.
    """
    if is_folder(config):
        return FileBlobs.open(config.blobs_url())
    from berth.adapters.blobs.objects import ObjectBlobs  # noqa: PLC0415 - its library takes 10 MiB of memory

    return ObjectBlobs.open(_object_settings(config))


def open_existing_blobs(config: Config) -> OpenBlobs:
    """Open a blob store that a Berth has used. StorageError if none has, or it cannot be used.

    StartError if the file of authorities cannot be used.
    """
    if is_folder(config):
        return FileBlobs.open_existing(config.blobs_url())
    from berth.adapters.blobs.objects import ObjectBlobs  # noqa: PLC0415 - see above

    return ObjectBlobs.open_existing(_object_settings(config))


def is_folder(config: Config) -> bool:
    """Return whether content is stored in a folder, and not in a bucket."""
    return config.blobs_url().startswith("file:")


def _object_settings(config: Config) -> "ObjectSettings":
    from berth.adapters.blobs.object_settings import ObjectSettings  # noqa: PLC0415 - see above

    blobs, url = config.blobs, config.blobs_url()
    authorities = bucket_authorities(config)
    return ObjectSettings(
        url,
        endpoint=blobs.endpoint,
        region=blobs.region,
        encryption=blobs.encryption,
        kms_key=blobs.kms_key,
        account=blobs.account,
        ca_certificates=authorities.encode() if authorities else None,
        credentials=file_credentials() if url.startswith("s3:") else None,
    )
