"""A Berth on a PostgreSQL server that speaks TLS itself, which the server of the other tests does not."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.certs.authority import Authority
from support.servers.berth import running
from support.servers.postgres import Postgres, postgres_running, system_programs
from support.servers.process import refused_berth

PROGRAMS = system_programs()
ROLE, PASSWORD, QUOTED = "secure", "a p@ss", "a%20p%40ss"
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL that has TLS is installed on this system")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Postgres]:
    """Run a server that lets in a role only over TLS and with its password."""
    with postgres_running(PROGRAMS, encrypted=(authority.server(), ROLE)) as server:
        server.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        yield server


@pytest.fixture
def url(server: Postgres) -> str:
    """Return the URL of a new database of the role."""
    name = server.fresh().rpartition("/")[2]
    server.execute(f"ALTER DATABASE {name} OWNER TO {ROLE}")
    return f"postgresql://{ROLE}:{QUOTED}@localhost:{server.port}/{name}"


def test_rows_are_kept_over_tls(server: Postgres, authority: Authority, url: str, tmp_path: Path) -> None:
    """With `sslmode=verify-full` all connections are encrypted, and containers are stored and found."""
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    store = {"url": f"{url}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"}
    with running(tmp_path, {"default_provider": "ollama", "store": store}) as berth:
        headers = {"authorization": f"Bearer {berth.virtual_key}"}
        with httpx2.Client(base_url=f"{berth.rest}/v1", headers=headers, timeout=30) as client:
            made = client.post("/containers", json={"name": "a"}).raise_for_status().json()["id"]
            assert client.get(f"/containers/{made}").raise_for_status().json()["name"] == "a"
        used = "SELECT bool_and(ssl), count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = "
        assert server.execute(f"{used}'{ROLE}'") == "t|t\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("?sslmode=verify-full&sslrootcert={folder}/other.pem", "its certificate is not trusted"),
        ("?sslmode=disable", "Access to the store was denied"),
    ],
)
def test_what_is_not_safe_is_refused(url: str, change: str, reason: str, tmp_path: Path) -> None:
    """A server with a certificate of another authority is not used, nor is one without TLS that requires it."""
    (tmp_path / "other.pem").write_bytes(Authority().pem)
    environ = {"BERTH_STORE__URL": url + change.format(folder=tmp_path)}
    status, output, errors = refused_berth("serve", "--data-dir", str(tmp_path / "data"), environ=environ)
    assert (status, output) == (2, "")
    assert reason in errors
    assert QUOTED not in errors
