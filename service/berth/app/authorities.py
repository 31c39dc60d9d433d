"""Reads the files that the servers of providers, of buckets and of the database are verified with."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from berth.config import Config
from berth.launch.pem import read_authorities, read_pem

_DATABASE_FILES = {"sslrootcert", "sslcrl", "sslcert", "sslkey"}
"""The parameters of a URL of PostgreSQL that are files, which the driver reads while it connects."""


def provider_authorities(config: Config) -> dict[str, str]:
    """Return the authorities (PEM) of each provider that has some; StartError, naming the setting, if they are bad."""
    return {
        name: read_authorities(settings.ca_file, f"providers.{name}.ca_file")
        for name, settings in config.passed_through().items()
        if settings.ca_file is not None
    }


def bucket_authorities(config: Config) -> str | None:
    """Return the authorities (PEM) of the server of the bucket, if there are some; StartError if they are bad."""
    ca_file = config.blobs.ca_file
    return read_authorities(ca_file, "blobs.ca_file") if ca_file else None


def check_database_files(config: Config) -> None:
    """Raise StartError if a file that `store.url` names cannot be read: for a pipe the driver would stop everything."""
    url = urlsplit(config.store_url())
    for name, path in parse_qsl(url.query):
        if url.scheme == "postgresql" and name in _DATABASE_FILES:
            read_pem(Path(path), "store.url")


def check_authorities(config: Config) -> None:
    """Raise StartError, naming the setting, if one of the files cannot be used."""
    check_database_files(config)
    provider_authorities(config)
    bucket_authorities(config)
