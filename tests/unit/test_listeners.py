"""What may be listened on, and with which certificates."""

from pathlib import Path

import pytest

from support.certs.authority import Authority
from support.servers.process import refused_berth

ANYWHERE = "0.0.0.0:0"


@pytest.fixture
def authority() -> Authority:
    return Authority()


def refusal(folder: Path, **environ: str) -> str:
    """Start Berth with settings that must be refused; return why."""
    command = ("serve", "--data-dir", str(folder / "data"))
    status, stdout, stderr = refused_berth(
        *command, environ={f"BERTH_{name}": value for name, value in environ.items()}
    )
    assert (status, stdout) == (2, "")
    assert "Traceback" not in stderr
    return stderr


@pytest.mark.parametrize("setting", ["LISTEN__GRPC", "LISTEN__METRICS"])
def test_plaintext_for_other_machines_is_refused(tmp_path: Path, setting: str) -> None:
    """The start says which address, and both ways out."""
    reason = refusal(tmp_path, **{"LISTEN__GRPC": "127.0.0.1:0", setting: ANYWHERE})
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
    assert "tls.key: cannot use" in refusal(tmp_path, TLS__CERTIFICATE=str(certificate), TLS__KEY=str(key))


def test_an_authority_must_be_one(tmp_path: Path, authority: Authority) -> None:
    """A file without certificates is refused."""
    certificate, key = authority.server().write(tmp_path, "server")
    (tmp_path / "ca.crt").write_text("no certificate")
    files = {"TLS__CERTIFICATE": str(certificate), "TLS__KEY": str(key), "TLS__CLIENT_CA": str(tmp_path / "ca.crt")}
    assert f"tls.client_ca: {tmp_path / 'ca.crt'} holds no certificates in PEM" in refusal(tmp_path, **files)


def test_certificates_need_an_authority(tmp_path: Path) -> None:
    """Names in certificates that nothing checks would let everybody in, or nobody."""
    holders = '[{"san": "a.example", "name": "a", "tenant": "a"}]'
    assert "auth.certificates: nothing checks them" in refusal(tmp_path, AUTH__CERTIFICATES=holders)
