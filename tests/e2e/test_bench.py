"""The benchmark runs, and what it writes has what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent.parent
ROW = "retrieve file, hosted, gRPC, 16 callers"


def test_one_row_is_measured_and_reported(tmp_path: Path) -> None:
    """The table, the JSON and the picture have the figures of Berth and of what it is compared with."""
    written, drawn = tmp_path / "bench.json", tmp_path / "bench.svg"
    options = ["--only", ROW, "--rounds", "1", "--seconds", "0.05", "--json", str(written), "--svg", str(drawn)]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "main.py", *options],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        timeout=120,
    )
    subjects = json.loads(written.read_text())["rows"][ROW]["subjects"]
    assert set(subjects) == {"Berth", "empty grpc.aio"}
    assert all(figures[name]["median"] > 0 for figures in subjects.values() for name in ("calls/s", "service µs"))
    lines = done.stdout.splitlines()
    assert ROW in lines
    names = [line.split("  ")[1] for line in lines[lines.index(ROW) + 2 :]]
    # Beside other work, the generator may take more of a core than what it measures, which a last line then says.
    assert [name for name in names if not name.startswith("The generator was the limit")] == ["Berth", "empty grpc.aio"]
    assert ROW in "".join(ET.fromstring(drawn.read_text()).itertext())  # noqa: S314 - our own
