"""The sweep of a running Berth: it removes what is due, says so, and does not trust a clock that was set."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2

from support.providers.raw import misbehaving
from support.providers.small import small_provider
from support.servers.background import in_background
from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.chain import passing_to
from support.servers.service import eventually

DAY = 86_400


def connected(berth: Berth) -> httpx2.Client:
    return httpx2.Client(base_url=f"{berth.rest}/v1", headers={"x-bf-vk": KEY_A}, timeout=60)


def change(folder: Path, *statements: str) -> None:
    """Change the database of a Berth that is not running."""
    with closing(sqlite3.connect(folder / "data" / "berth.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def sweeps(berth: Berth) -> list[dict[str, Any]]:
    """Return the events of sweeps in the log, those of earlier starts included."""
    return [event for event in berth.events() if event["event"].startswith("sweep.")]


def test_deleted_rows_are_removed_and_counted(tmp_path: Path) -> None:
    """Rows that were deleted 31 days ago go at the next start, the log says how many, and they mark no position."""
    with running(tmp_path, SETTINGS) as berth, connected(berth) as client:
        ids = [client.post("/containers", json={"name": "box"}).json()["id"] for _ in range(3)]
        for container in ids[:2]:
            assert client.delete(f"/containers/{container}").status_code == 200
        assert client.get("/containers", params={"after": ids[1]}).status_code == 200
    change(tmp_path, f"UPDATE containers SET deleted_at = deleted_at - {31 * DAY} WHERE id = '{ids[1]}'")  # noqa: S608 - an id
    with running(tmp_path, SETTINGS) as berth, connected(berth) as client:
        asyncio.run(eventually(lambda: sweeps(berth) != []))
        (swept,) = sweeps(berth)
        assert (swept["event"], swept["rows"], swept["containers"]) == ("sweep.done", 1, 0)
        assert client.get("/containers", params={"after": ids[0]}).json()["data"] == []
        refused = client.get("/containers", params={"after": ids[1]})
        never = client.get("/containers", params={"after": "cntr_never"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "after")
        assert refused.json()["error"] == json.loads(never.text.replace("cntr_never", ids[1]))["error"]
        assert [item["id"] for item in client.get("/containers").json()["data"]] == ids[2:]


def test_containers_at_a_provider_are_forgotten(tmp_path: Path) -> None:
    """The row of one that expired 31 days ago goes, though the provider was never asked; younger ones stay."""
    with in_background(misbehaving(small_provider())) as provider:
        settings = SETTINGS | {"providers": {"openai": passing_to(f"{provider.url}/v1")}}
        body = {"name": "box", "provider": "openai"}
        with running(tmp_path, settings) as berth, connected(berth) as client:
            ids = [client.post("/containers", json=body).json()["id"] for _ in range(3)]
        times = "last_active_at = metered_from - {0}, metered_from = metered_from - {0}"
        ago = f"UPDATE containers SET {times} WHERE id = '{{1}}'"  # noqa: S608 - an id
        change(tmp_path, *(ago.format(days * DAY, found) for days, found in zip((31, 29), ids, strict=False)))
        with running(tmp_path, settings) as berth, connected(berth) as client:
            asyncio.run(eventually(lambda: sweeps(berth) != []))
            (swept,) = sweeps(berth)
            assert (swept["event"], swept["rows"], swept["containers"]) == ("sweep.done", 1, 1)
            listed = client.get("/containers", params={"provider": "openai"}).json()["data"]
            assert [item["id"] for item in listed] == [ids[2], ids[1]]
            assert [client.get(f"/containers/{found}").status_code for found in ids[:2]] == [404, 200]


def test_a_start_three_days_ahead_removes_nothing(tmp_path: Path) -> None:
    """A Berth that starts while the clock is three days ahead keeps its containers, and they run when it is right."""
    moved = (
        "UPDATE containers SET last_active_at = last_active_at + {}",
        "UPDATE sweep_clock SET seen_at = seen_at + {}",
    )
    with running(tmp_path, SETTINGS) as berth, connected(berth) as client:
        container = client.post("/containers", json={"name": "box"}).json()["id"]
    for starts, (days, status) in enumerate([(-3, "expired"), (6, "running")], start=1):
        change(tmp_path, *(statement.format(days * DAY) for statement in moved))
        with running(tmp_path, SETTINGS) as berth, connected(berth) as client:
            asyncio.run(eventually(lambda: len(sweeps(berth)) == starts))  # noqa: B023 - used at once
            assert {event["event"] for event in sweeps(berth)} == {"sweep.skipped"}
            assert client.get(f"/containers/{container}").json()["status"] == status
