"""Validation of CreateContainerRequest for hosted containers."""

from collections.abc import Mapping
from dataclasses import dataclass

from berth.core.additional_fields import refuse_additional
from berth.core.errors import InvalidRequestError
from berth.core.hosted.domains import plain_domain
from berth.core.lifetime import checked_expiry
from berth.core.limits import limits_of
from berth.core.ports.container_store import Quotas
from berth.core.validation import check_choice, check_length, check_text, invalid, missing
from berth.v1.container_pb2 import Container, ExpiresAfter, NetworkPolicy, NetworkPolicyType
from berth.v1.container_service_pb2 import CreateContainerRequest, DomainSecret, NetworkPolicyParam

MAX_NAME_LENGTH = limits_of(CreateContainerRequest, "name").max_length
MAX_FILE_IDS = limits_of(CreateContainerRequest, "file_ids").max_items
METADATA = limits_of(CreateContainerRequest, "metadata")
ALLOWED_DOMAINS = limits_of(NetworkPolicyParam, "allowed_domains")
MAX_DOMAIN_LENGTH = limits_of(DomainSecret, "domain").max_length
MAX_SECRET_NAME_LENGTH = limits_of(DomainSecret, "name").max_length
MAX_SECRET_LENGTH = limits_of(DomainSecret, "value").max_length
_NO_DOMAIN = (
    "it must be the name of a host, such as 'example.com' or '*.example.com', without a scheme, a port or a path"
)
MEMORY_LIMITS = tuple(limits_of(CreateContainerRequest, "memory_limit").values)


@dataclass(frozen=True, slots=True)
class HostedLimits:
    """The configured limits of hosted containers: idle time in minutes, sizes in bytes."""

    default_minutes: int
    max_minutes: int
    max_file_bytes: int
    quotas: Quotas


def new_container(
    request: CreateContainerRequest, *, container_id: str, created_at: int, limits: HostedLimits
) -> Container:
    """Return the container that `request` describes. InvalidRequestError if the request is invalid."""
    _refuse_unsupported(request)
    check_text(request.name, "name", maximum=MAX_NAME_LENGTH)
    return Container(
        id=container_id,
        object="container",
        name=request.name,
        created_at=created_at,
        last_active_at=created_at,
        expires_after=_expiry(request, limits),
        memory_limit=_memory_limit(request),
        metadata=_metadata(request.metadata),
        network_policy=_network_policy(request.network_policy) if request.HasField("network_policy") else None,
    )


def _refuse_unsupported(request: CreateContainerRequest) -> None:
    refuse_additional(request.additional_fields, request)
    if request.skills:
        message = (
            "skills are not supported for this provider: Berth hosts its containers and installs no skills in them"
        )
        raise InvalidRequestError(message, param="skills", code="unsupported_parameter")
    check_length(len(request.file_ids), "file_ids", maximum=MAX_FILE_IDS, what="array", unit="length")


def _expiry(request: CreateContainerRequest, limits: HostedLimits) -> ExpiresAfter:
    given = request.expires_after if request.HasField("expires_after") else None
    return checked_expiry(given, default_minutes=limits.default_minutes, max_minutes=limits.max_minutes)


def _memory_limit(request: CreateContainerRequest) -> str:
    if not request.HasField("memory_limit"):
        return MEMORY_LIMITS[0]
    return check_choice(request.memory_limit, "memory_limit", choices=MEMORY_LIMITS)


def _metadata(metadata: Mapping[str, str]) -> Mapping[str, str]:
    check_length(len(metadata), "metadata", maximum=METADATA.max_items, what="object", unit="length")
    for key, value in metadata.items():
        if not key:
            raise invalid("metadata", "a key must not be empty")
        check_text(key, "metadata", maximum=METADATA.keys.max_length)
        check_length(len(value), f"metadata.{key}", maximum=METADATA.items.max_length, what="string", unit="length")
    return metadata


def _network_policy(given: NetworkPolicyParam) -> NetworkPolicy:
    if not given.type:
        raise missing("network_policy.type")
    if given.type not in NetworkPolicyType.values():
        raise invalid("network_policy.type", f"unknown type {given.type}")
    if given.type == NetworkPolicyType.NETWORK_POLICY_TYPE_DISABLED:
        _refuse_domains(given)
    else:
        _check_domains(given)
    return NetworkPolicy(type=given.type, allowed_domains=given.allowed_domains)


def _refuse_domains(given: NetworkPolicyParam) -> None:
    for param in ("allowed_domains", "domain_secrets"):
        if getattr(given, param):
            raise invalid(f"network_policy.{param}", "it is only allowed with the type 'allowlist'")


def _check_domains(given: NetworkPolicyParam) -> None:
    param = "network_policy.allowed_domains"
    if not given.allowed_domains:
        raise missing(param)
    check_length(len(given.allowed_domains), param, maximum=ALLOWED_DOMAINS.max_items, what="array", unit="length")
    for index, domain in enumerate(given.allowed_domains):
        check_text(domain, f"{param}[{index}]", maximum=ALLOWED_DOMAINS.items.max_length)
        if domain.isascii() and plain_domain(domain) is None:  # of other names the resolver has to judge
            raise invalid(f"{param}[{index}]", _NO_DOMAIN)
    for index, secret in enumerate(given.domain_secrets):
        _check_secret(secret, f"network_policy.domain_secrets[{index}]", given)


def _check_secret(secret: DomainSecret, param: str, policy: NetworkPolicyParam) -> None:
    check_text(secret.domain, f"{param}.domain", maximum=MAX_DOMAIN_LENGTH)
    check_text(secret.name, f"{param}.name", maximum=MAX_SECRET_NAME_LENGTH)
    if not secret.value:
        raise missing(f"{param}.value")
    check_length(len(secret.value), f"{param}.value", maximum=MAX_SECRET_LENGTH, what="string", unit="length")
    if secret.domain not in policy.allowed_domains:
        raise invalid(f"{param}.domain", "it is not one of the allowed domains")
