"""Files of authorities, for servers that Berth calls: what cannot be used is named, and not waited for."""

import os
from pathlib import Path

import pytest
import yaml

from support.servers.empty_database import put_empty_database
from support.servers.process import refused_berth

PROVIDER, BUCKET, DATABASE = "providers.openai.ca_file", "blobs.ca_file", "store.url"
MIB = 1024 * 1024


def settings(setting: str, path: Path) -> dict[str, object]:
    """Return the configuration in which a setting is a file."""
    if setting == BUCKET:
        return {"blobs": {"url": "s3://bucket/berth", "endpoint": "https://127.0.0.1:1", "ca_file": str(path)}}
    if setting == DATABASE:
        return {"store": {"url": f"postgresql://a@127.0.0.1:1/b?sslmode=verify-full&sslrootcert={path}"}}
    keys = [{"name": "main", "value": "secret"}]
    return {"providers": {"openai": {"backend": "openai", "ca_file": str(path), "keys": keys}}}


def written(folder: Path, kind: str) -> Path:
    """Return a file that cannot be used."""
    path = folder / "ca.pem"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(600 * MIB)
    return path


@pytest.mark.parametrize(
    ("setting", "command", "kind", "reason"),
    [
        (PROVIDER, "serve", "pipe", "cannot read {path}: it is not a regular file"),
        (BUCKET, "config check", "pipe", "cannot read {path}: it is not a regular file"),
        (DATABASE, "serve", "pipe", "cannot read {path}: it is not a regular file"),
        (PROVIDER, "config check", "missing", "cannot read {path}: No such file or directory"),
        (BUCKET, "config check", "large", "cannot read {path}: it has more than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, setting: str, command: str, kind: str, reason: str
) -> None:
    """A start and a check end with one line that has the setting, the file and the reason."""
    path, config = written(tmp_path, kind), tmp_path / "berth.yaml"
    (tmp_path / "data").mkdir(mode=0o700)
    put_empty_database(tmp_path / "data" / "berth.db")
    config.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "data")} | settings(setting, path)))
    code, output, errors = refused_berth(*command.split(), "--config", str(config))
    assert (code, output) == (2, "")
    assert errors.startswith(f"berth: {setting}: {reason.format(path=path)}")
    assert errors.count("\n") == 1
