"""The official OpenAI SDK for Node, and stubs that Node generates from the contract."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

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
