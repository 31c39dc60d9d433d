"""Writes the files of the chart that are generated: the schema of its values and Istio's patches.

The schema of the values is `values.schema.json` in this folder, with the settings of Berth as the schema of `config`.
A test fails if one of the files is stale.
"""

import json
from pathlib import Path
from typing import Any

from berth.config.reference import schema
from berth.rest.envoy.bootstrap import envoy_filter, to_yaml
from berth.rest.envoy.edge import EdgeSettings

FOLDER = Path(__file__).resolve().parent
CHART = FOLDER / "berth"


def values_schema() -> dict[str, Any]:
    """Return the schema of the values, with the schema of the settings in it."""
    values: dict[str, Any] = json.loads((FOLDER / "values.schema.json").read_text())
    settings = {name: value for name, value in schema().items() if name != "$schema"}
    sections = settings.pop("$defs")
    return values | {"$defs": values["$defs"] | sections | {"Config": settings}}


def files() -> dict[str, str]:
    """Return the text of each file, by its path in the chart."""
    patches = {"configPatches": envoy_filter(EdgeSettings())["spec"]["configPatches"]}
    return {
        "values.schema.json": f"{json.dumps(values_schema(), indent=1)}\n",
        "files/envoyfilter.yaml": f"# Written by deploy/helm/generate.py.\n{to_yaml(patches)}",
    }


if __name__ == "__main__":
    for name, text in files().items():
        (CHART / name).write_text(text)
