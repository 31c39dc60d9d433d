"""The commands of docs/operations.md and docs/usage.md, as they are there, on the data of a Berth that has stopped."""

import re
import sys
from pathlib import Path

import httpx2
import yaml

from support.certs.authority import Authority
from support.guides import blocks, execute
from support.servers.berth import UNCOUNTED, Berth, running

SETTINGS = {"default_provider": "ollama", "providers": {"openai": {"backend": "hosted"}}}
PAGES = ("docs/operations.md", "docs/usage.md")


def commands(document: str) -> list[str]:
    """Return the lines of a document that run `berth`; those that start it are in tests of replacements and workers."""
    lines = [
        line for block in blocks(document, "console") for line in re.findall(r"^\$ (berth .*)$", block, re.MULTILINE)
    ]
    return [line for line in lines if not line.startswith("berth up")]


def used(folder: Path) -> Berth:
    """Run a Berth, store a file in it, and stop it; its configuration is `berth.yaml`."""
    settings = SETTINGS | {"data_dir": str(folder / "data")}
    with running(folder, settings, inside=UNCOUNTED) as berth:
        headers = {"authorization": f"Bearer {berth.virtual_key}"}
        query = {"filename": "a.txt", "purpose": "user_data", "provider": "ollama"}
        httpx2.post(
            f"{berth.rest}/v1/files", params=query, content=b"kept", headers=headers, timeout=30
        ).raise_for_status()
    return berth


def test_commands_of_operators(tmp_path: Path) -> None:
    """They end well, one after the other: a backup is restored where no data are, and copied to another store."""
    berth = used(tmp_path)
    tls = dict(zip(("certificate", "key"), map(str, Authority().server().write(tmp_path, "edge")), strict=True))
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(SETTINGS | {"data_dir": str(tmp_path / "new")}))
    (tmp_path / "edge.yaml").write_text(yaml.safe_dump(SETTINGS | {"data_dir": str(tmp_path / "data"), "tls": tls}))
    printed = ""
    for line in [line for page in PAGES for line in commands(page)]:
        if line.startswith("berth restore"):
            (tmp_path / "data").rename(tmp_path / "lost")
        text = re.sub(r"/(?:etc/envoy|backups)/", f"{tmp_path}/", line)
        shell = f'export BERTH_CONFIG=berth.yaml; exec 2>&1; berth() {{ "{sys.executable}" -m berth "$@"; }}\n'
        printed += execute(berth, ["bash", "-euc", shell + text], folder=tmp_path)
    for outcome in ("sk-bf-", "all is well", "is complete", "is restored", "the copy is finished"):
        assert outcome in printed
    assert yaml.safe_load((tmp_path / "envoy.yaml").read_text())["static_resources"]
    assert [*(tmp_path / "secrets").iterdir()]
