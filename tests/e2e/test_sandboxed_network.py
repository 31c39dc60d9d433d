"""Commands that reach the network through an allowlist: a whole Berth, real sandboxes, servers on loopback."""

import hashlib
import io
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.clients.polling import wait_until
from support.measuring.processes import processes_with
from support.sandboxes.needed import DRIVERS, settings_of
from support.servers.process import BerthProcess, running_berth

HOST = "127.0.0.1"
pytestmark = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user cannot make namespaces, which a sandbox consists of",
)
has_sessions = pytest.mark.parametrize("berth", ["bubblewrap"], indirect=True)
THROUGH_PROXY = {"NO_PROXY": "", "no_proxy": ""}
"""Programs do not ask a proxy for addresses of the sandbox itself, and the servers of these tests have such ones."""
FETCH = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=20).read().decode().strip())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
    except OSError as error:
        print(error)
"""
RAW = """
import socket
for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", PORT)),
    (socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
    (socket.AF_INET6, socket.SOCK_DGRAM, ("2001:db8::1", 53)),
):
    try:
        one = socket.socket(family, kind)
        one.settimeout(2)
        one.connect(address)
        one.send(b"x")
        print("connected to", address)
    except OSError:
        print("refused")
try:
    print(socket.getaddrinfo("example.com", 80))
except OSError:
    print("refused")
"""


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve a folder over HTTP on loopback, and yield the port."""

    class Handler(SimpleHTTPRequestHandler):
        """Serves the folder without a log."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def write_index(folder: Path) -> None:
    """Write a simple index with one small wheel, `tiny`."""
    wheel, name = io.BytesIO(), "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "WORD = 'tiny works'\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/RECORD,,\n")
    page = folder / "simple" / "tiny"
    page.mkdir(parents=True)
    (page / name).write_bytes(wheel.getvalue())
    digest = hashlib.sha256(wheel.getvalue()).hexdigest()
    (page / "index.html").write_text(f'<!DOCTYPE html><a href="{name}#sha256={digest}">{name}</a>')


def zipped_pip() -> bytes:
    """Return the pip of this environment as one file, from which Python can run it."""
    spec = find_spec("pip")
    assert spec is not None
    assert spec.origin is not None
    package, archive = Path(spec.origin).parent, io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        for path in package.rglob("*"):
            if path.is_file() and path.suffix not in {".pyc", ".exe"}:
                written.write(path, path.relative_to(package.parent))
    return archive.getvalue()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve a package index, and yield its port."""
    folder = tmp_path_factory.mktemp("index")
    write_index(folder)
    (folder / "page.txt").write_text("from outside")
    with serving(folder) as port:
        yield port


def settings(port: int, driver: str = "bubblewrap") -> dict[str, str]:
    """Return the settings with which commands may reach a server on loopback."""
    return {
        **settings_of(driver),
        "BERTH_EXEC__EGRESS__PORTS": f"[{port}]",
        "BERTH_EXEC__EGRESS__PRIVATE_NETWORKS": f'["{HOST}"]',
    }


@pytest.fixture(scope="module", params=DRIVERS)
def berth(
    index: int, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BerthProcess]:
    """Run a Berth that lets commands reach the index, with each driver."""
    folder = tmp_path_factory.mktemp("berth") / "data"
    with running_berth("up", folder, environ=settings(index, request.param)) as berth:
        yield berth


@pytest.fixture
def client(berth: BerthProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{berth.ready['rest']}/v1", headers=berth.authorization(), timeout=60) as client:
        yield client


def container(client: httpx2.Client, policy: dict[str, object] | None) -> str:
    """Return the id of a new container with a network policy."""
    body: dict[str, object] = {"name": "box", "provider": "groq", **({"network_policy": policy} if policy else {})}
    created: str = client.post("/containers", json=body).json()["id"]
    return created


def run(client: httpx2.Client, container: str, *argv: str) -> Any:
    """Run a program; return the result."""
    answer = client.post(f"/containers/{container}/execs", json={"argv": argv, "env": THROUGH_PROXY})
    assert answer.status_code == 200, answer.text
    return answer.json()


def allowing(*domains: str) -> dict[str, object]:
    """Return the policy for some domains."""
    return {"type": "allowlist", "allowed_domains": domains}


def test_an_allowed_host_is_reached_and_others_are_refused(client: httpx2.Client, index: int) -> None:
    """Python fetches a page from an allowed host; another host and another port are a 403 and in the result."""
    box = container(client, allowing(HOST))
    urls = [f"http://{HOST}:{index}/page.txt", "http://other.example/", f"https://{HOST}:8443/"]
    done = run(client, box, "python3", "-c", FETCH, *urls)
    passed, refused, tunnel = done["stdout"].splitlines()
    assert passed == "from outside"
    assert refused == ("403 Berth refused other.example:80: it is not one of the allowed domains of the container.")
    assert "403 Forbidden" in tunnel
    assert done["network_refusals"] == ["other.example:80", f"{HOST}:8443"]
    (listed,) = client.get(f"/containers/{box}/execs").json()["data"]
    assert listed["network_refusals"] == done["network_refusals"]


def test_the_proxy_is_the_only_way_out(client: httpx2.Client, index: int) -> None:
    """With an allowlist, sockets reach neither the host nor the internet, and no name is resolved inside."""
    done = run(client, container(client, allowing(HOST)), "python3", "-c", RAW.replace("PORT", str(index)))
    assert done["stdout"].split() == ["refused"] * 6, done


@pytest.mark.parametrize("policy", [None, {"type": "disabled"}])
def test_without_an_allowlist_there_is_no_proxy(policy: dict[str, object] | None, client: httpx2.Client) -> None:
    """Neither the variables nor the port of the proxy are there."""
    source = "import os, socket; print('HTTP_PROXY' in os.environ); socket.create_connection(('127.0.0.1', 3128), 2)"
    done = run(client, container(client, policy), "python3", "-c", source)
    assert (done["stdout"], done["outcome"]["exit_code"]) == ("False\n", 1)
    assert "Connection refused" in done["stderr"]


def test_pip_installs_from_an_allowed_index(client: httpx2.Client, index: int) -> None:
    """A wheel of a package index on the allowlist is installed and can be imported."""
    box = container(client, allowing(HOST))
    client.post(f"/containers/{box}/files", files={"file": ("pip.zip", zipped_pip())}).raise_for_status()
    command = (
        "mv *pip.zip /tmp/pip.zip && PYTHONPATH=/tmp/pip.zip python3 -m pip install --no-cache-dir -q"
        f" --disable-pip-version-check --index-url http://{HOST}:{index}/simple --target /mnt/data/packages tiny"
        " && PYTHONPATH=packages python3 -c 'import tiny; print(tiny.WORD)'"
    )
    done = run(client, box, "sh", "-c", command)
    assert done["stdout"] == "tiny works\n", done["stderr"]
    assert done["network_refusals"] == []


def test_the_proxy_ends_with_berth(index: int, tmp_path: Path) -> None:
    """If Berth is killed during a command, neither the command nor the process of the proxy is left."""
    mark = f"[{index}, 1]"
    environ = settings(index) | {"BERTH_EXEC__EGRESS__PORTS": mark}
    with running_berth("up", tmp_path / "data", environ=environ) as berth:
        body = {"name": "box", "provider": "groq", "network_policy": allowing(HOST)}
        _, made = berth.call("POST", "/v1/containers", body)
        berth.call("POST", f"/v1/containers/{made['id']}/execs", {"command": "sleep 60", "background": True})
        wait_until(lambda: processes_with(mark))
        berth.process.kill()
        berth.process.wait()
        wait_until(lambda: not processes_with(mark))


def test_connections_beyond_those_that_are_possible_wait(client: httpx2.Client, index: int) -> None:
    """A command that opens more than 64 connections at a time is answered on each, sooner or later."""
    source = (
        "import socket\n"
        "links = [socket.create_connection(('127.0.0.1', 3128), 30) for _ in range(100)]\n"
        f"request = b'GET http://{HOST}:{index}/page.txt HTTP/1.0\\r\\n\\r\\n'\n"
        "for link in links: link.sendall(request)\n"
        "print(sum(link.makefile('rb').readline().split()[1] == b'200' for link in links))"
    )
    done = run(client, container(client, allowing(HOST)), "python3", "-c", source)
    assert (done["stdout"], done["stderr"], done["network_refusals"]) == ("100\n", "", [])


@has_sessions
def test_a_session_reaches_the_network(client: httpx2.Client, index: int) -> None:
    """Each of its programs has a way to the allowed hosts, and is told what it was refused itself."""
    box = container(client, allowing(HOST))
    open_it = f"import http.client\nlink = http.client.HTTPConnection('127.0.0.1', 3128)\nurl = 'http://{HOST}:{index}/page.txt'"
    fetch = "link.request('GET', url)\nprint(link.getresponse().read().decode())"
    other = "link.close()\nlink.request('GET', 'http://other.example/')\nprint(link.getresponse().status)"
    ran = [program(client, box, source) for source in (f"{open_it}\n{fetch}", fetch, f"{other}\nlink.close()", other)]
    assert [done["stdout"] for done in ran] == ["from outside\n", "from outside\n", "403\n", "403\n"]
    assert [done.get("network_refusals", []) for done in ran] == [[], [], ["other.example:80"], ["other.example:80"]]
    assert not ran[-1]["session_restarted"]


@has_sessions
def test_connections_that_a_program_keeps_leave_room_for_the_next(client: httpx2.Client, index: int) -> None:
    """The next program of a session reaches the network, though the one before has not closed its 64 connections."""
    box = container(client, allowing(HOST))
    keep = "import socket\nkept = [socket.create_connection(('127.0.0.1', 3128)) for _ in range(64)]"
    assert program(client, box, keep)["outcome"]["exit_code"] == 0
    fetch = "import http.client\nlink = http.client.HTTPConnection('127.0.0.1', 3128)\n"
    fetch += f"link.request('GET', 'http://{HOST}:{index}/page.txt')\nprint(link.getresponse().read().decode())"
    done = program(client, box, fetch)
    assert done["stdout"] == "from outside\n", done


@has_sessions
def test_a_session_without_an_allowlist_has_no_proxy(client: httpx2.Client) -> None:
    """Neither the variables nor the port of the proxy are there."""
    source = "import os, socket\nprint('HTTP_PROXY' in os.environ)\nsocket.create_connection(('127.0.0.1', 3128), 2)"
    done = program(client, container(client, None), source)
    assert (done["stdout"], done["outcome"]["exit_code"]) == ("False\n", 1)
    assert "Connection refused" in done["stderr"]


def program(client: httpx2.Client, container: str, source: str) -> Any:
    """Run a program in a session; return the result."""
    code = {"language": "python", "source": source, "session": "default"}
    answer = client.post(f"/containers/{container}/execs", json={"code": code})
    assert answer.status_code == 200, answer.text
    return answer.json()
