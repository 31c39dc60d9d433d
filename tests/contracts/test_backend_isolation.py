"""The contract of Backend, run against every implementation: who may see what."""

import pytest

from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.errors import PermissionDeniedError as DeniedError
from berth.v1.container_file_service_pb2 import ListContainerFilesRequest
from support.fakes.subjects import GROQ, NONE, OLLAMA, ONLY_GROQ, OPERATIONS, OURS, READS, THEIRS, Subject, refused
from support.fakes.uploads import put_file

every_operation = pytest.mark.parametrize("name", [*OPERATIONS])


@every_operation
async def test_what_is_theirs_cannot_be_told_from_what_is_not_there(subject: Subject, name: str) -> None:
    """Every operation on another tenant's ids fails exactly as it does on ids that never were."""
    theirs = await subject.container(caller=THEIRS)
    file = await put_file(subject.backend, THEIRS, theirs)
    nowhere, nothing = "cntr_" + "f" * 48, "cfile_" + "f" * 32
    other = await refused(OPERATIONS[name](subject.backend, OURS, theirs, file.id, NONE))
    absent = await refused(OPERATIONS[name](subject.backend, OURS, nowhere, nothing, NONE))
    assert type(other) is type(absent) is NotFoundError
    assert vars(other) | {"message": ""} == vars(absent) | {"message": ""}
    assert other.message == absent.message.replace(nowhere, theirs).replace(nothing, file.id)
    assert await put_file(subject.backend, THEIRS, theirs)
    assert await subject.listed() == []


@pytest.mark.parametrize("name", [*READS, "delete_container_file"])
async def test_a_file_is_found_in_its_own_container_only(subject: Subject, name: str) -> None:
    """A file's id with another container of the same tenant is NOT_FOUND, and a list shows none of it."""
    home, elsewhere = await subject.container(), await subject.container()
    file = await put_file(subject.backend, OURS, home)
    if name == "list_container_files":
        page = await subject.backend.list_container_files(OURS, ListContainerFilesRequest(container_id=elsewhere))
        assert not page.data
        return
    error = await refused(OPERATIONS[name](subject.backend, OURS, elsewhere, file.id, NONE))
    assert type(error) is NotFoundError


@every_operation
async def test_a_provider_that_contradicts_is_not_found(subject: Subject, name: str) -> None:
    """A container is found under its own provider or under none."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    error = await refused(OPERATIONS[name](subject.backend, OURS, container_id, file.id, GROQ))
    absent = await refused(OPERATIONS[name](subject.backend, OURS, container_id + "0", file.id + "0", NONE))
    assert type(error) is NotFoundError
    assert error.message == absent.message.replace(container_id + "0", container_id).replace(file.id + "0", file.id)
    await OPERATIONS[name](subject.backend, OURS, container_id, file.id, OLLAMA)


@every_operation
async def test_ids_are_required(subject: Subject, name: str) -> None:
    """An empty container id names the parameter, and so does an empty file id."""
    error = await refused(OPERATIONS[name](subject.backend, OURS, "", "cfile_1", NONE))
    assert (type(error), error.param, error.code) == (InvalidRequestError, "container_id", "missing_required_parameter")
    if "file" in name and name not in ("list_container_files", "create_container_file"):
        error = await refused(OPERATIONS[name](subject.backend, OURS, "cntr_1", "", NONE))
        assert (error.param, error.code) == ("file_id", "missing_required_parameter")


@every_operation
@pytest.mark.parametrize("strange", ["a/b", "%2F", "..", "a\0b", "名", "x" * 10_240])
async def test_strange_ids_are_not_found(subject: Subject, name: str, strange: str) -> None:
    """An id can be any text; none of them is found, and the message stays short."""
    error = await refused(OPERATIONS[name](subject.backend, OURS, strange, strange, NONE))
    assert type(error) is NotFoundError
    assert len(error.message) < 200


@every_operation
async def test_a_restricted_key_is_kept_to_its_providers(subject: Subject, name: str) -> None:
    """A key of the same tenant that may not use the provider is denied, and its lists leave it out."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    error = await refused(OPERATIONS[name](subject.backend, ONLY_GROQ, container_id, file.id, NONE))
    assert (type(error), error.code, error.provider) == (DeniedError, "provider_blocked", "ollama")
    await subject.container("mine", caller=ONLY_GROQ, provider=GROQ)
    assert await subject.listed(ONLY_GROQ) == ["mine"]
    assert await subject.listed(OURS) == ["mine", "box"]
