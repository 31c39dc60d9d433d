"""Opens files that decide who gets in, such as keys and certificates, without trusting what they are.

Other users may have planted something else under their names: a link to another file, a pipe that never ends, or a file
that is too large to read. See docs/security.md, section "The data folder".
"""

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 1_048_576
"""The largest file; certificates and keys have a few kilobytes."""
_FOR_OTHERS = 0o007
_FOR_GROUP = 0o070
_WRITABLE_BY_OTHERS = 0o002
_WRITABLE_BY_GROUP = 0o020
_OWNER_ONLY = 0o600


class UntrustedFileError(OSError):
    """The file is not what it should be; `strerror` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file of at most MAX_BYTES, also through links, which volumes of Kubernetes have.

    Never waits for a writer. Raises OSError if it cannot be read, or is something else.
    """
    # Without O_NONBLOCK, opening a pipe waits for a process that writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return _content(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """Return the content of a file of the data folder; see `open_private`. Raises OSError if it cannot be trusted."""
    descriptor = open_private(path, os.O_RDONLY)
    try:
        return _content(descriptor)
    finally:
        os.close(descriptor)


def open_private(path: Path, flags: int) -> int:
    """Open a regular file of the data folder that only its owner can access, and return the descriptor.

    A link is not followed. Raises OSError if the file belongs to another user or has permissions for others. In a
    folder that `shared_group` allows to a group, the files may be accessible to that group as well.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, _OWNER_ONLY)
    except OSError as error:
        if path.is_symlink():
            raise UntrustedFileError("it is a symbolic link") from error
        raise
    try:
        _require_private(os.fstat(descriptor), shared_group(path.parent.stat()))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def untrusted_reason(folder: os.stat_result) -> str | None:
    """Return why a data folder cannot be trusted, None if only this user, or its `shared_group`, can change it."""
    group = shared_group(folder)
    if group is None and folder.st_uid != os.geteuid():
        return f"it belongs to the user {folder.st_uid}, and this process runs as user {os.geteuid()}"
    if folder.st_mode & _WRITABLE_BY_OTHERS or (group is None and folder.st_mode & _WRITABLE_BY_GROUP):
        mode = stat.S_IMODE(folder.st_mode)
        return f"other users can write to it (mode {mode:04o}); take that permission away, or name a new folder in it"
    return None


def shared_group(folder: os.stat_result) -> int | None:
    """Return the group of this process that a data folder was deliberately made writable for, None if there is none.

    Volumes of Kubernetes with `fsGroup` are such folders: they belong to root, or to this user, and to a group of the
    process, and have the setgid bit, which no umask leads to.
    """
    is_shared = folder.st_mode & stat.S_ISGID and folder.st_mode & _WRITABLE_BY_GROUP
    is_own = folder.st_gid in {os.getegid(), *os.getgroups()} and folder.st_uid in {0, os.geteuid()}
    return folder.st_gid if is_shared and is_own else None


def _require_private(file: os.stat_result, group: int | None) -> None:
    if not stat.S_ISREG(file.st_mode):
        raise UntrustedFileError("it is not a regular file")
    is_shared = group is not None and file.st_gid == group
    if file.st_uid != os.geteuid() and not is_shared:
        raise UntrustedFileError(f"it belongs to the user {file.st_uid}")
    if file.st_mode & (_FOR_OTHERS if is_shared else _FOR_OTHERS | _FOR_GROUP):
        raise UntrustedFileError(f"other users can access it (mode {stat.S_IMODE(file.st_mode):04o})")


def _content(descriptor: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise UntrustedFileError("it is not a regular file")
    content = b""
    while part := os.read(descriptor, MAX_BYTES + 1 - len(content)):
        content += part
    if len(content) > MAX_BYTES:
        raise UntrustedFileError(f"it has more than {MAX_BYTES} bytes")
    return content
