"""The section of the configuration for the blob store."""

from typing import Literal

from pydantic import ValidationInfo, field_validator

from berth.config.section import Section
from berth.config.values import BaseUrl, BlobsUrl, LocalPath, Name, invalid

_USERS = {"endpoint": {"s3", "az"}, "region": {"s3"}, "encryption": {"s3"}, "kms_key": {"s3"}, "account": {"az"}}
"""Which kinds of buckets have a setting."""


class Blobs(Section):
    """The blob store, which holds file content: a folder, or a bucket.

    The credentials for a bucket are not settings: they are found where the tools of its provider find them.
    """

    url: BlobsUrl | None = None
    """Where file content is: a folder, `file:///PATH`, or a bucket, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or
    `az://CONTAINER/PREFIX`; `<data_dir>/blobs` unless set."""
    endpoint: BaseUrl | None = None
    """The URL of another server with the API of S3 or Azure; the provider's own unless set."""
    region: Name | None = None
    """The region of an S3 bucket; the variable AWS_REGION, or us-east-1, unless set."""
    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """How S3 is asked to encrypt objects; the default of the bucket unless set."""
    kms_key: Name | None = None
    """The id of the KMS key for `encryption`; the default key of the account unless set."""
    account: Name | None = None
    """The storage account of an Azure container; the variable AZURE_STORAGE_ACCOUNT_NAME unless set."""
    ca_file: LocalPath | None = None
    """Authorities (PEM) that the certificate of a bucket's server is verified with, in addition to those of the
    system."""

    @field_validator(*_USERS)
    @classmethod
    def _require_bucket(cls, value: str | None, info: ValidationInfo) -> str | None:
        kinds = _USERS[info.field_name or ""]
        scheme = (info.data.get("url") or "").partition("://")[0]
        if value is not None and "url" in info.data and scheme not in kinds:
            raise invalid(f"needs a blobs.url with {' or '.join(f'{kind}://' for kind in sorted(kinds, reverse=True))}")
        return value

    @field_validator("kms_key")
    @classmethod
    def _require_kms(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is not None and not (info.data.get("encryption") or "").startswith("aws:kms"):
            raise invalid("needs encryption 'aws:kms' or 'aws:kms:dsse'")
        return key
