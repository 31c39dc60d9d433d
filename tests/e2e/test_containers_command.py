"""`berth containers` beside a running Berth: what people and scripts see, and what is never sent."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from support.certs.authority import Authority
from support.clients.commands import Shell
from support.providers.raw import refusing
from support.servers.berth import KEY_A, KEY_B, SETTINGS, Berth, environment, running

ID = re.compile(r"cntr_[0-9a-f]{48}\n")
KEY = "sk-bf-over-tls"


@pytest.fixture
def shell(berth: Berth, tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"BERTH_SERVER": berth.grpc, "BERTH_KEY": KEY_A})


def test_a_container_from_its_making_to_its_end(shell: Shell) -> None:
    """Made, listed, shown and deleted; its id stands alone on stdout, and what is gone is an error in Berth's words."""
    made = shell.ask("containers", "create", "life", "--provider", "groq", "--minutes", "7", "--memory-limit", "4g")
    assert ID.fullmatch(made)
    container = made.strip()
    headings, row = shell.ask("containers", "list", "--name", "life").splitlines()
    expected = ["ID", "PROVIDER", "STATUS", "EXPIRES AFTER", "SIZE", "CREATED", "LAST ACTIVE", "NAME"]
    assert re.split(r"  +", headings) == expected
    listed = re.split(r"  +", row)
    assert (listed[:5], listed[7]) == ([container, "groq", "running", "7m idle", "0 bytes"], "life")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", listed[5])
    shown = dict(re.split(r"  +", line) for line in shell.ask("containers", "show", container).splitlines())
    assert (shown["MEMORY LIMIT"], shown["PROVIDER"]) == ("4g", "groq")
    assert shell.ask("containers", "delete", container) == ""
    assert shell.run("containers", "show", container) == (1, "", f"berth: Container {container} not found.\n")


def test_json_is_that_of_rest(shell: Shell, client: httpx2.Client, container: str) -> None:
    """A line for each, with the fields, names and numbers that REST has; lists have sizes."""
    shown = json.loads(shell.ask("containers", "show", container, "--json"))
    rest = client.get(f"/v1/containers/{container}").json()
    for answer in (shown, rest):
        del answer["extra_fields"]["latency"], answer["last_active_at"]
    assert shown == rest
    client.post(f"/v1/containers/{container}/files", params={"file_path": "a"}, content=b"12345").raise_for_status()
    (line, *_) = shell.ask("containers", "list", "--json").splitlines()
    listed = json.loads(line)
    (same,) = client.get("/v1/containers", params={"limit": 1, "include": "bytes"}).json()["data"]
    assert listed == same
    assert (listed["id"], listed["bytes"]) == (container, 5)


def test_a_long_list(shell: Shell, client: httpx2.Client) -> None:
    """--limit ends it and says that there are more; --all goes through all pages."""
    for _ in range(103):
        client.post("/v1/containers", json={"name": "many", "provider": "ollama"}).raise_for_status()
    assert len(shell.ask("containers", "list", "--name", "many", "--all", "--json").splitlines()) == 103
    status, output, errors = shell.run("containers", "list", "--name", "many", "--limit", "101")
    assert (status, len(output.splitlines()), errors) == (0, 102, "berth: there are more; --all shows them\n")


def test_a_name_is_shown_and_not_obeyed(shell: Shell, client: httpx2.Client) -> None:
    """What would turn the text around in a terminal is spelled out in tables."""
    client.post("/v1/containers", json={"name": "exe.\u202etxt", "provider": "ollama"}).raise_for_status()
    assert (
        shell.ask("containers", "list", "--limit", "1000", "--name", "exe.\u202etxt")
        .rstrip()
        .endswith("exe.\\u202etxt")
    )


def test_deleting_goes_on_behind_what_is_not_there(shell: Shell, client: httpx2.Client) -> None:
    """All others are gone, and the exit code says that one was not there."""
    first, last = (client.post("/v1/containers", json={"name": "x", "provider": "ollama"}).json()["id"] for _ in "ab")
    refusal = "berth: Container nowhere not found.\n"
    assert shell.run("containers", "delete", first, "nowhere", last) == (1, "", refusal)
    assert [client.get(f"/v1/containers/{one}").status_code for one in (first, last)] == [404, 404]


def test_a_container_of_another_tenant_is_not_there(shell: Shell, container: str) -> None:
    """--key goes above the variable."""
    status, output, errors = shell.run("containers", "show", container, "--key", KEY_B)
    assert (status, output, errors) == (1, "", f"berth: Container {container} not found.\n")


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("list", "--key", "sk-bf-wrong"), 1, "virtual key not found"),
        (("create", "x", "--provider", "cohere"), 1, "container_create is not supported by cohere provider"),
        (("create", "x", "--file-id", "file-nowhere"), 1, "file-nowhere"),
        (("list", "--provider", "nobody"), 2, "--provider: unknown provider 'nobody'"),
        (("list", "--key", "sk-bf-ä"), 2, "--key: must consist of visible ASCII characters"),
        (("list", "--server", "nowhere"), 2, "--server: must be HOST:PORT"),
        (("list", "--server", "192.0.2.1:50051"), 2, "192.0.2.1:50051 is another machine, and nothing would be enc"),
        (("list", "--server", "berth.example:50051", "--ca", "nowhere"), 2, "--ca: cannot read nowhere"),
        (("list", "--ca", "junk"), 2, "--ca: junk holds no certificates"),
    ],
)
def test_what_cannot_be_is_refused(shell: Shell, arguments: tuple[str, ...], status: int, reason: str) -> None:
    """With 1 where the server says no, with 2 where nobody needs to be asked, a reason, and nothing on stdout."""
    (shell.folder / "junk").write_text("junk")
    code, output, errors = shell.run("containers", *arguments)
    assert (code, output) == (status, "")
    assert reason in errors
    assert "sk-bf" not in errors


def test_a_server_that_is_not_there(shell: Shell) -> None:
    """The sentence names the address."""
    with refusing() as url:
        address = url.removeprefix("http://")
        status, output, errors = shell.run("containers", "list", "--server", address)
    assert (status, output, errors) == (1, "", f"berth: no answer from {address}: Connection refused\n")


def test_the_first_key_is_found(tmp_path: Path) -> None:
    """With the settings and the folder of a Berth on this machine, nothing more is needed; no proxy sees the key."""
    settings = {"default_provider": "ollama", "listen": {"grpc": "127.0.0.1:0"}}
    with running(tmp_path, settings) as berth, refusing() as proxy:
        shell = Shell(tmp_path, {"BERTH_DATA_DIR": str(tmp_path / "data"), "http_proxy": proxy, "grpc_proxy": proxy})
        assert ID.fullmatch(shell.ask("containers", "create", "mine", "--server", berth.grpc))
        configured = Shell(tmp_path, {"BERTH_LISTEN__GRPC": berth.grpc.replace("127.0.0.1", "0.0.0.0")})  # noqa: S104 - called, not bound
        assert "mine" in configured.ask("containers", "list", "--data-dir", "data")


def test_a_first_key_that_is_not_accepted_is_named(berth: Berth, tmp_path: Path) -> None:
    """Where the configuration has callers, the message says that the first key was sent and how to send another."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "first-key").write_text(f"sk-bf-{'0' * 48}")
    (tmp_path / "data" / "first-key").chmod(0o600)
    shell = Shell(tmp_path, {"BERTH_DATA_DIR": str(tmp_path / "data"), "BERTH_SERVER": berth.grpc})
    status, output, errors = shell.run("containers", "list")
    assert (status, output) == (1, "")
    assert errors.endswith("It is the first key of the data folder: pass another one with --key or BERTH_KEY\n")
    assert "first key" not in shell.run("containers", "list", "--key", "sk-bf-wrong")[2]


def test_the_variables_of_the_commands_are_no_settings(shell: Shell) -> None:
    """Who has them in the environment can start a Berth there all the same."""
    elsewhere = Shell(shell.folder, {**shell.variables, "BERTH_CA": "x"})
    assert "static_resources" in elsewhere.ask("envoy-config")
    assert "BERTH_CA" not in environment()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[tuple[Path, Berth]]:
    """Run a Berth that speaks TLS; give its folder, too."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = authority.server().write(folder, "server")
    (folder / "ca.crt").write_bytes(authority.pem)
    (folder / "other.crt").write_bytes(Authority().pem)
    auth = {"virtual_keys": [{"name": "a", "value": KEY, "tenant": "a"}]}
    with running(folder, SETTINGS | {"auth": auth, "tls": {"certificate": str(certificate), "key": str(key)}}) as berth:
        yield folder, berth


@pytest.mark.parametrize("option", [("--ca", "ca.crt"), ("--config", "berth.yaml")])
def test_tls(guarded: tuple[Path, Berth], option: tuple[str, str]) -> None:
    """An authority that is named is trusted, and the certificate of the server's own settings is."""
    folder, berth = guarded
    shell = Shell(folder, {"BERTH_SERVER": berth.grpc, "BERTH_KEY": KEY})
    assert "CREATED" in shell.ask("containers", "list", *option)


def test_another_authority_is_not_trusted(guarded: tuple[Path, Berth]) -> None:
    """No key is sent to who cannot prove to be the server; what is wrong is one sentence."""
    folder, berth = guarded
    shell = Shell(folder, {"BERTH_SERVER": berth.grpc, "BERTH_KEY": KEY, "BERTH_CA": "other.crt"})
    reason = "unable to get local issuer certificate"
    assert shell.run("containers", "list") == (1, "", f"berth: no answer from {berth.grpc}: {reason}\n")


def test_what_is_missing_is_named_as_the_command_line_has_it(tmp_path: Path, berth: Berth) -> None:
    """Without a key, or a provider, the error says which option and which variable give it."""
    with running(tmp_path, {name: value for name, value in SETTINGS.items() if name != "default_provider"}) as strict:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        status, _, errors = Shell(folder, {"BERTH_SERVER": berth.grpc}).run("containers", "list")
        assert (status, errors) == (1, f"berth: {berth.grpc} requires a key: pass it with --key or BERTH_KEY\n")
        shell = Shell(folder, {"BERTH_SERVER": strict.grpc, "BERTH_KEY": KEY_A})
        status, _, errors = shell.run("containers", "create", "x")
        assert (status, errors) == (1, "berth: provider is required: give it with --provider NAME\n")
        (folder / "a.txt").write_text("hello")
        status, _, errors = shell.run("files", "upload", "a.txt")
        assert (status, errors) == (1, "berth: provider is required: give it with --provider NAME\n")


def test_a_misspelt_provider_gets_a_hint(shell: Shell) -> None:
    """The nearest provider is named, whether or not it is near."""
    for name, near in (("olama", "ollama"), ("openia", "openai")):
        status, _, errors = shell.run("containers", "list", "--provider", name)
        assert (status, errors) == (2, f"berth: --provider: unknown provider '{name}'; did you mean '{near}'?\n")


def seen_by(shell: Shell, columns: int, *arguments: str) -> tuple[list[str], str]:
    """Run a command in a terminal that is so wide; return what it shows there, and on stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with shell.start(*arguments, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal ends whose other side is closed
            while piece := os.read(ours, 65_536):
                shown += piece
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    os.close(ours)
    return shown.decode().splitlines(), errors


def test_a_table_fits_the_terminal(shell: Shell) -> None:
    """A narrow terminal gets fewer columns, and whole ids; a pipe gets all."""
    for name in ("fits", "fits-" + "x" * 100):
        shell.ask("containers", "create", name, "--provider", "xai")
    listing = ("containers", "list", "--provider", "xai", "--status", "running")
    lines, errors = seen_by(shell, 100, *listing)
    assert all(len(line) <= 100 for line in lines)
    assert lines[0].split() == ["ID", "PROVIDER", "STATUS", "SIZE", "NAME"]
    assert lines[1].endswith("…")
    assert lines[2].split()[1:] == ["xai", "running", "0", "bytes", "fits"]
    assert "berth: the terminal is too narrow for LAST ACTIVE, EXPIRES AFTER, CREATED; --json shows all" in errors
    wide, errors = seen_by(shell, 300, *listing)
    assert len(wide[0].split("  ")) >= 7
    assert "narrow" not in errors
    narrowest, _ = seen_by(shell, 20, *listing)
    assert all(len(line) <= 20 for line in narrowest)


def test_the_version_and_completion_for_shells(tmp_path: Path) -> None:
    """`--version` names it, and shells are told what may come next."""
    shell = Shell(tmp_path, {})
    assert re.fullmatch(r"berth \d+\.\d+\.\d+\n", shell.ask("--version"))
    asked = {"_BERTH_COMPLETE": "complete_bash", "COMP_WORDS": "berth con", "COMP_CWORD": "1"}
    program, variables = Path(sys.executable).with_name("berth"), environment() | asked
    told = subprocess.run([program], env=variables, capture_output=True, text=True, check=False, timeout=30)
    assert told.stdout.split() == ["config", "containers"]
