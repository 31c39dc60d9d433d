"""What is special about SqlFiles: that a long page keeps nobody waiting."""

import asyncio
from contextlib import closing
from pathlib import Path

from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.ports.file_store import FileRecord
from berth.core.ports.pages import Pagination
from berth.v1.file_pb2 import File
from support.fakes.records import OLLAMA, ROOMY


def stored(number: int) -> FileRecord:
    file = File(
        id=f"f{number}", object="file", bytes=1, created_at=1, filename="a", purpose="batch", status="processed"
    )
    return FileRecord(file, "ours", OLLAMA, "text/plain", sha256="same", blob="aa/same")


async def test_others_have_their_turn_while_a_long_page_is_read(tmp_path: Path) -> None:
    """A page of a thousand files is read in several turns of the event loop."""
    with closing(SqliteDatabase.open(f"sqlite:///{tmp_path}/berth.db")) as database:
        files = SqlFiles(database)
        await asyncio.gather(*(files.add(stored(number), quotas=ROOMY) for number in range(1_000)))
        listing = asyncio.ensure_future(files.list("ours", Pagination(limit=1_000, descending=False)))
        turns = 0
        while not listing.done():
            await asyncio.sleep(0)
            turns += 1
        assert len(listing.result().data) == 1_000
    assert turns >= 4
