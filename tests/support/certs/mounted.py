"""A folder of certificates as Kubernetes mounts it: a renewal replaces one link."""

from itertools import count
from pathlib import Path


class Mounted:
    """The folder; every file in it is a link through `..data` to the current version."""

    def __init__(self, folder: Path, **files: bytes) -> None:
        folder.mkdir()
        self.folder = folder
        self._numbers = count()
        self._files: dict[str, bytes] = {}
        self.replace(**files)
        for name in self._files:
            (folder / name).symlink_to(f"..data/{name}")

    def replace(self, **files: bytes) -> None:
        """Replace the content of files, named with `_` in place of a dot, all at the same moment."""
        self._files |= {name.replace("_", "."): content for name, content in files.items()}
        version = self.folder / f"..{next(self._numbers)}"
        version.mkdir()
        for name, content in self._files.items():
            (version / name).write_bytes(content)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
