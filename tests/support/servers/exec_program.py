"""A `berth up` or `berth serve` for tests, with the fake sandbox: commands run without any isolation.

The composition is that of the product; only the driver is another one. It is run as a program.
"""

import sys
from argparse import ArgumentParser
from functools import partial
from pathlib import Path

from berth.app.execs import SandboxDriver
from berth.commands.options import load_config
from berth.commands.service.serving import serve_until_stopped
from berth.config import Config
from support.fakes.sandbox import FakeSandbox

TESTS = Path(__file__).parents[2]
_START = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from support.servers.exec_program import main; main()"
PROGRAM = (sys.executable, "-c", _START)
"""The command line of this program."""


def fake_driver(_config: Config, _folder: Path) -> SandboxDriver:
    """Return the fake driver, which claims to share the kernel as bubblewrap does."""
    return SandboxDriver(FakeSandbox(), shares_kernel=True)


def main() -> None:
    """Serve as `berth up` and `berth serve` do."""
    parser = ArgumentParser()
    parser.add_argument("command", choices=["up", "serve"])
    parser.add_argument("--show-key", action="store_true")
    for option, kind in (("--config", Path), ("--data-dir", Path), ("--rest-port", int), ("--grpc-port", int)):
        parser.add_argument(option, type=kind)
    given = parser.parse_args()
    load = partial(load_config, given.config, given.data_dir, rest_port=given.rest_port, grpc_port=given.grpc_port)
    rest = given.command == "up"
    serve_until_stopped(load, rest=rest, show_banner=False, show_key=True, workers=1, sandbox=fake_driver)
