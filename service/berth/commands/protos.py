"""`berth protos`: writes the proto files of the contract, for generating stubs in other languages."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from berth.client.errors import LocalFileError
from berth.rest.view import load_contract

_INCLUDED_WITH_COMPILERS = "google/protobuf/"
"""The protos that are included with protoc and buf."""


def protos(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write to.")]) -> None:
    """Write the contract's proto files, and the files that they import, to a folder."""
    for name, text in _files():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise LocalFileError(f"{target}: {error.strerror}") from error
        typer.echo(target)


def _files() -> Iterator[tuple[str, str]]:
    """Yield the import path and the text of each file."""
    for file in load_contract().file:
        if not file.name.startswith(_INCLUDED_WITH_COMPILERS):
            package, _, name = file.name.rpartition("/")
            yield file.name, resources.files(package.replace("/", ".")).joinpath(name).read_text(encoding="utf-8")
