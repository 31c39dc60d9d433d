"""The files of the console: what in them comes from the contract."""

import re
from typing import Any

from berth.v1 import options_pb2
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.provider_pb2 import Provider
from berth.web.site import CONSOLE

LIMITS: Any = options_pb2.limits  # its stub does not declare it as an extension
FORMAT = (CONSOLE / "parts" / "format.js").read_text()


def listed(name: str) -> list[str]:
    """Return the texts in a list of the console."""
    start = FORMAT.index(f"{name} = [")
    return re.findall(r'"([^"]+)"', FORMAT[start : FORMAT.index("];", start)])


def test_the_providers_are_those_of_the_contract() -> None:
    """The console offers each provider, by its name in JSON."""
    assert listed("PROVIDERS") == [name.removeprefix("PROVIDER_").lower() for name in Provider.keys()[1:]]


def test_the_purposes_are_those_of_the_contract() -> None:
    """The console offers each purpose that a file can have."""
    purpose = CreateFileRequest.DESCRIPTOR.fields_by_name["purpose"]
    assert listed("PURPOSES") == list(purpose.GetOptions().Extensions[LIMITS].values)


def test_each_module_is_loaded_at_once() -> None:
    """The page names every module, so that the browser need not find one in another."""
    page = (CONSOLE / "index.html").read_text()
    for file in CONSOLE.rglob("*.js"):
        assert f'"console/{file.relative_to(CONSOLE)}"' in page
