"""SIGHUP: a configuration is applied as a whole or not at all, and the log says what changed."""

import json
import os
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.certs.authority import Authority
from support.clients.polling import wait_until
from support.servers.berth import STOP_SECONDS, environment
from support.servers.process import BerthProcess, refused_berth, running_berth
from support.servers.starting import command

KEY = f"sk-bf-{'0123456789ab' * 4}"
PASSWORD = "two words"
RELOADS = {"auth.reloaded", "auth.reload_failed"}
HUGE_BYTES = 600_000_000


def virtual_key(name: str, value: str) -> dict[str, object]:
    return {"name": name, "value": value, "tenant": "a"}


class Place:
    """A running `berth serve` with TLS, its folder, and the configuration that it was started with."""

    def __init__(self, folder: Path, authority: Authority, settings: dict[str, Any], berth: BerthProcess) -> None:
        self.file = folder / "berth.yaml"
        self.folder = folder
        self.authority = authority
        self.settings = settings
        self.berth = berth

    def write(self, **auth: object) -> None:
        """Replace the configuration by that of the start, with other callers."""
        self.file.unlink(missing_ok=True)
        self.file.write_text(yaml.safe_dump(self.settings | {"auth": self.settings["auth"] | auth}))

    def reload(self) -> dict[str, Any]:
        """Send SIGHUP; return the event that it leads to."""
        before = len(self.events())
        self.berth.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.events()) > before)
        return self.events()[-1]

    def events(self) -> list[dict[str, Any]]:
        """Return the events about reloads in the log."""
        lines = [json.loads(line) for line in self.berth.errors.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] in RELOADS]

    def admits(self, key: str, *, user: str | None = None) -> bool:
        """Return whether a call with a key, or with a user and a password, is admitted."""
        basic = b64encode(f"{user}:{key}".encode()).decode()
        header = ("x-bf-vk", key) if user is None else ("authorization", f"Basic {basic}")
        credentials = grpc.ssl_channel_credentials(self.authority.pem)
        request = ListContainersRequest(provider=Provider.PROVIDER_OLLAMA)
        with grpc.secure_channel(self.berth.ready["grpc"], credentials) as channel:
            call = ContainerServiceStub(channel).ListContainers.future(
                request, metadata=(header,), timeout=STOP_SECONDS
            )
            return call.code() is grpc.StatusCode.OK


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a Berth with one key; it must have ended as usual after all of these reloads."""
    folder = tmp_path_factory.mktemp("reload")
    authority = Authority()
    certificate, key = authority.server().write(folder, "server")
    settings = {
        "tls": {"certificate": str(certificate), "key": str(key)},
        "auth": {"virtual_keys": [virtual_key("a", KEY)]},
    }
    path = folder / "berth.yaml"
    path.write_text(yaml.safe_dump(settings))
    environ = {"HOME": str(folder), "PASSWORD": f"{PASSWORD}\r\n"}
    with running_berth("serve", folder / "data", "--config", str(path), environ=environ) as berth:
        yield Place(folder, authority, settings, berth)
        assert berth.end(signal.SIGTERM) == 0


@pytest.fixture
def place(served: Place) -> Place:
    """Return the Berth with the callers of its start."""
    served.write()
    assert served.reload()["event"] == "auth.reloaded"
    return served


def test_the_log_names_what_a_reload_changes(place: Place) -> None:
    """Callers by name, the settings that need a restart, and no values."""
    place.write(
        virtual_keys=[virtual_key("a", f"{KEY}00"), virtual_key("b", "sk-bf-hush")],
        basic_users=[{"name": "ops", "password": "hush", "tenant": "a"}],
        free_failures_per_minute=7,
    )
    event = place.reload()
    assert (event["event"], event["level"]) == ("auth.reloaded", "info")
    assert event["added"] == ["virtual_keys.b", "basic_users.ops"]
    assert event["changed"] == ["virtual_keys.a"]
    assert event["removed"] == []
    assert event["needs_restart"] == ["auth.free_failures_per_minute"]
    assert [place.admits(key) for key in (KEY, f"{KEY}00", "sk-bf-hush")] == [False, True, True]
    place.write()
    assert sorted(place.reload()["removed"]) == ["basic_users.ops", "virtual_keys.b"]
    assert "hush" not in place.berth.errors
    assert KEY not in place.berth.errors


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "auth: the configuration has no caller any more"),
        ("auth: {mode: none}\n", "auth: the configuration has no caller any more"),
        ("auth:\n  virtual_keys:\n  - {name: a, tenant: a, value: sk-bf-", "is not YAML"),
        ("auth:\n  virtual_keys:\n  - name: a\n    tenant: a\n    value: sk-bf-hush", "ends in the middle of a value"),
        (f"auth:\n  virtual_keys:\n  - name: a\n    tenant: a\n    value: {KEY[:-1]}\n", "has 47 hexadecimal digits"),
        ("auth: {virtual_keys: [{name: a, tenant: a, value: sk-bf-0a}]}\n", "has 2 hexadecimal digits"),
        ("auth: {virtual_keys: [{name: a, tenant: a, value: sk-bf-}]}\n", "is only the prefix 'sk-bf-'"),
        ("auth: {virtual_keys: [{name: a, tenant: a, value: hush}]}\n", "must begin with 'sk-bf-'"),
        ("auth: {virtual_keys: [{name: a, tenant: a, value: 'sk-bf-é'}]}\n", "not allowed in an HTTP header"),
        ("auth: " + "[" * 3000 + "\n", "is nested deeper than 32 levels"),
        ("auth: {certificates: [{san: x, name: x, tenant: a}]}\n", "auth.certificates: nothing checks them"),
        ("listen: {grpc: '0.0.0.0:0'}\n", "listen.grpc: other machines could reach 0.0.0.0:0"),
    ],
)
def test_a_configuration_that_may_be_a_mistake_changes_nothing(place: Place, text: str, problem: str) -> None:
    """A file that is truncated, cut, or one that Berth would not start with, is refused with a warning."""
    place.file.write_text(text)
    event = place.reload()
    assert (event["event"], event["level"]) == ("auth.reload_failed", "warning")
    assert problem in " ".join(event["problems"])
    assert place.admits(KEY)
    assert "hush" not in " ".join(event["problems"])


@pytest.mark.parametrize("is_secret", [False, True])
def test_a_pipe_is_not_waited_for(place: Place, is_secret: bool) -> None:  # noqa: FBT001 - a parameter
    """A configuration or a secret that has become a pipe is refused, and calls go on."""
    pipe = place.folder / "secret" if is_secret else place.file
    if is_secret:
        place.write(virtual_keys=[virtual_key("a", f"file:{pipe}")])
    else:
        pipe.unlink()
    os.mkfifo(pipe)
    event = place.reload()
    assert (event["event"], event["level"]) == ("auth.reload_failed", "warning")
    assert "it is not a regular file" in event["problems"][0]
    assert place.admits(KEY)


def test_secrets_lose_one_newline_at_the_end(place: Place) -> None:
    """Keys and passwords of files, here in the home folder, and of variables are read alike; no more is cut."""
    (place.folder / "key").write_text(f"{KEY}11\n")
    (place.folder / "password").write_text(f" {PASSWORD}\n")
    users = {"file": "file:~/password", "variable": "env:PASSWORD"}
    place.write(
        virtual_keys=[virtual_key("a", "file:~/key")],
        basic_users=[{"name": name, "tenant": "a", "password": source} for name, source in users.items()],
    )
    assert place.reload()["event"] == "auth.reloaded"
    assert place.admits(f"{KEY}11")
    assert [place.admits(f" {PASSWORD}", user="file"), place.admits(PASSWORD, user="file")] == [True, False]
    assert place.admits(PASSWORD, user="variable")


def test_a_huge_secret_is_not_read(place: Place) -> None:
    """A secret in a file of 600 MB is refused at once."""
    with (place.folder / "huge").open("wb") as file:
        file.truncate(HUGE_BYTES)
    place.write(virtual_keys=[virtual_key("a", "file:~/huge")])
    event = place.reload()
    assert event["event"] == "auth.reload_failed"
    assert "it has more than 65536 bytes" in event["problems"][0]


@pytest.mark.parametrize("kind", ["other", "pipe", "protected", "missing"])
def test_keys_are_kept_with_bad_certificates(place: Place, kind: str) -> None:
    """New keys beside a certificate that cannot be used are not applied, until it can be used."""
    private = place.folder / "server.key"
    good = private.read_bytes()
    private.unlink()
    if kind == "pipe":
        os.mkfifo(private)
    elif kind != "missing":
        private.write_bytes(place.authority.server().key if kind == "other" else protected(good))
    place.write(virtual_keys=[virtual_key("new", "sk-bf-new")])
    event = place.reload()
    assert event["event"] == "auth.reload_failed"
    assert event["problems"][0].startswith("tls.key: ")
    assert [place.admits(key) for key in (KEY, "sk-bf-new")] == [True, False]
    private.unlink(missing_ok=True)
    private.write_bytes(good)
    assert place.reload()["added"] == ["virtual_keys.new"]
    assert [place.admits(key) for key in (KEY, "sk-bf-new")] == [False, True]


def protected(key: bytes) -> bytes:
    """Return a key with a password."""
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    password = serialization.BestAvailableEncryption(b"password")
    return serialization.load_pem_private_key(key, None).private_bytes(pem, form, password)


def test_a_configuration_from_a_pipe_stays(tmp_path: Path) -> None:
    """Berth starts with the configuration that it reads from stdin; a reload is refused, and it ends as usual."""
    options = ("--config", "/dev/stdin", "--data-dir", str(tmp_path / "data"), "--grpc-port", "0")
    with subprocess.Popen(
        command("serve", *options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(yaml.safe_dump({"auth": {"virtual_keys": [virtual_key("a", KEY)]}}))
        process.stdin.close()
        berth = BerthProcess(process)
        try:
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: "auth.reload_failed" in berth.errors)
            assert berth.end(signal.SIGTERM) == 0
        finally:
            process.kill()
            berth.end()
    assert "it is not a regular file, so it can be read only at the start" in berth.errors


def test_a_check_refuses_what_a_reload_refuses(tmp_path: Path) -> None:
    """`berth config check` finds a file or a key that may be cut, and what cannot be used, of variables as well."""
    path = tmp_path / "berth.yaml"
    for text, environ, problems in [
        ("data_dir: /nowhere", {}, ["ends in the middle of a value"]),
        (f"tls: {{certificate: '{tmp_path}/c', key: '{tmp_path}/k'}}\n", {}, ["tls.certificate: cannot read"]),
        ("listen: {rest: '0.0.0.0:8080'}\n", {}, ["listen.rest: other machines could reach 0.0.0.0:8080"]),
        (
            "{}\n",
            {"PROVIDERS": '{"groq": {"backend": "hosted", "backend": "unsupported"}}'},
            ["providers (from BERTH_PROVIDERS): the setting 'backend' is given twice"],
        ),
        (
            "auth: {virtual_keys: [{name: a, tenant: a, value: sk-bf-0123}]}\nhosted: {default_minutes: 1:30}\n",
            {"HOSTED__MAX_MINUTES": "020"},
            [
                "may be cut",
                "hosted.default_minutes: must be a decimal number, not '1:30'",
                "hosted.max_minutes (from BERTH_HOSTED__MAX_MINUTES): must be a number without a leading zero",
            ],
        ),
    ]:
        path.write_text(text)
        variables = {f"BERTH_{name}": value for name, value in environ.items()}
        status, _, stderr = refused_berth("config", "check", "--config", str(path), environ=variables)
        assert (status, stderr.count("\n")) == (2, len(problems))
        assert [problem for problem in problems if problem not in stderr] == []
