"""Fields that the contract does not know: where they are, and that none of them is one that it knows."""

import pytest
from google.protobuf.struct_pb2 import Value

from berth.core.additional_fields import place_of, refuse_known, refuse_known_names
from berth.core.errors import InvalidRequestError
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_service_pb2 import CreateContainerRequest


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (["future"], "future"),
        (["future", "0", "a"], "future[0].a"),
        (["future", "0", "1"], "future[0][1]"),
        (["0"], "0"),
        (["expires_after", "0"], "expires_after.0"),
        (["skills", "0", "color"], "skills[0].color"),
        (["skills", "0", "0"], "skills[0].0"),
        (["metadata", "0"], "metadata.0"),
        ([], ""),
    ],
)
def test_a_place_is_named_as_in_json(path: list[str], place: str) -> None:
    """A number is a place in a list where there is one, and a name in an object."""
    assert place_of(path, CreateContainerRequest.DESCRIPTOR) == place


def additional(*path: str, text: str | None = "x") -> AdditionalField:
    value = Value(number_value=1) if text is None else Value(string_value=text)
    return AdditionalField(path=path, value=value)


@pytest.mark.parametrize(
    "field",
    [
        additional("future"),
        additional("future", "name"),
        additional("expires_after", "hours"),
        additional("skills", "0", "color"),
        additional("network_policy", "type", text="mesh"),
        additional("network_policy", "domain_secrets", "0", "scope"),
    ],
)
def test_what_is_unknown_may_be_additional(field: AdditionalField) -> None:
    """New fields anywhere, and new values of an enum, are what additional fields are for."""
    refuse_known([field], CreateContainerRequest())


@pytest.mark.parametrize(
    "field",
    [
        additional(),
        additional("name"),
        additional("name", "x"),
        additional("file_ids"),
        additional("file_ids", "0"),
        additional("metadata", "x"),
        additional("skills", "0"),
        additional("expires_after", "minutes"),
        additional("network_policy", "type", text="disabled"),
        additional("network_policy", "type", text=None),
        additional("provider", text="openai"),
        additional("additional_fields"),
    ],
)
def test_what_is_known_may_not(field: AdditionalField) -> None:
    """It would go on past the checks of the field that it is."""
    with pytest.raises(InvalidRequestError) as caught:
        refuse_known([field], CreateContainerRequest())
    assert caught.value.code == "invalid_value"


@pytest.mark.parametrize(
    "path", [["file_id"], ["file_id[]"], ["file_id", "0"], ["file_id[x]y"], [" file_id "], [""], []]
)
def test_no_notation_of_a_known_name_is_additional(path: list[str]) -> None:
    """What some would read as a known field of a form is refused."""
    with pytest.raises(InvalidRequestError):
        refuse_known_names([additional(*path)], known=("file_id", "file"))


@pytest.mark.parametrize("path", [["file_ids"], ["a", "file_id"], ["tags[]"], ["expires_after[hours]"]])
def test_other_names_are(path: list[str]) -> None:
    """All else goes on."""
    refuse_known_names([additional(*path)], known=("file_id", "file", "expires_after[anchor]"))
