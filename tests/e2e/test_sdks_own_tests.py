"""OpenAI's own tests of its SDK, through Envoy and Berth, with containers that Berth did not create."""

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from support.providers.plain import Plain, plain_provider
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth, running
from toolchains.building import download, environment

VERSION = version("openai")
DIRECT = "My API Key"
"""The key that the SDK's tests use."""
MINIMUM = 187
"""How many of its tests of containers and their files passed with version 3.54.0 before a server of any ids."""
TESTS = ("tests/api_resources/test_containers.py", "tests/api_resources/containers")
DOWNLOAD = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=openai", "--retries=0")
RUN_SECONDS = 100.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the SDK's source release; skip if the registry cannot be reached."""
    folder = tmp_path_factory.mktemp("sdk")
    download(*DOWNLOAD, f"openai=={VERSION}", work=folder, env=environment())
    with tarfile.open(folder / f"openai-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = session\n")
    return folder / f"openai-{VERSION}"


@pytest.fixture(scope="module")
def provider() -> Iterator[Plain]:
    """Run a provider that has any container."""
    with in_background(plain_provider()) as provider:
        yield provider


@pytest.fixture(scope="module")
def berth(provider: Plain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth in front of it, with a key that is reserved for the tenant of a virtual key."""
    openai = {
        "backend": "openai",
        "base_url": provider.url,
        "keys": [{"name": "of-a", "value": "sk-reserved", "tenant": "a"}],
    }
    auth = {"allow_direct_keys": True, "virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]}
    folder = tmp_path_factory.mktemp("berth")
    with running(folder, {"providers": {"openai": openai}, "auth": auth}) as berth:
        yield berth


@pytest.mark.parametrize(("key", "upstream"), [(DIRECT, DIRECT), (KEY_A, "sk-reserved")])
def test_they_pass(source: Path, berth: Berth, provider: Plain, key: str, upstream: str) -> None:
    """All of them pass, with a key of the caller's own and with one that is reserved for its tenant."""
    settings = source / "tests/conftest.py"
    text = settings.read_text()
    assert f'api_key = "{DIRECT}"' in text
    settings.write_text(text.replace(f'api_key = "{DIRECT}"', f'api_key = "{key}"'))
    provider.asked.clear()
    try:
        passed = _passed(source, f"{berth.rest}/openai/v1")
    finally:
        settings.write_text(text)
    assert passed >= MINIMUM
    assert {asked.key for asked in provider.asked} == {upstream}


def _passed(source: Path, url: str) -> int:
    """Run the tests against a server; return how many passed, and fail with what they print if one fails."""
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "../pytest.ini", "--rootdir=.")
    env = environment(TEST_API_BASE_URL=url)
    done = subprocess.run(
        [*command, *TESTS], cwd=source, env=env, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted is not None
    return int(counted[1])
