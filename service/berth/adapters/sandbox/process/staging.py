"""Lays out what a sandbox may see for a user without rights, if Berth runs as root."""

import os
import shutil
import stat

from berth.adapters.sandbox.process import linux

_STAGES = ("/mnt", "/media", "/srv", "/run")
"""Folders of which one exists everywhere and holds nothing that a sandbox shows."""


class Stage:
    """Where this process finds the folders that it was given."""

    def __init__(self, paths: dict[str, str]) -> None:
        self._paths = paths

    def path(self, source: str) -> str:
        """Return where a path is to be found; it is below one of the folders, or readable by everybody."""
        for folder, place in self._paths.items():
            if source == folder or source.startswith(folder + "/"):
                return place + source[len(folder) :]
        return source


def stage(sources: list[str], own: list[str], proxy: str | None, uid: int | None) -> Stage:
    """Become the user `uid`, who may not be able to walk to `sources` and still reads them, and owns `own`.

    With `uid` None, nothing changes: Berth does not run as root.
    """
    if uid is None:
        return Stage({})
    for folder in own:
        _give(folder, uid)
    if proxy is not None:
        os.chmod(proxy, 0o666)  # noqa: S103 - the folder around it keeps others away
    linux.unshare_mounts()
    paths = _bind([*sources, *own, *([proxy] if proxy else [])])
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    return Stage(paths)


def _bind(sources: list[str]) -> dict[str, str]:
    top = next(folder for folder in _STAGES if os.path.isdir(folder))
    opened = {source: os.open(source, os.O_PATH | os.O_CLOEXEC) for source in sources}
    linux.mount_tmpfs(top, "mode=0755,size=64k")
    paths = {}
    for number, (source, descriptor) in enumerate(opened.items()):
        paths[source] = f"{top}/{number}"
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.mkdir(paths[source])
        else:
            os.close(os.open(paths[source], os.O_CREAT | os.O_WRONLY, 0o600))
        linux.bind(f"/proc/self/fd/{descriptor}", paths[source])
        os.close(descriptor)
    return paths


def _give(folder: str, uid: int) -> None:
    """Make `uid` the owner of a tree. A file with several links becomes a copy: the others belong to blobs."""
    os.chown(folder, uid, uid)
    os.chmod(folder, 0o700)
    for parent, folders, files in os.walk(folder):
        for name in folders:
            os.chown(os.path.join(parent, name), uid, uid, follow_symlinks=False)
        for name in files:
            _give_file(os.path.join(parent, name), uid)


def _give_file(path: str, uid: int) -> None:
    if os.lstat(path).st_nlink > 1:
        copy = path + ".copy"[: 255 - len(os.path.basename(path))]
        shutil.copyfile(path, copy, follow_symlinks=False)
        os.replace(copy, path)
    os.chown(path, uid, uid, follow_symlinks=False)
    os.chmod(path, 0o600)
