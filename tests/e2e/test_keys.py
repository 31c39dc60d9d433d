"""`berth keys` beside a running Berth, and what SIGHUP does."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from support.measuring.leaks import leaks
from support.servers.berth import Berth, running
from support.servers.process import refused_berth

PROMISED_SECONDS = 5.0
SLACK_SECONDS = 5.0
"""How much longer a busy machine may take to make the calls that see it."""
CONFIGURED = "sk-bf-configured"
AUTH = {
    "virtual_keys": [{"name": "configured", "value": CONFIGURED, "tenant": "a"}],
    "basic_users": [{"name": "ops", "password": "before", "tenant": "a"}],
}


class Place:
    """A running Berth and its folder, and how its keys are changed and tried."""

    def __init__(self, folder: Path, berth: Berth) -> None:
        self.folder = folder
        self.berth = berth

    def keys(self, *arguments: str) -> tuple[int, str, str]:
        """Run `berth keys`; return exit code, stdout and stderr."""
        options = ("--config", str(self.folder / "berth.yaml"), "--data-dir", str(self.folder / "data"))
        return refused_berth("keys", *arguments, *options)

    def create(self, name: str, *options: str) -> str:
        """Make a key of tenant a; return it."""
        status, key, _ = self.keys("create", "--name", name, "--tenant", "a", *options)
        assert status == 0
        return key.strip()

    def status(self, key: str) -> int:
        """Return how a call with a key ends."""
        return httpx2.get(f"{self.berth.rest}/v1/containers", headers={"x-bf-vk": key}, timeout=30).status_code

    def log(self) -> list[dict[str, object]]:
        """Return what the service has logged."""
        return self.berth.events()


def within(seconds: float, claim: Callable[[], bool]) -> None:
    """Wait until a claim holds, and fail if it takes longer."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module", params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a Berth with keys in SQLite or, if a test asks for it, in PostgreSQL."""
    folder = tmp_path_factory.mktemp("keys")
    on_postgres = request.param == "postgres"
    store = {"store": {"url": request.getfixturevalue("postgres").fresh()}} if on_postgres else {}
    with running(folder, {"auth": AUTH, **store}) as berth:
        yield Place(folder, berth)


on_both = pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)


@on_both
def test_a_key_works_from_its_making_to_its_end(place: Place) -> None:
    """Without a restart: made, used, rotated with an overlap, rotated without, revoked, each within five seconds."""
    first = place.create("life")
    assert first.startswith("sk-bf-")
    assert place.status(first) == 200
    status, second, _ = place.keys("rotate", "life")
    assert (status, place.status(second.strip()), place.status(first)) == (0, 200, 200)
    status, third, _ = place.keys("rotate", "life", "--overlap", "0")
    assert (status, place.status(third.strip())) == (0, 200)
    within(PROMISED_SECONDS + SLACK_SECONDS, lambda: place.status(first) == place.status(second.strip()) == 401)
    assert place.keys("revoke", "life")[0] == 0
    within(PROMISED_SECONDS + SLACK_SECONDS, lambda: place.status(third.strip()) == 401)


def test_a_key_that_was_tried_too_early_works_soon(place: Place) -> None:
    """A key that somebody guessed, or presented before it was stored, is not held against it."""
    key = place.create("early")
    place.keys("revoke", "early")
    within(PROMISED_SECONDS + SLACK_SECONDS, lambda: place.status(key) == 401)
    again = place.create("early")
    assert place.status(again) == 200


@on_both
def test_a_key_expires(place: Place) -> None:
    """When its time is up its holder is told so."""
    key = place.create("short", "--expires", "1s")
    within(PROMISED_SECONDS + SLACK_SECONDS, lambda: place.status(key) == 403)
    answer = httpx2.get(f"{place.berth.rest}/v1/containers", headers={"x-bf-vk": key}, timeout=30).json()
    assert answer["error"]["message"] == "Virtual key has expired"


def test_a_key_has_its_providers_alone(place: Place) -> None:
    """A key for one provider makes containers there, and nowhere else."""
    key = place.create("narrow", "--provider", "groq")
    made = {
        provider: httpx2.post(
            f"{place.berth.rest}/v1/containers",
            headers={"x-bf-vk": key},
            json={"provider": provider, "name": "x"},
            timeout=30,
        ).status_code
        for provider in ("groq", "ollama")
    }
    assert made == {"groq": 200, "ollama": 403}


def test_no_key_is_ever_shown_again(place: Place) -> None:
    """Neither the list, nor the trail of changes, nor any file of Berth's has the value of a key."""
    values = [place.create("secret", "--requests-per-minute", "60", "--max-in-flight", "5", "--expires", "90d")]
    status, value, rotated = place.keys("rotate", "secret")
    assert status == 0
    values.append(value.strip())
    told = [rotated, *place.keys("list")[1:], *place.keys("list", "--json")[1:]]
    assert [value for value in values if any(value in text for text in told)] == []
    assert leaks(place.folder, values) == []


def test_keys_are_listed(place: Place) -> None:
    """For people as a table, for programs as JSON: what each stands for, and in which state it is."""
    place.create("listed", "--provider", "groq", "--provider", "cohere", "--requests-per-minute", "60")
    lines = place.keys("list", "--json")[1].splitlines()
    row = next(row for row in map(json.loads, lines) if row["name"] == "listed")
    created = row.pop("created")
    assert row == {
        "name": "listed",
        "tenant": "a",
        "providers": ["cohere", "groq"],
        "requests_per_minute": 60,
        "max_in_flight": None,
        "budget_usd": None,
        "budget_per": None,
        "expires": None,
        "state": "active",
    }
    place.keys("revoke", "listed")
    table = place.keys("list")[1].splitlines()
    assert table[0].split() == [
        "NAME",
        "TENANT",
        "PROVIDERS",
        "REQUESTS/MIN",
        "IN",
        "FLIGHT",
        "BUDGET",
        "USD",
        "PER",
        "CREATED",
        "EXPIRES",
        "STATE",
    ]
    line = next(line.split() for line in table if line.startswith("listed "))
    assert line == ["listed", "a", "cohere,groq", "60", "-", "-", "-", created, "-", "revoked"]


def test_a_change_leaves_a_trace(place: Place) -> None:
    """Each is one event on stderr: what was done to which key, by whom."""
    events = [
        json.loads(place.keys(*command)[2])
        for command in (("create", "--name", "traced", "--tenant", "a"), ("rotate", "traced"), ("revoke", "traced"))
    ]
    assert [event["event"] for event in events] == ["key.created", "key.rotated", "key.revoked"]
    assert all(event["audit"] and event["name"] == "traced" and event["who"] for event in events)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ("create", "--name", "configured", "--tenant", "a"),
            "--name: there is a key 'configured' in the configuration",
        ),
        (("create", "--name", "", "--tenant", "a"), "--name: must be"),
        (("create", "--name", "x\ny", "--tenant", "a"), "--name: must be"),
        (("create", "--name", "x", "--tenant", ""), "--tenant: must be"),
        (("create", "--name", "x", "--tenant", "a", "--provider", "nobody"), "--provider: unknown provider 'nobody'"),
        (("create", "--name", "x", "--tenant", "a", "--expires", "soon"), "--expires: must be"),
        (("create", "--name", "x", "--tenant", "a", "--expires", "2030-01-01T00:00:00"), "--expires: must be"),
        (("create", "--name", "x", "--tenant", "a", "--expires", "999999999d"), "--expires: must be at most 36500d"),
        (("create", "--name", "x", "--tenant", "a", "--expires", "2020-01-01T00:00:00Z"), "--expires: must be in the"),
        (("create", "--name", "x", "--tenant", "a", "--max-in-flight", "0"), "--max-in-flight"),
        (("create", "--name", "x", "--tenant", "a", "--max-in-flight", "1000000001"), "--max-in-flight"),
        (("create", "--name", "x", "--tenant", "a", "--requests-per-minute", "1000000001"), "--requests-per-minute"),
        (("rotate", "nobody"), "There is no key 'nobody'."),
        (("rotate", "nobody", "--overlap", "x"), "--overlap: must be"),
        (("revoke", "nobody"), "There is no key 'nobody'."),
    ],
)
def test_what_cannot_be_is_refused(place: Place, arguments: tuple[str, ...], reason: str) -> None:
    """With a reason that names the option, exit code 2, and nothing on stdout."""
    status, stdout, stderr = place.keys(*arguments)
    assert (status, stdout) == (2, "")
    assert reason in stderr
    assert "Traceback" not in stderr


def test_a_name_is_used_once(place: Place) -> None:
    """A second key of a name is refused, and the first one goes on working."""
    key = place.create("twice")
    status, stdout, stderr = place.keys("create", "--name", "twice", "--tenant", "b")
    assert (status, stdout) == (2, "")
    assert "There is a key 'twice' already." in stderr
    assert place.status(key) == 200


def test_keys_can_be_made_before_the_first_start(tmp_path: Path) -> None:
    """The store is made where there is none yet, for its owner alone."""
    folder = tmp_path / "data"
    status, key, _ = refused_berth("keys", "create", "--name", "first", "--tenant", "a", "--data-dir", str(folder))
    assert (status, key[:6]) == (0, "sk-bf-")
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_a_hangup_reads_the_callers_again(tmp_path: Path) -> None:
    """New keys and users are let in and old ones are not; a configuration with a mistake changes nothing."""
    with running(tmp_path, {"auth": AUTH}) as berth:
        place = Place(tmp_path, berth)
        assert place.status(CONFIGURED) == 200
        _rewrite(place, {"virtual_keys": [{"name": "new", "value": "sk-bf-new", "tenant": "a"}]})
        within(PROMISED_SECONDS + SLACK_SECONDS, lambda: place.status("sk-bf-new") == 200)
        assert place.status(CONFIGURED) == 401
        assert [event["virtual_keys"] for event in place.berth.lines(event="auth.reloaded")] == [1]
        _rewrite(place, {"virtual_keys": [{"name": "bad", "value": "no-prefix-hush", "tenant": "a"}]})
        within(
            PROMISED_SECONDS + SLACK_SECONDS,
            lambda: any(event["event"] == "auth.reload_failed" for event in place.log()),
        )
        (failed,) = (event for event in place.log() if event["event"] == "auth.reload_failed")
        assert failed["problems"] == ["auth.virtual_keys[0].value: must begin with 'sk-bf-'"]
        assert place.status("sk-bf-new") == 200
        assert leaks(tmp_path, ["no-prefix-hush", "sk-bf-new"]) == []


def _rewrite(place: Place, auth: dict[str, object]) -> None:
    (place.folder / "berth.yaml").write_text(yaml.safe_dump({"auth": auth}))
    os.kill(place.berth.process.pid, signal.SIGHUP)


def test_wrong_keys_are_slowed_and_right_ones_are_not(tmp_path: Path) -> None:
    """An address that guesses waits for its refusals; beside it the right key is answered at once."""
    with running(tmp_path, {"auth": AUTH | {"free_failures_per_minute": 5}}) as berth:
        place = Place(tmp_path, berth)
        statuses, waits = [], []
        for number in range(20):
            began = time.monotonic()
            statuses.append(place.status(f"sk-bf-guess-{number}"))
            waits.append(time.monotonic() - began)
        assert set(statuses) == {401}
        assert min(waits[-5:]) >= 0.5  # the 16th has eleven steps to wait, of 50 ms each
        rights = []
        for _ in range(5):
            began = time.monotonic()
            assert place.status(CONFIGURED) == 200
            rights.append(time.monotonic() - began)
        assert min(rights) < min(waits[-5:])  # one of them may take as long on a busy machine
