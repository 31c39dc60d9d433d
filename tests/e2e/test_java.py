"""A gRPC client in Java, with the settings that the documentation recommends."""

import subprocess
from pathlib import Path

import pytest

from support.clients.steady import assert_survives_restart
from support.guides import blocks, execute
from support.sandboxes.needed import needs_sandbox
from support.servers.berth import Berth
from toolchains.building import TOUR_SECONDS, built, compile_, download, environment, toolchain

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
QUIET = ("mvn", "-q", "-B")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def java() -> str:
    """Return the version of the JDK; skip where it or Maven is missing."""
    program = toolchain("javac", "java", "mvn")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=TOUR_SECONDS, check=True)
    return version.stdout


@pytest.fixture(scope="module")
def client(java: str) -> Path:
    """Download the libraries of gRPC and compile the client."""
    return built("java_grpc", java, build)


@pytest.fixture(scope="module")
def sdk(java: str) -> Path:
    """Download the SDK."""
    return built("java_sdk", java, fetch)


def fetch(work: Path) -> None:
    download(*QUIET, f"{PLUGIN}:copy-dependencies", "-DoutputDirectory=lib", work=work, env=environment())


def build(work: Path) -> None:
    fetch(work)
    compile_("javac", "-cp", "lib/*", "-d", "classes", "Steady.java", work=work, env=environment())


@needs_sandbox
def test_the_guide_to_the_sdk(sdk: Path, newcomer: Berth, tmp_path: Path) -> None:
    """The program of the guide compiles, runs a command, downloads its file and reads an error."""
    (tmp_path / "Sales.java").write_text(blocks("docs/sdks.md", "java", under="Java")[0])
    compile_("javac", "-cp", f"{sdk}/lib/*", "-d", ".", "Sales.java", work=tmp_path, env=environment())
    printed = execute(newcomer, ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{sdk}/lib/*:.", "Sales"], folder=tmp_path)
    assert '"stdout":"3\\n"' in printed
    assert "/mnt/data/sorted.csv March,80\nFebruary,55\nJanuary,30\n" in printed
    assert printed.endswith("invalid_value memory_limit\n")


def test_a_java_client_survives_a_restart(client: Path, tmp_path: Path) -> None:
    """With retries by service config, wait-for-ready and a deadline, no call fails and none is done twice."""
    assert_survives_restart(tmp_path, "java", "-cp", "lib/*:classes", "Steady", work=client)
