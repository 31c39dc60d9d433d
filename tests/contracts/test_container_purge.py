"""What ContainerStore promises of containers that have been expired for long."""

from dataclasses import replace

import pytest

from berth.core.errors import NotFoundError
from berth.core.ports.container_store import ContainerStore, Quotas
from berth.core.ports.pages import Pagination
from support.fakes.records import NOW, add_files, container, file, listed
from support.fakes.stores import FixedClock

EXPIRES_AT = NOW + 5 + 20 * 60
"""The last second in which the containers of these tests are running."""


async def test_a_container_goes_when_its_retention_is_over(store: ContainerStore, clock: FixedClock) -> None:
    """It is kept, expired, for as long as is said, and then goes with its files, whose bytes nobody holds any more."""
    await store.add_container(container("box"))
    await add_files(store, "f1", "f2")
    clock.now = EXPIRES_AT + 3600
    assert await store.purge(retention_seconds=3600, limit=10) == (0, [])
    clock.advance(1)
    assert await store.purge(retention_seconds=3600, limit=10) == (1, ["blob of f1", "blob of f2"])
    assert await store.purge(retention_seconds=3600, limit=10) == (0, [])
    with pytest.raises(NotFoundError):
        await store.get_container("ours", "box")
    with pytest.raises(NotFoundError):
        await store.get_file("ours", "box", "f1")


async def test_what_goes_no_longer_counts(store: ContainerStore, clock: FixedClock) -> None:
    """The bytes of a purged container are given back to its tenant."""
    quotas = Quotas(container_bytes=100, tenant_bytes=100)
    await store.add_container(container("old"))
    await store.add_file("ours", file("f1", container_id="old", size=100), quotas=quotas)
    clock.now = EXPIRES_AT + 1
    await store.purge(retention_seconds=0, limit=10)
    clock.now = NOW
    await store.add_container(container("new"))
    await store.add_file("ours", file("f2", container_id="new", size=100), quotas=quotas)


async def test_only_so_many_go_at_a_time(store: ContainerStore, clock: FixedClock) -> None:
    """A purge takes no more than its limit, of all tenants."""
    for name, tenant in (("first", "ours"), ("second", "theirs"), ("third", "ours")):
        await store.add_container(container(name, tenant=tenant))
    clock.now = EXPIRES_AT + 100
    assert await store.purge(retention_seconds=0, limit=2) == (2, [])
    assert await store.purge(retention_seconds=0, limit=2) == (1, [])
    assert await listed(store, Pagination(9)) == await listed(store, Pagination(9), tenant="theirs") == ([], False)


async def test_a_containers_provider_judges_it(store: ContainerStore, clock: FixedClock) -> None:
    """A container that a provider keeps is never purged, whatever the clock says."""
    await store.add_container(replace(container("box"), key="main"))
    clock.now = EXPIRES_AT + 10**9
    assert await store.purge(retention_seconds=0, limit=10) == (0, [])
    assert await listed(store, Pagination(9)) == (["box"], False)
