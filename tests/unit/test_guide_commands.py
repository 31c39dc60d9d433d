"""Lines of the pages for tools that cannot do their work in a test: their syntax, their options and their files."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.deployments.helm import HELM, needs_helm
from support.servers.empty_database import put_empty_database

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "deploy|docs|envoy|proto|requirements|tests"
MADE = {"deploy/docker/replicas/secrets/team_a", "deploy/kubernetes/sidecar/envoy.yaml"}
"""Files that other lines of the same pages make."""
SYSTEMD = "docs/deployment/systemd.md"
WITHOUT_SERVER = ("--dry-run=client", "-o", "yaml")


def needs(program: str) -> pytest.MarkDecorator:
    """Return the mark that skips a test where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"`{program}` is not on PATH")


def lines(page: Path) -> Iterator[str]:
    """Yield each line that a page shows after a prompt, with those that continue it."""
    for block in re.findall(r"^ *```console\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from re.findall(r"^ *[$#] (.+)$", block.replace("\\\n", " "), re.MULTILINE)


ALL = [(page, line) for page in PAGES for line in lines(page)]


def of(program: str) -> list[str]:
    """Return the lines that run a program, or begin with a variable."""
    return [line for _, line in ALL if shlex.split(line, comments=True)[0] == program]


def ran(*command: str, typed: str = "", folder: Path = ROOT) -> str:
    """Run a command in a folder, the root of the repository unless given; return what it prints."""
    done = subprocess.run(command, cwd=folder, input=typed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_every_line_is_shell() -> None:
    """The shell can parse each of them, and there are many."""
    assert len(ALL) > 40
    ran("bash", "-n", typed="\n".join(line for _, line in ALL))


def test_every_file_that_a_line_names_exists() -> None:
    """Each path into the repository is one that is there, or that another line makes."""
    named = {
        path for _, line in ALL for path in re.findall(rf"(?:(?<=file://)|(?<![\w/.]))(?:{FOLDERS})/[\w./@-]+", line)
    }
    assert len(named) > 8
    assert {path for path in named - MADE if not (ROOT / path).exists()} == set()


@needs("docker")
@pytest.mark.parametrize("line", [line for line in of("docker") if line.split()[1] != "compose"])
def test_options_of_docker_exist(line: str) -> None:
    """Each option of a line is one that its command has."""
    _, command, *words = shlex.split(line)
    known = re.findall(r"--[\w-]+|(?<=\s)-\w\b", ran("docker", command, "--help"))
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= set(known)


@needs("kubectl")
@pytest.mark.parametrize("line", [line for line in of("kubectl") if " apply -f " not in line])
def test_what_kubectl_is_told_to_do_is_possible(line: str, tmp_path: Path) -> None:
    """What a line creates, labels or applies can be made without a cluster; tests of the mesh check what `-f` sends."""
    shutil.copytree(ROOT / "deploy" / "kubernetes", tmp_path / "deploy" / "kubernetes")
    words = shlex.split(re.sub(r"\$\(.*?\)|\$[A-Z_]+", "secret", line))
    if "apply" in words:
        if "sidecar" in words[-1]:
            make_configuration_of_envoy(tmp_path)
        made = ran("kubectl", "kustomize", words[-1], folder=tmp_path)
    elif "label" in words:
        namespace = ran("kubectl", "create", "namespace", words[3], *WITHOUT_SERVER)
        made = ran("kubectl", "label", "--local", "-f", "-", words[-1], "-o", "yaml", typed=namespace)
        assert words[-1].partition("=")[0] in yaml.safe_load(made)["metadata"]["labels"]
    else:
        made = ran(*words, *WITHOUT_SERVER)
    assert all({"apiVersion", "kind", "metadata"} <= document.keys() for document in yaml.safe_load_all(made))


def make_configuration_of_envoy(folder: Path) -> None:
    """Run the line that writes the configuration of Envoy for the sidecar."""
    (line,) = (line for line in of("BERTH_AUTH__VIRTUAL_KEYS=[]") if "sidecar/envoy.yaml" in line)
    ran("bash", "-euc", f'berth() {{ "{sys.executable}" -m berth "$@"; }}\n{line}', folder=folder)


@needs_helm
@pytest.mark.parametrize("line", of("helm"))
def test_what_helm_is_told_to_do_is_possible(line: str) -> None:
    """The chart is rendered with the values of a line."""
    assert HELM is not None
    words = ["template" if word == "install" else word for word in shlex.split(line)[1:]]
    assert "kind: Deployment" in ran(HELM, *words)


@needs("systemd-analyze")
def test_systemd_knows_what_the_unit_says(tmp_path: Path) -> None:
    """Its tool finds no fault in the unit, nor in it with the lines that the page adds for commands of tenants."""
    unit = (ROOT / "deploy" / "systemd" / "berth@.service").read_text()
    (added,) = re.findall(r"^```ini\n(.*?)^```$", (ROOT / SYSTEMD).read_text(), re.DOTALL | re.MULTILINE)
    path = tmp_path / "berth@0.1.0.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.MULTILINE))
    (tmp_path / f"{path.name}.d").mkdir()
    (tmp_path / f"{path.name}.d" / "commands.conf").write_text(added)
    verify = ["systemd-analyze", "verify", "--man=no", str(path)]
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(verify, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(tmp_path) in line]) == (0, [])


@needs("sqlite3")
def test_the_line_for_sqlite(tmp_path: Path) -> None:
    """The line that lets the file shrink is one that SQLite takes, on a database of Berth."""
    (tmp_path / ".berth").mkdir()
    put_empty_database(tmp_path / ".berth" / "berth.db")
    (line,) = of("sqlite3")
    ran("bash", "-euc", line, folder=tmp_path)
    assert ran("sqlite3", ".berth/berth.db", "PRAGMA auto_vacuum", folder=tmp_path) == "2\n"
