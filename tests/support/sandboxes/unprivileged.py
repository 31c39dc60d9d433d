"""Becomes an ordinary user and then another program: `python unprivileged.py UID FOLDER… -- PROGRAM ARGUMENT…`.

The user can read the folders wherever they are, because this process has mounts of its own.
"""

import os
import sys
from pathlib import Path

from berth.adapters.sandbox.process import linux


def main(uid: int, folders: list[Path], command: list[str]) -> None:
    """Make the folders readable, drop all rights, and become the program."""
    linux.unshare_mounts()
    opened = {folder: os.open(folder, os.O_PATH) for folder in folders}
    for top in sorted({_closed(folder) for folder in folders} - {None}, key=str):
        linux.mount_tmpfs(str(top), "mode=0755")
    for folder, descriptor in opened.items():
        if not folder.exists():
            folder.mkdir(parents=True)
            linux.bind(f"/proc/self/fd/{descriptor}", str(folder))
        os.close(descriptor)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.execv(command[0], command)  # noqa: S606 - the purpose of this script


def _closed(folder: Path) -> Path | None:
    """Return the topmost folder above that other users may not enter."""
    return next((one for one in reversed(folder.parents) if not one.stat().st_mode & 0o001), None)


if __name__ == "__main__":
    end = sys.argv.index("--")
    main(int(sys.argv[1]), [Path(folder).resolve() for folder in sys.argv[2:end]], sys.argv[end + 1 :])
