"""Credentials for S3 from the file of AWS's own tools."""

from pathlib import Path

import pytest

from berth.launch.aws_file import file_credentials

FILE = """
[default]
aws_access_key_id = one
aws_secret_access_key = s%cret
[other]
aws_access_key_id = two
aws_secret_access_key = hidden
aws_session_token = token
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "credentials"
    path.write_text(FILE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    return path


@pytest.mark.parametrize(
    ("profile", "expected"), [(None, ("one", "s%cret", None)), ("other", ("two", "hidden", "token"))]
)
def test_a_profile_is_read(profile: str | None, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials are those of the profile that AWS_PROFILE names, or of the default one."""
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    credentials = file_credentials()
    assert credentials is not None
    found = credentials()
    assert (found["access_key_id"], found["secret_access_key"], found["token"]) == expected


def test_a_rotated_file_is_read_again(file: Path) -> None:
    """The function reads the file each time, and says when its result is to be read again."""
    credentials = file_credentials()
    assert credentials is not None
    file.write_text(FILE.replace("one", "three"))
    assert credentials()["access_key_id"] == "three"
    assert credentials()["expires_at"] is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "from-the-environment"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_PROFILE", "none"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null/none"),
    ],
)
def test_credentials_may_be_elsewhere(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without such a file or profile, and if variables name credentials, the search goes on elsewhere."""
    monkeypatch.setenv(name, value)
    assert file_credentials() is None
