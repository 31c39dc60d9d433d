"""Reads credentials for S3 from the file of AWS's own tools, which obstore does not read.

It is `~/.aws/credentials`, or what AWS_SHARED_CREDENTIALS_FILE names, with a section for each profile (AWS_PROFILE).
"""

import os
from collections.abc import Callable
from configparser import ConfigParser, Error
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from berth.launch.trusted_files import read_regular

_FIRST = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
"""If one of these is set, the credentials are there."""
_KEEP = timedelta(minutes=5)
"""How long credentials are used before the file is read again: it may have been rotated."""

Credentials = Callable[[], dict[str, Any]]


def file_credentials() -> Credentials | None:
    """Return a function that reads the credentials; None if they are elsewhere: there is no file or no such profile."""
    environ = os.environ
    if any(environ.get(name) for name in _FIRST):
        return None
    profile = environ.get("AWS_PROFILE") or "default"
    path = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials")

    def read() -> dict[str, Any]:
        section = _sections(path)[profile]
        return {
            "access_key_id": section["aws_access_key_id"],
            "secret_access_key": section["aws_secret_access_key"],
            "token": section.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + _KEEP,
        }

    try:
        read()
    except (KeyError, Error, OSError, RuntimeError, UnicodeDecodeError):  # RuntimeError: there is no home folder
        return None
    return read


def _sections(path: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(read_regular(path.expanduser()).decode())
    return parser
