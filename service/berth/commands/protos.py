"""`berth protos`: the contract, for those who generate stubs in other languages."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from berth.client.errors import LocalFileError
from berth.rest.view import load_contract

_WITH_EVERY_COMPILER = "google/protobuf/"
"""The protos that each protoc, and buf, brings along."""


def protos(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to put them.")]) -> None:
    """Write the contract's proto files, and those that they import, into a folder."""
    for name, text in _files():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise LocalFileError(f"{target}: {error.strerror}") from error
        typer.echo(target)


def _files() -> Iterator[tuple[str, str]]:
    """Yield the name of each file below an import path, and its text."""
    for file in load_contract().file:
        if not file.name.startswith(_WITH_EVERY_COMPILER):
            package, _, name = file.name.rpartition("/")
            yield file.name, resources.files(package.replace("/", ".")).joinpath(name).read_text(encoding="utf-8")
