"""Whether secrets got into what Berth writes."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def leaks(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Return which secret is in which file below `folder`; the settings, where they belong, are left out."""
    written = dict[Path, bytes]()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".yaml":
            with suppress(FileNotFoundError):  # a running Berth has files for a moment
                written[path] = path.read_bytes()
    assert any(path.suffix == ".log" for path in written)
    return [
        f"{secret} in {path}" for secret in secrets for path, content in written.items() if secret.encode() in content
    ]
