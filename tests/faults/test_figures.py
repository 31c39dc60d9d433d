"""Figures of matplotlib, which is installed into a runtime for that: with it they are files that the result names."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.measuring.soak import soak, times
from support.servers.process import BerthProcess, running_berth

RUNTIME = os.environ.get("BERTH_TEST_RUNTIME")
"""A folder of `berth runtime create` with matplotlib, which spares to make one."""
pytestmark = [
    soak,
    pytest.mark.skipif(times(0, 1) == 0 and RUNTIME is None, reason="to install matplotlib takes half a minute"),
]
TWO = "import matplotlib.pyplot as plt\nfor n in (1, 2):\n    plt.figure()\n    plt.plot([n, 2])\nplt.show()"
ALONE = "from matplotlib.figure import Figure\nfigure = Figure()\nfigure.subplots().plot([1, 2])\nfigure"


def run(berth: BerthProcess, container: str, source: str, **code: str) -> Any:
    """Run a program; return its result."""
    body = {"code": {"language": "python", "source": source, **code}, "timeout_ms": 100_000}
    status, done = berth.call("POST", f"/v1/containers/{container}/execs", body)
    assert (status, done["stderr"], done["outcome"]) == (200, "", {"type": "exit", "exit_code": 0}), done
    return done


def test_figures_are_displayed(tmp_path: Path) -> None:
    """Open figures are PNG files in the order in which they were made, and closed; no warning is printed."""
    folder = Path(RUNTIME or tmp_path / "runtime")
    if RUNTIME is None:
        command = [sys.executable, "-m", "berth", "runtime", "create", str(folder), "matplotlib"]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
    environ = {"BERTH_EXEC__DRIVER": "auto", "BERTH_EXEC__RUNTIME": str(folder)}
    with running_berth("up", tmp_path / "data", environ=environ) as berth:
        _, made = berth.call("POST", "/v1/containers", {"name": "box", "provider": "groq"})
        for code, names in (({}, [1, 2]), ({"session": "default"}, [3, 4])):
            done = run(berth, made["id"], TWO, **code)
            paths = {file["id"]: file["path"] for file in done["files"]}
            assert [paths[shown["file_id"]] for shown in done["displays"]] == [
                f"/mnt/data/figure-{number}.png" for number in names
            ]
            assert {shown["mime_type"] for shown in done["displays"]} == {"image/png"}
        again = run(berth, made["id"], "len(plt.get_fignums())", session="default")
        assert (again["stdout"], again.get("displays", [])) == ("0\n", [])
        alone = run(berth, made["id"], ALONE, session="default")
        assert "Figure" in alone["stdout"]
        (file,) = alone["files"]
        url = f"{berth.ready['rest']}/v1/containers/{made['id']}/files/{file['id']}/content"
        assert httpx2.get(url, headers=berth.authorization(), timeout=30).content.startswith(b"\x89PNG")
