"""The deployment's certificate authority: one CA per deployment, made at set-up, kept in one directory.

    ca.crt ca.key                 the authority (P-256, ten years); one more CA fits below it (clients.issuing)
    <name>.crt <name>.key         what it issued (P-256, one year by default)

Everything is idempotent: what is there and still good is kept, what is about to expire is made anew.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from astara.model.errors import BadConfiguration
from astara.peers.identity import Identity

_CA_DAYS = 3650
_PRIVATE = 0o600
#: Clocks of nodes differ a little.
_BACKDATE = datetime.timedelta(minutes=5)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A loaded CA. `directory` is where it keeps what it issues."""

    directory: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def open_authority(directory: Path, now: datetime.datetime, name: str = "astara") -> Authority:
    """Load the deployment's CA from `directory`, making it when there is none.

    Raises:
        BadConfiguration: when only one of the two files is there, or they cannot be read.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = (directory / "ca.crt", directory / "ca.key")
    present = [path.exists() for path in paths]
    if not any(present):
        _make_authority(paths, name, now)
    elif not all(present):
        missing = paths[present.index(False)]
        raise BadConfiguration(
            f"{missing} is missing beside its other half", "restore it from a backup, or remove both"
        )
    try:
        certificate = x509.load_pem_x509_certificate(paths[0].read_bytes())
        key = serialization.load_pem_private_key(paths[1].read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise BadConfiguration(f"the CA in {directory} cannot be read: {error}", "restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadConfiguration(f"{paths[1]} is not an elliptic curve key", "remove the CA and make a new one")
    return Authority(directory, certificate, key)


def issue(
    authority: Authority, name: str, role: str, addresses: Sequence[str], now: datetime.datetime, days: int = 365
) -> Identity:
    """Issue the certificate of one peer, or keep the one that is there and good for another third of its time.

    `role` is a role URI (contract.identity); `addresses` are the host names and IP addresses it is reached at.
    """
    identity = Identity(
        ca_file=authority.directory / "ca.crt",
        cert_file=authority.directory / f"{name}.crt",
        key_file=authority.directory / f"{name}.key",
    )
    names = _names(role, addresses)
    if not _still_good(authority, identity, names, now, days):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _leaf(authority, key, name, names, now, days)
        write(identity.key_file, key_pem(key))
        write(identity.cert_file, certificate.public_bytes(serialization.Encoding.PEM))
    return identity


def _still_good(
    authority: Authority, identity: Identity, names: x509.SubjectAlternativeName, now: datetime.datetime, days: int
) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(identity.cert_file.read_bytes())
        key = serialization.load_pem_private_key(identity.key_file.read_bytes(), password=None)
        certificate.verify_directly_issued_by(authority.certificate)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001  # whatever is wrong with the old one, the answer is a new one
        return False
    return (
        found == names
        and key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc - now > days / 3 * _DAY
    )


def _names(role: str, addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(role)]
    for address in addresses:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return x509.SubjectAlternativeName(names)


def _make_authority(paths: tuple[Path, Path], name: str, now: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: where a CA is replaced peers know both for a while, and lists are found by their issuer's name.
    itself = subject(f"{name} CA {secrets.token_hex(4)}")
    certificate = (
        builder(itself, itself, key, now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write(paths[1], key_pem(key))
    write(paths[0], certificate.public_bytes(serialization.Encoding.PEM))


def _leaf(
    authority: Authority,
    key: ec.EllipticCurvePrivateKey,
    name: str,
    names: x509.SubjectAlternativeName,
    now: datetime.datetime,
    days: int,
) -> x509.Certificate:
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        builder(subject(name), authority.certificate.subject, key, now, days)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(both, critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + days * _DAY)
    )


def subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path: Path, content: bytes) -> None:
    """Write atomically; the file is never readable by others, not even for a moment."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as out:
        os.fchmod(out.fileno(), _PRIVATE)
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    Path(temporary).replace(path)
