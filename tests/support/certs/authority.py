"""Certificates for tests: an authority, servers and clients, with names of any kind."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Issued:
    """A certificate chain and its key, in PEM."""

    chain: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Put both into `folder`, each in place of what is there at once; return their paths."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, content in zip(paths, (self.chain, self.key), strict=True):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        return paths


class Authority:
    """Issues certificates."""

    def __init__(self, ca: trustme.CA | None = None, intermediate: bytes = b"") -> None:
        self._ca = ca or trustme.CA()
        self._intermediate = intermediate
        self._certificate = x509.load_pem_x509_certificate(self.pem)
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self._ca.cert_pem.bytes()

    def server(self) -> Issued:
        """Return a new certificate of 127.0.0.1."""
        issued = self._ca.issue_cert("127.0.0.1", "localhost")
        return Issued(b"".join(pem.bytes() for pem in issued.cert_chain_pems), issued.private_key_pem.bytes())

    def client(self, *names: str, lasting: dt.timedelta = HOUR) -> Issued:
        """Return a certificate with alternative names: URIs where they have a scheme, else DNS names."""
        typed = [x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name) for name in names]
        return self.client_with(*typed, lasting=lasting)

    def client_with(self, *names: x509.GeneralName, lasting: dt.timedelta = HOUR) -> Issued:
        """Return a certificate with alternative names of any type."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Issued(self.certificate(*names, key=key, lasting=lasting) + self._intermediate, private)

    def certificate(
        self,
        *names: x509.GeneralName,
        key: ec.EllipticCurvePrivateKey | None = None,
        alternative_names: bytes | None = None,
        lasting: dt.timedelta = HOUR,
    ) -> bytes:
        """Return a certificate of `key`, or of a new one, with alternative names of any type, or with encoded ones."""
        encoded = alternative_names and x509.UnrecognizedExtension(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternative_names
        )
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]))
            .issuer_name(self._certificate.subject)
            .public_key((key or ec.generate_private_key(ec.SECP256R1())).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR)
            .not_valid_after(now + lasting)
            .add_extension(encoded or x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def issued_by(self, holder: Issued, name: str) -> bytes:
        """Return a certificate that the holder of another one has issued, who is no authority."""
        issuer = x509.load_pem_x509_certificate(holder.chain)
        key = serialization.load_pem_private_key(holder.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        genuine = x509.load_pem_x509_certificate(self.certificate(x509.DNSName(name)))
        forged = (
            x509.CertificateBuilder()
            .subject_name(genuine.subject)
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(genuine.not_valid_before_utc)
            .not_valid_after(genuine.not_valid_after_utc)
            .sign(key, hashes.SHA256())
        )
        return forged.public_bytes(serialization.Encoding.PEM)

    def intermediate(self) -> "Authority":
        """Return an authority with a certificate of this one, which its clients show beside their own."""
        child = self._ca.create_child_ca()
        return Authority(child, child.cert_pem.bytes())

    def revocation_list(
        self, *revoked: Issued, lasting: dt.timedelta = HOUR, since: dt.timedelta = HOUR, is_delta: bool = False
    ) -> bytes:
        """Return the list (PEM) of what this authority has revoked, or of what it has revoked since another list."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now - since).next_update(now + lasting)
        if is_delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        for issued in revoked:
            entry = x509.RevokedCertificateBuilder().revocation_date(now - HOUR)
            serial = x509.load_pem_x509_certificate(issued.chain).serial_number
            builder = builder.add_revoked_certificate(entry.serial_number(serial).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def trusting(self, folder: Path, client: Issued | None = None) -> ssl.SSLContext:
        """Return what trusts this authority, and shows the certificate of `client`."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if client is not None:
            context.load_cert_chain(*client.write(folder, f"client-{id(client)}"))
        return context
