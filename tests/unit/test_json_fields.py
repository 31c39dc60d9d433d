"""From JSON objects to messages: what fits, what is refused and by which place, and what nobody knows."""

from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from berth.adapters.upstream.additional import with_additional
from berth.adapters.upstream.answers import new_container_json
from berth.core.additional_fields import refuse_additional
from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.json_fields import fill
from berth.rpc.bodies.json_text import parse_json
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.provider_pb2 import PROVIDER_OLLAMA

DEEP: Any = []
for _ in range(70):
    DEEP = [DEEP]


def filled(body: object) -> CreateContainerRequest:
    """Return what a JSON body becomes."""
    request = CreateContainerRequest()
    fill(request, parse_json(body if isinstance(body, bytes) else orjson.dumps(body)))
    return request


def refused(body: object) -> tuple[str | None, str | None]:
    with pytest.raises(InvalidRequestError) as caught:
        filled(body)
    return caught.value.param, caught.value.code


def test_every_kind_of_field_is_read() -> None:
    """Texts, numbers, names of enum values, lists, maps and objects go into the fields of their names."""
    body = {
        "provider": "ollama",
        "name": "日本",
        "expires_after": {"anchor": "last_active_at", "minutes": 5},
        "file_ids": ["a", "b"],
        "metadata": {"k": "v", "": ""},
        "network_policy": {"type": "allowlist", "domain_secrets": [{"domain": "d", "name": "n", "value": "v"}]},
        "skills": [{"type": "inline", "source": {"data": "x"}}],
    }
    request = filled(body)
    assert request.provider == PROVIDER_OLLAMA
    assert new_container_json(request) == {name: value for name, value in body.items() if name != "provider"}
    assert not request.additional_fields


def test_null_is_absence() -> None:
    """A null stands for a field that was not given, at any depth."""
    nulls = dict.fromkeys(["provider", "expires_after", "file_ids", "memory_limit", "metadata", "skills"])
    assert filled({"name": "x", **nulls}) == CreateContainerRequest(name="x")
    request = filled({"expires_after": {"anchor": "last_active_at", "minutes": None}})
    assert not request.expires_after.HasField("minutes")


@pytest.mark.parametrize(("minutes", "read"), [(b"20", 20), (b"20.0", 20), (b"2e1", 20), (b"-0", 0), (b"-5", -5)])
def test_a_whole_number_is_an_integer(minutes: bytes, read: int) -> None:
    """JSON has one kind of numbers: one without a fraction is an integer, however it is written."""
    assert filled(b'{"expires_after": {"minutes": %b}}' % minutes).expires_after.minutes == read


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ([], None, "invalid_type"),
        ("x", None, "invalid_type"),
        (b"null", None, "invalid_type"),
        ({"name": 5}, "name", "invalid_type"),
        ({"name": True}, "name", "invalid_type"),
        ({"name": ["n"]}, "name", "invalid_type"),
        ({"name": {}}, "name", "invalid_type"),
        ({"provider": 3}, "provider", "invalid_type"),
        ({"provider": "nope"}, "provider", "invalid_value"),
        ({"expires_after": "x"}, "expires_after", "invalid_type"),
        ({"expires_after": []}, "expires_after", "invalid_type"),
        ({"expires_after": {"minutes": "20"}}, "expires_after.minutes", "invalid_type"),
        ({"expires_after": {"minutes": 1.5}}, "expires_after.minutes", "invalid_type"),
        ({"expires_after": {"minutes": True}}, "expires_after.minutes", "invalid_type"),
        ({"expires_after": {"minutes": 2**31}}, "expires_after.minutes", "integer_above_max_value"),
        ({"expires_after": {"minutes": 2**53 + 1}}, "expires_after.minutes", "invalid_value"),
        (b'{"expires_after": {"minutes": 1e999}}', "expires_after.minutes", "invalid_value"),
        ({"file_ids": "a"}, "file_ids", "invalid_type"),
        ({"file_ids": ["a", None]}, "file_ids[1]", "invalid_type"),
        ({"file_ids": ["a", 5]}, "file_ids[1]", "invalid_type"),
        ({"metadata": []}, "metadata", "invalid_type"),
        ({"metadata": {"a": None}}, "metadata.a", "invalid_type"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"skills": [None]}, "skills[0]", "invalid_type"),
        ({"skills": [{"type": 1}]}, "skills[0].type", "invalid_type"),
        (
            {"network_policy": {"domain_secrets": [{"value": 5}]}},
            "network_policy.domain_secrets[0].value",
            "invalid_type",
        ),
        ({"network_policy": {"type": 1}}, "network_policy.type", "invalid_type"),
        (b'{"name": "a", "name": "a"}', "name", "duplicate_parameter"),
        (b'{"x": 1, "x": 2}', "x", "duplicate_parameter"),
        (b'{"metadata": {"a": "1", "a": "2"}}', "metadata.a", "duplicate_parameter"),
        (b'{"skills": [{"x": {"y": 1, "y": 2}}]}', "skills[0].x.y", "duplicate_parameter"),
        (b'{"name": "\\ud800"}', "name", "invalid_value"),
        (b'{"metadata": {"\\ud800": "a"}}', "metadata", "invalid_value"),
        (b'{"x\\ud800": 1}', "x\\ud800", "invalid_value"),
        (b'{"x": ["\\udfff"]}', "x[0]", "invalid_value"),
        ({"x": {"y": 2**60}}, "x.y", "invalid_value"),
        (b'{"x": [1, 1e999]}', "x[1]", "invalid_value"),
        ({"x": DEEP}, "x" + "[0]" * 64, "invalid_json"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(body: object, param: str | None, code: str) -> None:
    """Wrong types, texts and numbers of enums, nulls in lists, repeated names, numbers that are too large."""
    assert refused(body) == (param, code)


def test_a_refusal_says_what_was_expected_and_what_came() -> None:
    """The message is OpenAI's."""
    with pytest.raises(InvalidRequestError) as caught:
        filled({"metadata": {"a": 1}})
    assert str(caught.value) == "Invalid type for 'metadata.a': expected a string, but got an integer instead."


UNKNOWN = {
    "name": "x",
    "colour": {"r": 1, "deep": [None, True, "é", 1.5, 2**53, -(2**53), {"": []}]},
    "expires_after": {"anchor": "last_active_at", "hours": 5},
    "skills": [{"type": "inline"}, {"type": "skill_reference", "tags": ["a"]}],
    "network_policy": {"type": "mesh", "allowed_domains": ["a"]},
    "memory_limit": "128g",
}


def test_what_nobody_knows_is_kept_and_put_back() -> None:
    """Unknown fields and unknown values of enums, at any depth, go on to a provider as they came."""
    request = filled(UNKNOWN)
    assert [list(field.path) for field in request.additional_fields] == [
        ["colour"],
        ["expires_after", "hours"],
        ["network_policy", "type"],
        ["skills", "1", "tags"],
    ]
    assert new_container_json(request) == UNKNOWN
    assert orjson.loads(orjson.dumps(new_container_json(request))) == UNKNOWN


def test_unknown_fields_are_limited() -> None:
    """A body may have 1000 fields that the contract does not know; one more is refused by its place."""
    skills = [{"color": "red"}] * 1_000
    assert len(filled({"name": "a", "skills": skills}).additional_fields) == 1_000
    assert refused({"name": "a", "skills": [*skills, {"color": "red"}]}) == ("skills[1000].color", "unknown_parameter")


def test_the_order_of_a_body_does_not_matter() -> None:
    """Two bodies that say the same become the same message, and so have one fingerprint."""
    backwards = dict(reversed(UNKNOWN.items()))
    same = [filled(body).SerializeToString(deterministic=True) for body in (UNKNOWN, backwards)]
    assert same[0] == same[1]
    other = filled(UNKNOWN | {"colour": {"r": 2}})
    assert other.SerializeToString(deterministic=True) != same[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"expire_after": {}}, "Unknown parameter: 'expire_after'; did you mean 'expires_after'?"),
        ({"memory_limits": "1g"}, "Unknown parameter: 'memory_limits'; did you mean 'memory_limit'?"),
        ({"expires_after": {"minute": 5}}, "Unknown parameter: 'expires_after.minute'; did you mean 'minutes'?"),
        ({"skills": [{"versions": "1"}]}, "Unknown parameter: 'skills[0].versions'; did you mean 'version'?"),
        ({"zzz": 1}, "Unknown parameter: 'zzz'."),
        ({"additional_fields": []}, "Unknown parameter: 'additional_fields'."),
        ({"x.y": 1}, "Unknown parameter: 'x.y'."),
        (
            {"network_policy": {"type": "mesh"}},
            "Invalid 'network_policy.type': expected one of 'disabled', 'allowlist', but got 'mesh'.",
        ),
    ],
)
def test_what_nobody_knows_is_refused_where_nobody_takes_it(body: object, message: str) -> None:
    """The refusal names the place, and the nearest name that is known there."""
    request = filled(body)
    with pytest.raises(InvalidRequestError) as caught:
        refuse_additional(request.additional_fields, request)
    assert str(caught.value) == message


@pytest.mark.parametrize("path", [[], ["a", "b"], ["skills", "9", "x"], ["name", "x"], ["skills", "x"], ["", ""]])
def test_a_path_of_a_caller_over_grpc_may_lead_nowhere(path: list[str]) -> None:
    """What gRPC callers say by hand may make no sense; it is refused or passed over, and breaks nothing."""
    field = AdditionalField(path=path)
    request = CreateContainerRequest(name="x", additional_fields=[field])
    assert with_additional({"name": "x", "skills": []}, [field]) == {"name": "x", "skills": []}
    with pytest.raises(InvalidRequestError):
        refuse_additional(request.additional_fields, request)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
names = st.sampled_from([field.name for field in CreateContainerRequest.DESCRIPTOR.fields]) | st.text(max_size=5)


@given(st.dictionaries(names, json_values, max_size=4))
def test_any_object_is_read_or_refused(body: dict[str, Any]) -> None:
    """No JSON raises anything but InvalidRequestError; what is read says what the body says, and nothing else."""
    try:
        request = filled(body)
    except InvalidRequestError:
        return
    said = MessageToDict(request, preserving_proto_field_name=True)
    assert set(said) - {"additional_fields"} <= {name for name, value in body.items() if value is not None}
    sent = new_container_json(request)
    assert {name for name, value in body.items() if value not in (None, [], {}) and name != "provider"} <= set(sent)
    for field in request.additional_fields:
        if len(field.path) == 1:
            assert sent[field.path[0]] == body[field.path[0]]
