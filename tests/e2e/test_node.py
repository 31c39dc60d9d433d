"""The official OpenAI SDK for Node, and stubs that Node generates from the contract."""

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.clients.steady import assert_survives_restart
from support.guides import addressed, blocks, execute
from support.sandboxes.needed import needs_sandbox
from support.servers.berth import KEY_A, Berth
from toolchains.building import TOUR_SECONDS, built, download, environment, generate, toolchain, tour

OLDEST_NODE = 20
FETCH_MILLISECONDS = 5000
INSTALL = (
    *("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"),
    *("--fetch-retries=0", f"--fetch-timeout={FETCH_MILLISECONDS}"),
)
GOOGLE = (
    *(f"google/api/{name}.proto" for name in ("annotations", "client", "field_behavior", "http", "httpbody")),
    *("google/api/launch_stage.proto", "google/rpc/error_details.proto"),
)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def node() -> str:
    """Return the version of Node; skip where it is missing or too old for the tours."""
    program = toolchain("node", "npm")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=TOUR_SECONDS, check=True)
    if int(version.stdout.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"this tour needs Node {OLDEST_NODE} or newer, and this is {version.stdout.strip()}")
    return version.stdout


def install(work: Path) -> None:
    download(*INSTALL, work=work, env=environment())


def install_and_generate(work: Path) -> None:
    install(work)
    (work / "gen").mkdir()
    options = ("--es_out=gen", "--es_opt=target=js,import_extension=js")
    generate(work, work / "node_modules" / ".bin", *options, google=GOOGLE)


@pytest.fixture(scope="module")
def sdk(node: str) -> Path:
    """Install the SDK."""
    return built("node_sdk", node, install)


@pytest.fixture(scope="module")
def generator(node: str) -> Path:
    """Install the generator of clients with types, and TypeScript."""
    return built("node_typescript", node, install)


@pytest.fixture(scope="module")
def stubs(node: str) -> Path:
    """Install a gRPC client for Node and generate its stubs."""
    return built("node_grpc", node, install_and_generate, stubs=True)


def test_the_sdk_for_node(sdk: Path, hosted: Berth) -> None:
    """The SDK creates, pages, uploads, downloads and deletes, and throws its own class for each refusal."""
    rest = {"OPENAI_BASE_URL": f"{hosted.rest}/v1", "OPENAI_API_KEY": KEY_A}
    seen = tour("node", "tour.mjs", work=sdk, **rest)
    assert seen["bytes"] == [8, 3_000_000, 8]
    missing, stranger, wrong = seen["errors"]
    assert (missing["class"], missing["status"]) == ("NotFoundError", 404)
    assert missing["message"] == f"404 Container {seen['container']} not found."
    assert (stranger["class"], stranger["code"]) == ("AuthenticationError", "virtual_key_not_found")
    assert (wrong["class"], wrong["code"], wrong["param"]) == ("BadRequestError", "invalid_value", "memory_limit")


@pytest.mark.parametrize("port", ["grpc", "rest"])
def test_stubs_for_node(stubs: Path, hosted: Berth, port: str) -> None:
    """Generated stubs make the tour, directly and through Envoy, and find the standard details of an error."""
    address = hosted.grpc if port == "grpc" else urlsplit(hosted.rest).netloc
    seen = tour("node", "tour.mjs", work=stubs, BERTH_ADDRESS=address, BERTH_KEY=KEY_A)
    assert (seen["bytes"], seen["content_type"]) == (600_000, "application/x-data")
    assert seen["messages"] > 1
    assert (seen["code"], seen["reason"], seen["domain"]) == ("NotFound", "CONTAINER_NOT_FOUND", "berth.v1")


@needs_sandbox
def test_the_guide_to_the_sdk(sdk: Path, newcomer: Berth, tmp_path: Path) -> None:
    """The program of the guide runs a command, downloads its file and reads an error."""
    (tmp_path / "node_modules").symlink_to(sdk / "node_modules")
    (tmp_path / "sales.mjs").write_text(blocks("docs/sdks.md", "js", under="Node")[0])
    assert execute(newcomer, ["node", "sales.mjs"], folder=tmp_path) == (
        "{ type: 'exit', exit_code: 0 } 3\n\n"
        "/mnt/data/sorted.csv March,80\nFebruary,55\nJanuary,30\n\n"
        "invalid_value memory_limit\n"
    )


@needs_sandbox
def test_the_guide_to_typescript(generator: Path, newcomer: Berth, tmp_path: Path) -> None:
    """A client is generated from the document that Berth serves, its types fit, and the program makes its tour."""
    (tmp_path / "node_modules").symlink_to(generator / "node_modules")
    shutil.copy(generator / "package.json", tmp_path)
    for name, language in (("generate.mjs", "js"), ("tour.ts", "ts"), ("tsconfig.json", "json")):
        (text,) = blocks("docs/typescript.md", language)
        (tmp_path / name).write_text(addressed(text, newcomer))
    (lines,) = blocks("docs/typescript.md", "sh")
    install_line, generate_line = addressed(lines, newcomer).splitlines()
    names = {name.rpartition("@")[0] or name for name in install_line.split()[2:]}
    assert names == set(json.loads((generator / "package.json").read_text())["dependencies"])
    execute(newcomer, ["bash", "-euc", f"{generate_line}\nnode_modules/.bin/tsc"], folder=tmp_path)
    assert execute(newcomer, ["node", "tour.js"], folder=tmp_path) == (
        "/mnt/data/numbers.txt 6\nexit 3\n\n/mnt/data/sorted.txt 1\n2\n3\n\ntrue\n"
    )


def test_a_node_client_survives_a_restart(stubs: Path, tmp_path: Path) -> None:
    """With retries by service config, wait-for-ready and a deadline, no call fails and none is done twice."""
    assert_survives_restart(tmp_path, "node", "steady.mjs", work=stubs)
