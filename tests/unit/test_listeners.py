"""What may be listened on, and with which certificates."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from berth.app.listeners import check_listeners, edge_settings
from berth.config import Config, load
from berth.launch.certificates import Certificates, Files
from berth.launch.pem import read_authorities
from berth.launch.refusal import StartError
from support.certs.authority import Authority
from support.servers.process import refused_berth

ANYWHERE = "0.0.0.0:0"


@pytest.fixture
def authority() -> Authority:
    return Authority()


def variables(settings: dict[str, str]) -> dict[str, str]:
    return {f"BERTH_{name}": value for name, value in settings.items()}


def refused_start(folder: Path, **settings: str) -> str:
    """Start Berth with settings that must be refused; return why."""
    status, stdout, stderr = refused_berth("serve", "--data-dir", str(folder / "data"), environ=variables(settings))
    assert (status, stdout) == (2, "")
    assert "Traceback" not in stderr
    return stderr


def refusal(folder: Path, **settings: str) -> str:
    """Read settings, and check them as a start does, which must be refused; return why."""
    with pytest.raises(StartError) as refused:
        check_listeners(
            load(None, variables(settings), data_dir=folder / "data"), rest=False, log=structlog.get_logger()
        )
    return str(refused.value)


@pytest.mark.parametrize("setting", ["LISTEN__GRPC", "LISTEN__METRICS"])
def test_plaintext_for_other_machines_is_refused(tmp_path: Path, setting: str) -> None:
    """The start says which address, and both ways out."""
    reason = refused_start(tmp_path, **{"LISTEN__GRPC": "127.0.0.1:0", setting: ANYWHERE})
    assert f"{setting.lower().replace('__', '.')}: other machines could reach 0.0.0.0:0" in reason
    assert "set tls" in reason
    assert "listen.allow_plaintext: true" in reason


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    """A certificate without its key is named."""
    assert "tls.key: is missing" in refusal(tmp_path, TLS__CERTIFICATE=str(tmp_path / "a.crt"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path, authority: Authority) -> None:
    """The setting, the path and the reason."""
    certificate, key = authority.server().write(tmp_path, "server")
    files = {"TLS__CERTIFICATE": str(certificate), "TLS__KEY": str(tmp_path / "no.key")}
    assert f"tls.key: cannot read {tmp_path / 'no.key'}: No such file" in refusal(tmp_path, **files)
    files = {"TLS__CERTIFICATE": str(certificate), "TLS__KEY": str(key), "TLS__CLIENT_CA": str(tmp_path / "no.crt")}
    assert "tls.client_ca: cannot read" in refusal(tmp_path, **files)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, authority: Authority) -> None:
    """They must fit."""
    certificate, _ = authority.server().write(tmp_path, "one")
    _, key = authority.server().write(tmp_path, "other")
    assert "tls.key: cannot use" in refused_start(tmp_path, TLS__CERTIFICATE=str(certificate), TLS__KEY=str(key))


def test_an_authority_must_be_one(tmp_path: Path, authority: Authority) -> None:
    """A file without certificates is refused."""
    certificate, key = authority.server().write(tmp_path, "server")
    (tmp_path / "ca.crt").write_text("no certificate")
    files = {"TLS__CERTIFICATE": str(certificate), "TLS__KEY": str(key), "TLS__CLIENT_CA": str(tmp_path / "ca.crt")}
    assert f"tls.client_ca: {tmp_path / 'ca.crt'} holds no certificates in PEM" in refusal(tmp_path, **files)


@pytest.mark.parametrize(
    ("setting", "change", "reason"),
    [
        ("certificate", lambda pem: b"\xef\xbb\xbf" + pem, "has a byte order mark"),
        ("key", lambda pem: pem + b"\xef\xbb\xbf" + pem, "has a byte order mark"),
        ("certificate", lambda pem: pem.replace(b"MII", b"AAA"), "cannot use"),
        ("key", lambda pem: pem.replace(b"MHc", b"AAA"), "cannot use"),
        ("certificate", lambda _: b"", "holds no certificates in PEM"),
        ("key", lambda _: b"", "holds no private key in PEM"),
        ("key", lambda _: b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "needs a password"),
        ("key", lambda pem: pem + b"#" * 1_048_576, "it has more than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, authority: Authority, setting: str, change: Callable[[bytes], bytes], reason: str
) -> None:
    """The message has the setting, the path and what is wrong."""
    certificate, key = authority.server().write(tmp_path, "server")
    path = certificate if setting == "certificate" else key
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StartError, match=rf"^tls\.{setting}: .*{path}.*{reason}|^tls\.{setting}: {reason} {path}"):
        Certificates(Files(certificate, key), log=structlog.get_logger())


@pytest.mark.parametrize("setting", ["certificate", "key"])
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path, authority: Authority, setting: str) -> None:
    """Neither a start nor a renewal waits for a process that writes into it; the previous content stays in use."""
    certificate, key = authority.server().write(tmp_path, "server")
    used = Certificates(Files(certificate, key), log=structlog.get_logger())
    path, before = certificate if setting == "certificate" else key, used.current
    path.unlink()
    os.mkfifo(path)
    with capture_logs() as logged:
        assert not used.refresh()
    assert used.current == before
    assert logged[0]["reason"] == f"tls.{setting}: cannot read {path}: it is not a regular file"
    with pytest.raises(StartError, match=rf"^tls\.{setting}: cannot read {path}: it is not a regular file$"):
        Certificates(Files(certificate, key), log=structlog.get_logger())


def test_comments_of_a_certificate_may_be_in_any_encoding(tmp_path: Path, authority: Authority) -> None:
    """Tools write names of people around the blocks, in whichever encoding they have."""
    certificate, key = authority.server().write(tmp_path, "server")
    certificate.write_bytes("# Jürgen\n".encode("latin-1") + certificate.read_bytes())
    used = Certificates(Files(certificate, key), log=structlog.get_logger())
    assert used.current.certificate.decode().startswith("# J")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("no list", "holds no revocation lists in PEM"),
        ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----", "has a list that cannot be read"),
    ],
)
def test_a_revocation_list_must_be_one(tmp_path: Path, authority: Authority, content: str, reason: str) -> None:
    """A file without lists, or with one that cannot be read, is refused."""
    certificate, key = authority.server().write(tmp_path, "server")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "ca.crl").write_text(content)
    files = {
        "CERTIFICATE": certificate,
        "KEY": key,
        "CLIENT_CA": tmp_path / "ca.crt",
        "CLIENT_CRL": tmp_path / "ca.crl",
    }
    refused = refusal(tmp_path, **{f"TLS__{name}": str(path) for name, path in files.items()})
    assert f"tls.client_crl: {tmp_path / 'ca.crl'} {reason}" in refused


def test_comments_of_authorities_may_be_in_any_encoding(tmp_path: Path, authority: Authority) -> None:
    """What a provider is verified with is read as certificates are; a damaged one is named."""
    path = tmp_path / "ca.pem"
    path.write_bytes("# Jürgen\n".encode("latin-1") + "# Łódź\n".encode() + authority.pem)
    assert authority.pem.decode() in read_authorities(path, "providers.openai.ca_file")
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(StartError, match=rf"^providers\.openai\.ca_file: cannot use {path}: "):
        read_authorities(path, "providers.openai.ca_file")


def test_certificates_need_an_authority(tmp_path: Path) -> None:
    """Names in certificates that nothing checks would let everybody in, or nobody."""
    holders = '[{"san": "a.example", "name": "a", "tenant": "a"}]'
    assert "auth.certificates: nothing checks them" in refusal(tmp_path, AUTH__CERTIFICATES=holders)


def test_only_the_own_envoy_is_called_over_http1(tmp_path: Path) -> None:
    """Envoys that are deployed on their own use HTTP/2, whatever the setting says, as a sidecar does."""
    config = Config()
    assert edge_settings(config, config.listen.grpc, private=tmp_path).over_http1
    assert not edge_settings(config, config.listen.grpc).over_http1
    over_grpc = Config.model_validate({"rest": {"transport": "grpc"}})
    assert not edge_settings(over_grpc, config.listen.grpc, private=tmp_path).over_http1
