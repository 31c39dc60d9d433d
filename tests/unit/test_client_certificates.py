"""Client certificates during the life of their connections: expiry, authorities, and revocation lists."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from berth.core.errors import AuthenticationError
from berth.rpc.tls.check import CertificateCheck, ClientCertificate
from berth.rpc.tls.validity import EXPIRED, REVOKED, UNLISTED, UNREADABLE, UNTRUSTED
from support.certs.authority import Authority, Issued

ROOT, OTHER = Authority(), Authority()
MIDDLE = ROOT.intermediate()
SECOND = dt.timedelta(seconds=1)


@dataclass
class Rules:
    """What certificates are checked against."""

    authorities: list[x509.Certificate]
    revocation_lists: list[x509.CertificateRevocationList] | None = None


@dataclass
class Gate:
    """A check; a test changes its rules and its time."""

    rules: Rules | None = None
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def __post_init__(self) -> None:
        self.check = CertificateCheck(lambda: self.rules, lambda: self.now)

    def trust(self, *authorities: Authority, lists: list[bytes] | None = None) -> None:
        """Replace what is trusted."""
        found = [x509.load_pem_x509_certificate(authority.pem) for authority in authorities]
        self.rules = Rules(found, None if lists is None else [x509.load_pem_x509_crl(pem) for pem in lists])

    def reason(self, client: Issued | bytes, *, is_foreign: bool = False) -> str | None:
        """Return why a certificate is refused; None if it is accepted."""
        chain = client if isinstance(client, bytes) else client.chain
        try:
            self.check.require_valid(ClientCertificate(chain, (), is_foreign))
        except AuthenticationError as error:
            return str(error).removeprefix("the client certificate is not valid any more: ").removesuffix(".")
        return None


@pytest.fixture
def gate() -> Gate:
    """Return a check that trusts ROOT."""
    gate = Gate()
    gate.trust(ROOT)
    return gate


@pytest.mark.parametrize("is_foreign", [False, True])
def test_a_certificate_expires(gate: Gate, *, is_foreign: bool) -> None:
    """It is accepted up to its last second and no longer, also if a sidecar has verified it."""
    client = ROOT.client("a.example")
    assert gate.reason(client, is_foreign=is_foreign) is None
    gate.now = x509.load_pem_x509_certificate(client.chain).not_valid_after_utc
    assert gate.reason(client, is_foreign=is_foreign) is None
    gate.now += SECOND
    assert gate.reason(client, is_foreign=is_foreign) == EXPIRED


def test_an_authority_can_be_removed(gate: Gate) -> None:
    """Its certificates are refused as soon as it is not trusted, and accepted again when it is."""
    client = ROOT.client("a.example")
    assert gate.reason(client) is None
    gate.trust(OTHER)
    assert gate.reason(client) == UNTRUSTED
    gate.trust(OTHER, ROOT)
    assert gate.reason(client) is None
    gate.rules = None
    assert gate.reason(client, is_foreign=True) is None


def test_an_intermediate_authority_is_found_in_what_the_client_shows(gate: Gate) -> None:
    """A path may lead over other certificates of the client, if they may issue any, and over those that are trusted."""
    client = MIDDLE.client("a.example")
    assert gate.reason(client) is None
    own, middle = (one.public_bytes(Encoding.PEM) for one in x509.load_pem_x509_certificates(client.chain))
    assert gate.reason(own) == UNTRUSTED
    assert gate.reason(own + OTHER.client("b.example").chain + middle) is None
    assert gate.reason(own + OTHER.client("b.example").chain * 7 + middle) == UNTRUSTED
    gate.trust(MIDDLE)
    assert gate.reason(own) is None


def test_a_holder_is_no_authority(gate: Gate) -> None:
    """A certificate that was issued with the key of another client's certificate is refused."""
    holder = ROOT.client("a.example")
    forged = ROOT.issued_by(holder, "b.example")
    assert gate.reason(forged + holder.chain) == UNTRUSTED


def test_a_revoked_certificate_is_refused(gate: Gate) -> None:
    """With lists, it is refused; others of its authority are accepted until the list is not current any more."""
    revoked, kept = ROOT.client("a.example"), ROOT.client("b.example")
    gate.trust(ROOT, lists=[ROOT.revocation_list(revoked, lasting=60 * SECOND)])
    assert (gate.reason(revoked), gate.reason(kept)) == (REVOKED, None)
    gate.now += 61 * SECOND
    assert (gate.reason(revoked), gate.reason(kept)) == (REVOKED, UNLISTED)


@pytest.mark.parametrize("options", [{"since": -60 * SECOND}, {"is_delta": True}])
def test_a_list_that_is_not_the_current_one(gate: Gate, options: Mapping[str, Any]) -> None:
    """What a list of the future, or a list of changes, contains is refused; without a current list all others, too."""
    revoked, kept = ROOT.client("a.example"), ROOT.client("b.example")
    gate.trust(ROOT, lists=[ROOT.revocation_list(revoked, **options)])
    assert (gate.reason(revoked), gate.reason(kept)) == (REVOKED, UNLISTED)
    gate.trust(ROOT, lists=[ROOT.revocation_list(revoked, **options), ROOT.revocation_list()])
    assert (gate.reason(revoked), gate.reason(kept)) == (REVOKED, None)


def test_each_authority_needs_its_list(gate: Gate) -> None:
    """A list counts for the authority that has signed it; intermediate authorities need one as well."""
    client = MIDDLE.client("a.example")
    gate.trust(ROOT, lists=[OTHER.revocation_list()])
    assert gate.reason(ROOT.client("a.example")) == UNLISTED
    gate.trust(ROOT, lists=[ROOT.revocation_list()])
    assert gate.reason(client) == UNLISTED
    gate.trust(ROOT, lists=[ROOT.revocation_list(), MIDDLE.revocation_list()])
    assert gate.reason(client) is None
    gate.trust(ROOT, lists=[ROOT.revocation_list(), MIDDLE.revocation_list(client)])
    assert gate.reason(client) == REVOKED
    middle = Issued(x509.load_pem_x509_certificates(client.chain)[1].public_bytes(Encoding.PEM), b"")
    gate.trust(ROOT, lists=[ROOT.revocation_list(middle), MIDDLE.revocation_list()])
    assert gate.reason(client) == REVOKED


@pytest.mark.parametrize("chain", [b"", b"nonsense", ROOT.client("a.example").key])
def test_a_certificate_that_cannot_be_read_is_refused(gate: Gate, chain: bytes) -> None:
    """So is one that Envoy did not forward; a sidecar that forwards none may serve callers with keys."""
    assert gate.reason(chain) == UNREADABLE
    assert gate.reason(b"", is_foreign=True) is None


def test_many_certificates_are_not_kept(gate: Gate) -> None:
    """The results of at most 1024 chains are kept, so callers cannot fill the memory."""
    for number in range(1100):
        gate.reason(b"%d" % number)
    assert len(gate.check._verdicts) <= 1024
