"""`berth protos`: all that other languages need to generate stubs."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from support.clients.commands import Shell


@pytest.fixture
def protos(tmp_path: Path) -> list[str]:
    """Write the protos; return their names."""
    written = Shell(tmp_path, {}).ask("protos", "protos").split()
    return [str(Path(name).relative_to("protos")) for name in written]


def test_the_protos_are_whole(tmp_path: Path, protos: list[str]) -> None:
    """A compiler finds every import in the folder, or brings it along, and makes the contract of it."""
    assert {"berth/v1/container_service.proto", "google/api/annotations.proto"} <= set(protos)
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Iprotos", "--descriptor_set_out=set.binpb", *protos]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    made = FileDescriptorSet.FromString((tmp_path / "set.binpb").read_bytes())
    assert {file.name for file in made.file} == set(protos)
    for file in (file for file in made.file if file.package == "berth.v1"):
        options = file.options
        assert (options.go_package, options.java_package) == ("berth/v1;berthv1", "berth.v1")
        assert (options.csharp_namespace, options.java_multiple_files) == ("Berth.V1", True)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    """What is there and no folder is left alone."""
    (tmp_path / "taken").write_text("mine")
    status, output, errors = Shell(tmp_path, {}).run("protos", "taken")
    assert (status, output) == (1, "")
    assert errors.startswith("berth: taken/berth/v1/")
    assert (tmp_path / "taken").read_text() == "mine"
