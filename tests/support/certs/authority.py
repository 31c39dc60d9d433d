"""Certificates for tests: an authority, servers and clients, with names of any kind."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


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

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self._ca.cert_pem.bytes()

    def server(self) -> Issued:
        """Return a new certificate of 127.0.0.1."""
        issued = self._ca.issue_cert("127.0.0.1", "localhost")
        return Issued(b"".join(pem.bytes() for pem in issued.cert_chain_pems), issued.private_key_pem.bytes())

    def client(self, *names: str) -> Issued:
        """Return a certificate with alternative names: URIs where they have a scheme, else DNS names."""
        typed = [x509.UniformResourceIdentifier(name) if "://" in name else x509.DNSName(name) for name in names]
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Issued(self.certificate(*typed, key=key), private)

    def certificate(self, *names: x509.GeneralName, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """Return a certificate of `key`, or of a new one, with alternative names of any type."""
        ca = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(ca, ec.EllipticCurvePrivateKey)
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]))
            .issuer_name(x509.load_pem_x509_certificate(self.pem).subject)
            .public_key((key or ec.generate_private_key(ec.SECP256R1())).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(ca, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def trusting(self, folder: Path, client: Issued | None = None) -> ssl.SSLContext:
        """Return what trusts this authority, and shows the certificate of `client`."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if client is not None:
            context.load_cert_chain(*client.write(folder, f"client-{id(client)}"))
        return context
