"""A progress bar on stderr, where somebody looks at it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from berth.client.text import shown


@contextmanager
def watched(pieces: Iterator[bytes], *, name: str, size: int | None, silent: bool = False) -> Iterator[Iterator[bytes]]:
    """Give the same pieces, and show while they are taken how many bytes of `size` have gone by.

    Nothing is shown where stderr is no terminal, and nothing stays behind.
    """
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=silent or not sys.stderr.isatty(),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        task = progress.add_task(shown(name), total=size)

        def passing() -> Iterator[bytes]:
            for piece in pieces:
                yield piece
                progress.advance(task, len(piece))

        yield passing()
