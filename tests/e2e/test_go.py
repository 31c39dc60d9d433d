"""The official OpenAI SDK for Go, stubs that Go generates from the contract, and grpcurl, which is written in Go."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.clients.steady import assert_survives_restart
from support.guides import addressed, blocks, execute
from support.sandboxes.needed import needs_sandbox
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
GRPCURL = "github.com/fullstorydev/grpcurl"

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


@pytest.fixture(scope="module")
def grpcurl(request: pytest.FixtureRequest) -> Path:
    """Return the folder with grpcurl: the one on PATH, or else one that is built once."""
    if found := shutil.which("grpcurl"):
        return Path(found).parent
    go: str = request.getfixturevalue("go")
    needs("go_grpcurl", go)
    return built("go_grpcurl", go, build_grpcurl)


def build_grpcurl(work: Path) -> None:
    """Build the program of the module, without xDS: the rest takes a fifth of the time."""
    fetch(work)
    list_folder = ("go", "list", "-m", "-f", "{{.Dir}}", GRPCURL)
    env = go_environment(GOPROXY="off")
    folder = subprocess.run(list_folder, cwd=work, env=env, capture_output=True, text=True, check=True).stdout.strip()
    for source in Path(folder, "cmd", "grpcurl").glob("*.go"):
        (work / source.name).write_text(source.read_text().replace('_ "google.golang.org/grpc/xds"', ""))
    compile_("go", "build", *FAST, "-o", "grpcurl", ".", work=work, env=env)


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


@needs_sandbox
def test_the_guide_to_the_sdk(sdk: Path, newcomer: Berth, tmp_path: Path) -> None:
    """The program of the guide builds, runs a command, downloads its file and reads an error."""
    shutil.copy(sdk / "go.mod", tmp_path)
    shutil.copy(sdk / "go.sum", tmp_path)
    (tmp_path / "main.go").write_text(blocks("docs/sdks.md", "go", under="Go")[0])
    compile_tour(tmp_path)
    printed = execute(newcomer, ["./tour"], folder=tmp_path)
    assert printed == "3\n\n/mnt/data/sorted.csv March,80\nFebruary,55\nJanuary,30\n\ninvalid_value memory_limit\n"


def test_the_guide_to_grpc(stubs: Path, newcomer: Berth, tmp_path: Path) -> None:
    """The lines of the guide generate stubs, with which its program builds, uploads and downloads."""
    shutil.copy(stubs / "go.mod", tmp_path)
    shutil.copy(stubs / "go.sum", tmp_path)
    python = f'"{sys.executable}" -m'
    tools = f'berth() {{ {python} berth "$@"; }}\nprotoc() {{ {python} grpc_tools.protoc "$@"; }}\n'
    (lines,), (program,) = (blocks("docs/grpc.md", language, under="Go") for language in ("sh", "go"))
    execute(newcomer, ["bash", "-euc", tools + lines], folder=tmp_path, path=str(stubs / "bin"))
    (tmp_path / "main.go").write_text(addressed(program, newcomer))
    compile_tour(tmp_path)
    assert execute(newcomer, ["./tour"], folder=tmp_path) == "/mnt/data/hello.txt hello\n"


@needs_sandbox
def test_the_guide_to_grpcurl(grpcurl: Path, newcomer: Berth, tmp_path: Path) -> None:
    """The lines create a container, run a command in it, fetch its file and delete the container."""
    (lines,) = blocks("docs/grpc.md", "sh", under="grpcurl")
    printed = execute(newcomer, ["bash", "-euc", addressed(lines, newcomer)], folder=tmp_path, path=str(grpcurl))
    assert "berth.v1.ContainerExecService\n" in printed
    assert '"path": "/mnt/data/hello.txt"' in printed
    assert '"data": "aGVsbG8K"' in printed
    assert '"deleted": true' in printed


def test_a_go_client_survives_a_restart(stubs: Path, tmp_path: Path) -> None:
    """With retries by service config, wait-for-ready and a deadline, no call fails and none is done twice."""
    assert_survives_restart(tmp_path, "./tour", "steady", work=stubs)
