"""Shows a progress bar on stderr, if that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from berth.client.text import shown


@contextmanager
def show_progress(
    pieces: Iterator[bytes], *, name: str, size: int | None, silent: bool = False
) -> Iterator[Iterator[bytes]]:
    """Return an iterator over the same pieces that shows how many bytes of `size` have been read.

    The bar is shown only if stderr is a terminal and `silent` is false, and is erased at the end.
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

        def counted() -> Iterator[bytes]:
            for piece in pieces:
                yield piece
                progress.advance(task, len(piece))

        yield counted()
