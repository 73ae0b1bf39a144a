"""Certificates for tests: an authority of its own, and servers that it vouches for."""

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Kind = Literal["rsa", "ec"]
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
DAY = datetime.timedelta(days=1)


def make_key(kind: Kind, curve: ec.EllipticCurve | None = None) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(curve or ec.SECP256R1())


@dataclass(slots=True)
class Authority:
    """Signs servers' certificates, through one in between as AWS's are."""

    kind: Kind = "rsa"
    key: Key = field(init=False)
    between: Key = field(init=False)

    def __post_init__(self) -> None:
        self.key = make_key(self.kind, ec.SECP384R1())
        self.between = make_key(self.kind)

    @property
    def root(self) -> bytes:
        """Its own certificate, in DER."""
        return certificate("root", "root", self.key, self.key, authority=True).public_bytes(Encoding.DER)

    def server(self, folder: Path, names: Sequence[str], *, expired: bool = False) -> ssl.SSLContext:
        """What a server of these names needs. The folder holds its key for a moment."""
        key = make_key(self.kind)
        days = (-10, -1) if expired else (-1, 10)
        chain = [
            certificate("server", "between", key, self.between, names=names, days=days),
            certificate("between", "root", self.between, self.key, authority=True),
        ]
        texts = [one.public_bytes(Encoding.PEM) for one in chain]
        texts.append(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file = folder / "server.pem"
        file.write_bytes(b"".join(texts))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        file.unlink()
        return context


def certificate(
    subject: str,
    issuer: str,
    key: Key,
    signed_by: Key,
    *,
    authority: bool = False,
    names: Sequence[str] = (),
    days: tuple[int, int] = (-1, 10),
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(signed_by, hashes.SHA256())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
