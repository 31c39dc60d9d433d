"""The official OpenAI SDK for Go, and stubs that Go generates from the contract."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.servers.berth import KEY_A, Berth
from toolchains.building import (
    PROBE_SECONDS,
    SOURCES,
    TOUR_SECONDS,
    built,
    compile_,
    download,
    environment,
    generate,
    toolchain,
    tour,
)

FAST = ("-gcflags=all=-N -l -dwarf=false", "-ldflags=-s -w", "-tags=grpcnotrace", "-buildvcs=false")
"""Do not optimise, write no debug information and leave out tracing: this halves the time of a build."""

PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go", "google.golang.org/grpc/cmd/protoc-gen-go-grpc")

pytestmark = pytest.mark.timeout(600)


def go_environment(**variables: str) -> dict[str, str]:
    """Return an environment in which go takes the modules of go.mod and no other toolchain than this."""
    settings = {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0", "GOGC": "400"}
    return environment(**settings | variables)


@pytest.fixture(scope="module")
def go() -> str:
    """Return the version of Go; skip where it is missing."""
    command = [toolchain("go"), "env", "GOVERSION"]
    env = go_environment()
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=TOUR_SECONDS, check=True
    ).stdout.strip()


def needs(name: str, version: str) -> None:
    """Skip the test if this Go is older than the one that the module `name` asks for."""
    asked = re.search(r"^go (\d+)\.(\d+)", (SOURCES / name / "go.mod").read_text(), re.MULTILINE)
    found = re.match(r"go(\d+)\.(\d+)", version)
    assert asked is not None
    if found is not None and (int(found[1]), int(found[2])) < (int(asked[1]), int(asked[2])):
        pytest.skip(f"this tour needs Go {asked[1]}.{asked[2]} or newer, and this is {version}")


def fetch(work: Path) -> None:
    """Download the modules; the first, small request finds out whether the registry answers."""
    module = next(line for line in (work / "go.mod").read_text().splitlines() if line.endswith("// indirect"))
    name, version = module.split()[:2]
    download("go", "list", "-m", f"{name}@{version}", work=work, env=go_environment(), seconds=PROBE_SECONDS)
    download("go", "mod", "download", work=work, env=go_environment())


def compile_tour(work: Path) -> None:
    compile_("go", "build", *FAST, "-o", "tour", ".", work=work, env=go_environment(GOPROXY="off"))


def build(work: Path) -> None:
    fetch(work)
    compile_tour(work)


def generate_and_build(work: Path) -> None:
    fetch(work)
    plugins = work / "bin"
    compile_("go", "install", *FAST, *PLUGINS, work=work, env=go_environment(GOPROXY="off", GOBIN=str(plugins)))
    generate(work, plugins, *("--go_out=.", "--go_opt=module=berth", "--go-grpc_out=.", "--go-grpc_opt=module=berth"))
    compile_tour(work)


@pytest.fixture(scope="module")
def sdk(go: str) -> Path:
    """Build the tour with the SDK."""
    needs("go_sdk", go)
    return built("go_sdk", go, build)


@pytest.fixture(scope="module")
def stubs(go: str) -> Path:
    """Generate the stubs and build the tour with them."""
    needs("go_grpc", go)
    return built("go_grpc", go, generate_and_build, stubs=True)


def test_the_sdk_for_go(sdk: Path, hosted: Berth) -> None:
    """The SDK creates, pages, uploads, downloads and deletes, and returns its own error for each refusal."""
    rest = {"OPENAI_BASE_URL": f"{hosted.rest}/v1", "OPENAI_API_KEY": KEY_A}
    seen = tour("./tour", work=sdk, **rest)
    assert seen["bytes"] == [8, 3_000_000, 8]
    missing, stranger, wrong = seen["errors"]
    assert (missing["status"], missing["message"]) == (404, f"Container {seen['container']} not found.")
    assert (stranger["status"], stranger["code"]) == (401, "virtual_key_not_found")
    assert (wrong["status"], wrong["code"], wrong["param"]) == (400, "invalid_value", "memory_limit")


@pytest.mark.parametrize("port", ["grpc", "rest"])
def test_stubs_for_go(stubs: Path, hosted: Berth, port: str) -> None:
    """Generated stubs make the tour, directly and through Envoy, and find the standard details of an error."""
    address = hosted.grpc if port == "grpc" else urlsplit(hosted.rest).netloc
    seen = tour("./tour", work=stubs, BERTH_ADDRESS=address, BERTH_KEY=KEY_A)
    assert (seen["bytes"], seen["content_type"]) == (600_000, "application/x-data")
    assert seen["messages"] > 1
    assert (seen["code"], seen["reason"], seen["domain"]) == ("NotFound", "CONTAINER_NOT_FOUND", "berth.v1")
