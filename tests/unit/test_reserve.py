"""The reserve: space on the disk that is given up step by step, and taken again."""

from pathlib import Path

import pytest

from berth.adapters.sql.sqlite.reserve import RESERVE_BYTES, STEP_BYTES, Reserve


def test_a_reserve_takes_real_space(tmp_path: Path) -> None:
    """It has its size on the disk and not only on paper, and its owner alone may read it."""
    path = tmp_path / "reserve"
    Reserve(path).restore()
    found = path.stat()
    assert (found.st_size, found.st_mode & 0o777) == (RESERVE_BYTES, 0o600)
    assert found.st_blocks * 512 >= RESERVE_BYTES


def test_a_reserve_is_released_in_steps(tmp_path: Path) -> None:
    """Each step makes it smaller until nothing is left; then it is made whole again."""
    reserve = Reserve(tmp_path / "reserve")
    assert not reserve.release()
    reserve.restore()
    sizes = []
    while reserve.release():
        sizes.append(reserve.size())
    assert sizes == list(range(RESERVE_BYTES - STEP_BYTES, -1, -STEP_BYTES))
    reserve.restore()
    assert reserve.size() == RESERVE_BYTES


@pytest.mark.parametrize("path", ["missing/reserve", "."])
def test_where_there_can_be_no_reserve_there_is_none(tmp_path: Path, path: str) -> None:
    """A path that cannot be written is no error: there is merely nothing to release."""
    reserve = Reserve(tmp_path / path)
    reserve.restore()
    assert not reserve.release()
    assert not (tmp_path / "missing").exists()
