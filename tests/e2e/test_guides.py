"""The guides in docs/ are true: their commands and programs in shell and Python run unchanged."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from support.guides import addressed, blocks, execute, run
from support.providers.azure import AZURE_KEY, StrictAzure, strict_azure
from support.sandboxes.needed import needs_sandbox
from support.servers.background import in_background
from support.servers.berth import UNCOUNTED, Berth, running
from support.servers.chain import upstream

PYTHON = [sys.executable, "-c"]
SHELL = ["bash", "-euc"]
BERTH = f'berth() {{ "{sys.executable}" -m berth "$@"; }}\n'
"""What `berth` is in the shell of a guide."""
CONTAINER, FILE = r"cntr_[0-9a-f]{48}", r"cfile_[0-9a-f]{32}"


@needs_sandbox
def test_quick_start(newcomer: Berth) -> None:
    """Its steps, one after the other, end with the sorted table and a deleted container."""
    printed = run(newcomer, SHELL, "\n".join(blocks("docs/quick-start.md", "sh")))
    assert re.match(rf"{CONTAINER}\n", printed)
    assert '"path":"/mnt/data/sales.csv"' in printed
    assert "January,30\nFebruary,55\nMarch,80\n" in printed
    assert '"deleted":true' in printed


@needs_sandbox
def test_sdk_for_python(newcomer: Berth) -> None:
    """The program, with the variables of the page, runs a command, downloads its file and reads an error."""
    (variables,) = blocks("docs/sdks.md", "sh")
    (program,) = blocks("docs/sdks.md", "python", under="Python")
    printed = run(newcomer, ["bash", "-euc", f'{addressed(variables, newcomer)}\nexec "$@"', "-", *PYTHON], program)
    assert printed == (
        "{'type': 'exit', 'exit_code': 0} 3\n\n"
        "/mnt/data/sorted.csv March,80\nFebruary,55\nJanuary,30\n\n"
        "invalid_value memory_limit\n"
    )


def test_grpc_in_python(newcomer: Berth) -> None:
    """The program prints the path and the content of its file."""
    (program,) = blocks("docs/grpc.md", "python")
    assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-hello.txt b'hello'\n", run(newcomer, PYTHON, program))


def test_from_bifrost(newcomer: Berth) -> None:
    """Requests as Bifrost has them create a container and list it."""
    created, listed = re.findall(CONTAINER, run(newcomer, SHELL, blocks("docs/migrating-from-bifrost.md", "sh")[0]))[:2]
    assert created == listed


def test_from_litellm(newcomer: Berth) -> None:
    """The program gets the memory that it asked for, and a list of the name that it asked for."""
    printed = run(newcomer, PYTHON, blocks("docs/migrating-from-litellm.md", "python")[0])
    assert printed == "4g ['report']\n"


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        ("containers", "sk-1234", 401, "virtual_key_not_found"),
        ("containers", None, 401, "virtual_key_required"),
        ("containers?limit=abc", "", 400, "invalid_type"),
        ("containers?limit=101", "", 400, "integer_above_max_value"),
        ("chat/completions", "", 404, "unknown_url"),
        ("files?x-model-provider=openai", "", 400, "unknown_parameter"),
    ],
)
def test_what_tables_of_differences_say(newcomer: Berth, path: str, key: str | None, status: int, code: str) -> None:
    """What the pages about migration say about errors is what is answered, to the first key unless there is another."""
    headers = {} if key is None else {"authorization": f"Bearer {key or newcomer.virtual_key}"}
    answer = httpx2.get(f"{newcomer.rest}/v1/{path}", headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@needs_sandbox
def test_commands_of_the_api(newcomer: Berth) -> None:
    """A command sorts a file of the container, and a program in a session counts its lines."""
    setup = """
        BERTH=http://127.0.0.1:8080 AUTH="Authorization: Bearer $KEY"
        CONTAINER=$(curl -s $BERTH/openai/v1/containers -H "$AUTH" -H "Content-Type: application/json" \\
            -d '{"name": "api"}' | grep -o 'cntr_[0-9a-f]*')
        printf 'b\\nc\\na\\n' > names.txt
        curl -s "$BERTH/v1/containers/$CONTAINER/files" -H "$AUTH" -F file_path=names.txt -F file=@names.txt
    """
    printed = run(newcomer, SHELL, setup + "\n".join(blocks("docs/api.md", "bash")))
    assert re.findall(r'"stdout":"(.*?)"', printed) == [r"3 sorted.txt\n", r"3\n"]


@needs_sandbox
def test_mcp(newcomer: Berth) -> None:
    """The program calls tools, and the line by hand creates a container."""
    (program,) = blocks("docs/mcp.md", "python")
    assert run(newcomer, PYTHON, program) == "42\n\n"
    (by_hand,) = (lines for lines in blocks("docs/mcp.md", "sh") if lines.startswith("curl"))
    assert re.search(CONTAINER, run(newcomer, SHELL, by_hand))


def test_usage(newcomer: Berth) -> None:
    """The line returns a list."""
    assert '"object":"list"' in run(newcomer, SHELL, blocks("docs/usage.md", "sh")[0])


def test_mesh(newcomer: Berth, tmp_path: Path) -> None:
    """The command accepts the configuration, and prints a filter that says the port, and what is to be forwarded."""
    (settings, annotation, manager), (lines,) = (blocks("docs/deployment/mesh.md", each) for each in ("yaml", "sh"))
    (tmp_path / "berth.yaml").write_text(settings)
    execute(newcomer, [*SHELL, BERTH + lines], folder=tmp_path)
    resource = yaml.safe_load((tmp_path / "berth-rest.yaml").read_text())
    assert resource["kind"] == "EnvoyFilter"
    patch = resource["spec"]["configPatches"][0]
    assert patch["match"]["listener"]["portNumber"] == 50051
    assert yaml.safe_load(manager).items() <= patch["patch"]["value"]["typed_config"].items()
    by_annotation = yaml.safe_load(yaml.safe_load(annotation)["proxy.istio.io/config"])["proxyHeaders"]
    assert [*by_annotation.values()] == [*yaml.safe_load(manager).values()]


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictAzure]:
    """Run an Azure that minds how it is asked."""
    folder = tmp_path_factory.mktemp("azure")
    with upstream(folder, inside=UNCOUNTED) as hosted, in_background(strict_azure(hosted.rest)) as azure:
        yield azure


@pytest.fixture(scope="module")
def before_azure(azure: StrictAzure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth with the configuration of the page."""
    (text,) = blocks("docs/azure.md", "yaml")
    text = text.replace("https://RESOURCE.openai.azure.com", azure.url).replace("env:AZURE_OPENAI_KEY", AZURE_KEY)
    with running(tmp_path_factory.mktemp("before-azure"), yaml.safe_load(text), inside=UNCOUNTED) as berth:
        yield berth


def test_azure(before_azure: Berth, azure: StrictAzure) -> None:
    """OpenAI's clients, the one for Azure too, work with the configuration, and Azure has nothing to complain about."""
    plain, dated = blocks("docs/azure.md", "python")
    assert run(before_azure, PYTHON, plain) == "hello\n"
    assert run(before_azure, PYTHON, dated) == "['report']\n"
    assert azure.complaints == []
