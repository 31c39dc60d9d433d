"""What the tests of faults share: the Berths that they start do not count which lines run."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def uncounted() -> Iterator[None]:
    """Let programs run at their own speed: there is much to do, and the other tests reach the same lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield
