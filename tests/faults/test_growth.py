"""Growth: however many containers come and go, the database file has a size and keeps it."""

import asyncio
from pathlib import Path

import pytest

from berth.core.caller import Caller
from berth.v1.container_service_pb2 import CreateContainerRequest, DeleteContainerRequest
from berth.v1.file_service_pb2 import DeleteFileRequest
from support.fakes.records import OLLAMA
from support.fakes.uploads import GivenFile, GivenUpload
from support.measuring.soak import soak, times
from support.servers.hosted import Kept, keeping, sweeper

DAY = 86_400
DAYS = 100
CYCLES = times(400, 100_000)
AT_ONCE = 50
OURS = Caller("ours", "first")


async def cycle(kept: Kept, number: int) -> None:
    """Create a container with three files, and a file outside of it, and delete all of it."""
    request = CreateContainerRequest(provider=OLLAMA, name=f"box {number}", metadata={"number": str(number)})
    container_id = (await kept.backend.create_container(OURS, request)).id
    for index in range(3):
        await kept.backend.create_container_file(OURS, GivenUpload(container_id, (b"%d-%d" % (number, index),)))
    file_id = (await kept.files.create_file(OURS, GivenFile(OLLAMA, (b"%d" % number,)))).id
    await kept.files.delete_file(OURS, DeleteFileRequest(file_id=file_id))
    await kept.backend.delete_container(OURS, DeleteContainerRequest(container_id=container_id))


@soak
@pytest.mark.timeout(3600)
async def test_the_database_stops_growing(tmp_path: Path) -> None:
    """Over a hundred days of creating and deleting, the file is no larger after the fortieth day than by then."""
    sizes = list[int]()
    with keeping(tmp_path) as kept:
        sweeping = sweeper(
            kept.database, kept.blobs, clock=kept.clock, retention_seconds=DAY, tombstone_seconds=30 * DAY
        )
        for day in range(DAYS):
            numbers = range(day * CYCLES // DAYS, (day + 1) * CYCLES // DAYS)
            for start in numbers[::AT_ONCE]:
                await asyncio.gather(*(cycle(kept, number) for number in numbers[start - numbers[0] :][:AT_ONCE]))
            kept.clock.advance(DAY)
            swept = await sweeping.sweep()
            assert swept is not None
            assert swept.rows == (5 * CYCLES // DAYS if day > 29 else 0)
            await kept.database.tidy()
            sizes.append((tmp_path / "berth.db").stat().st_size)
        shown = ", ".join(f"day {day}: {sizes[day - 1] / 1024:.0f} KiB" for day in (1, 10, 20, 30, 40, 60, 80, 100))
        print(f"\ngrowth: {CYCLES} cycles of a container, 3 files and a file; database file: {shown}")  # noqa: T201 - figures
        kept.clock.advance(31 * DAY)
        await sweeping.sweep()
        await kept.database.tidy()
        print(f"growth: all rows removed: {(tmp_path / 'berth.db').stat().st_size / 1024:.0f} KiB")  # noqa: T201 - figures
        assert kept.left() == (0, 0, 0)
    assert max(sizes[40:]) <= max(sizes[:40]) * 1.03
    assert (tmp_path / "berth.db").stat().st_size <= sizes[0] * 1.5
