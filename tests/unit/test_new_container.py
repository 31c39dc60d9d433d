"""What a hosted container may be made of."""

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.hosted.container_rules import new_container
from berth.v1.container_pb2 import Container, ExpiresAfter, NetworkPolicy, NetworkPolicyType
from berth.v1.container_service_pb2 import CreateContainerRequest as Request
from berth.v1.container_service_pb2 import DomainSecret as Secret
from berth.v1.container_service_pb2 import NetworkPolicyParam as Policy
from berth.v1.container_service_pb2 import Skill
from support.servers.hosted import LIMITS

ALLOWLIST = NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST
DISABLED = NetworkPolicyType.NETWORK_POLICY_TYPE_DISABLED


def made(request: Request) -> Container:
    return new_container(request, container_id="cntr_1", created_at=1_000, limits=LIMITS)


def allowing(*domains: str, secrets: tuple[Secret, ...] = ()) -> Policy:
    return Policy(type=ALLOWLIST, allowed_domains=domains, domain_secrets=secrets)


def secret(domain: str = "a.example", name: str = "TOKEN", value: str = "s3cret") -> Secret:
    return Secret(domain=domain, name=name, value=value)


def test_a_name_is_enough() -> None:
    """Everything but the name has a default."""
    assert made(Request(name="box")) == Container(
        id="cntr_1",
        object="container",
        name="box",
        created_at=1_000,
        last_active_at=1_000,
        expires_after=ExpiresAfter(anchor="last_active_at", minutes=20),
        memory_limit="1g",
    )


def test_what_is_asked_for_is_kept() -> None:
    """Expiry, memory and labels come out as they went in, at the edge of what is allowed."""
    metadata = {f"{'k' * 62}{number:02}": "v" * 512 for number in range(16)}
    expiry = ExpiresAfter(anchor="last_active_at", minutes=60)
    container = made(Request(name="x" * 256, expires_after=expiry, memory_limit="64g", metadata=metadata))
    assert container.expires_after == expiry
    assert container.memory_limit == "64g"
    assert dict(container.metadata) == metadata


def test_a_network_policy_is_kept_without_its_secrets() -> None:
    """The answer shows the domains; a secret's value is nowhere in it."""
    container = made(Request(name="box", network_policy=allowing("a.example", secrets=(secret(),))))
    assert container.network_policy == NetworkPolicy(type=ALLOWLIST, allowed_domains=["a.example"])
    assert b"s3cret" not in container.SerializeToString()


def test_domains_are_kept_as_they_were_given() -> None:
    """They may be names in any script or case, names with all hosts below them, and addresses."""
    domains = ["*.a.example", "bücher.example", "A.EXAMPLE.", "localhost", "10.0.0.1", "[::1]"]
    container = made(Request(name="box", network_policy=allowing(*domains)))
    assert list(container.network_policy.allowed_domains) == domains


def test_a_disabled_network_needs_nothing_else() -> None:
    """The type "disabled" stands alone."""
    assert made(Request(name="box", network_policy=Policy(type=DISABLED))).network_policy.type == DISABLED


def test_the_refusal_of_skills_says_what_hosted_containers_do_not_do() -> None:
    """Hosted containers run commands, so the message speaks of skills alone."""
    with pytest.raises(InvalidRequestError, match=r"Berth hosts its containers and installs no skills in them$"):
        made(Request(name="box", skills=[Skill(type="inline")]))


MISSING, INVALID, TOO_LONG = "missing_required_parameter", "invalid_value", "string_above_max_length"


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (Request(), "name", MISSING),
        (Request(name="x" * 257), "name", TOO_LONG),
        (Request(name="x" * 10_000), "name", TOO_LONG),
        (Request(name="a\0b"), "name", INVALID),
        (Request(name="box", skills=[Skill(type="inline")]), "skills", "unsupported_parameter"),
        (Request(name="box", file_ids=["f"] * 51), "file_ids", "array_above_max_length"),
        (Request(name="box", memory_limit="3g"), "memory_limit", INVALID),
        (Request(name="box", memory_limit=""), "memory_limit", INVALID),
        (Request(name="box", metadata={f"{n}": "" for n in range(17)}), "metadata", "object_above_max_length"),
        (Request(name="box", metadata={f"{n}": "" for n in range(1_000)}), "metadata", "object_above_max_length"),
        (Request(name="box", metadata={"": "v"}), "metadata", INVALID),
        (Request(name="box", metadata={"k" * 65: "v"}), "metadata", TOO_LONG),
        (Request(name="box", metadata={"k": "v" * 513}), "metadata.k", TOO_LONG),
        (Request(name="box", network_policy=Policy()), "network_policy.type", MISSING),
        (Request(name="box", network_policy=allowing()), "network_policy.allowed_domains", MISSING),
        (
            Request(name="box", network_policy=allowing(*["a"] * 101)),
            "network_policy.allowed_domains",
            "array_above_max_length",
        ),
        (Request(name="box", network_policy=allowing("a", "")), "network_policy.allowed_domains[1]", MISSING),
        (Request(name="box", network_policy=allowing("a" * 254)), "network_policy.allowed_domains[0]", TOO_LONG),
        *(
            (Request(name="box", network_policy=allowing("a", domain)), "network_policy.allowed_domains[1]", INVALID)
            for domain in (
                "https://a.example",
                "a.example:443",
                "a.example/x",
                "*",
                "*.10.0.0.1",
                "127.1",
                "a b",
            )
        ),
        (
            Request(name="box", network_policy=Policy(type=DISABLED, allowed_domains=["a"])),
            "network_policy.allowed_domains",
            INVALID,
        ),
        (
            Request(name="box", network_policy=Policy(type=DISABLED, domain_secrets=[secret()])),
            "network_policy.domain_secrets",
            INVALID,
        ),
    ],
)
def test_what_cannot_be_is_refused(request_: Request, param: str, code: str) -> None:
    """Each field that cannot be is named; nothing is dropped in silence."""
    with pytest.raises(InvalidRequestError) as caught:
        made(request_)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_a_network_policy_of_no_known_type_is_refused() -> None:
    """A number that a newer contract might have is refused, not taken for something else."""
    policy = Policy.FromString(b"\x08\x63")  # type = 99
    with pytest.raises(InvalidRequestError) as caught:
        made(Request(name="box", network_policy=policy))
    assert (caught.value.param, caught.value.code) == ("network_policy.type", INVALID)


@pytest.mark.parametrize(
    ("bad", "field", "code"),
    [
        (secret(domain=""), "domain", MISSING),
        (secret(domain="b.example"), "domain", INVALID),
        (secret(name=""), "name", MISSING),
        (secret(name="n" * 257), "name", TOO_LONG),
        (secret(value=""), "value", MISSING),
        (secret(value="s" * 10_485_761), "value", TOO_LONG),
    ],
)
def test_a_secret_that_cannot_be_is_refused(bad: Secret, field: str, code: str) -> None:
    """The refusal names the field of the secret, and never says its value."""
    with pytest.raises(InvalidRequestError) as caught:
        made(Request(name="box", network_policy=allowing("a.example", secrets=(secret(), bad))))
    assert (caught.value.param, caught.value.code) == (f"network_policy.domain_secrets[1].{field}", code)
    assert "s3cret" not in caught.value.message
