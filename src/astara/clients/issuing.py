"""The authority that issues to instances: a CA below the deployment's, which can sign nothing but instances.

<directory of the deployment's CA>/instances/
    ca.crt                        the deployment's CA, without its key
    issuing.crt issuing.key       the CA below it (P-256, as long as the one above)

The orchestrator needs this directory alone ([identity] ca_dir). Peers believe it for roles of instances only
(contract.identity.roles_in). What it issues is kept nowhere here.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from astara.clients.authority import Authority, builder, key_pem, subject, usage, write
from astara.contract.agent import Credential
from astara.contract.identity import INSTANCES_UNIT, instance_role
from astara.model.errors import BadConfiguration

_DAY_S = 86400.0
_REMEDY = "make it with `astara ca init` where the deployment's CA is, copy its folder `instances` here"


@dataclass(frozen=True, slots=True)
class Issuer:
    """A loaded CA of instances. `ca` and `chain` are PEM: the deployment's certificate, and the one that signs."""

    ca: str
    chain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """`until`: seconds since the epoch."""

    credential: Credential
    until: float


class Papers:
    """Issues to instances, each time anew; `wall` is seconds since the epoch."""

    def __init__(self, issuer: Issuer, days: int, wall: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._days = days
        self._wall = wall

    def issue(self, instance_id: str) -> Issued:
        """Return a new key with its certificate, good as a server's with the role of that instance and for no other."""
        now = datetime.datetime.fromtimestamp(self._wall(), datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _leaf(self._issuer, key, instance_id, now, self._days)
        text = certificate.public_bytes(serialization.Encoding.PEM).decode()
        return Issued(
            Credential(ca=self._issuer.ca, certificate=text + self._issuer.chain, key=key_pem(key).decode()),
            certificate.not_valid_after_utc.timestamp(),
        )

    def due(self, until: float) -> bool:
        """Whether a third of its time is left, or less."""
        return until - self._wall() <= self._days * _DAY_S / 3


def make_issuer(authority: Authority, now: datetime.datetime) -> Path:
    """Make the CA of instances below `authority`, or keep the one that is there; returns its directory.

    Raises:
        BadConfiguration: the deployment's CA was made without room for another below it.
    """
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    directory = authority.directory / "instances"
    if constraints.path_length is not None and constraints.path_length < 1:
        raise BadConfiguration(
            f"the CA in {authority.directory} is of an earlier version and cannot have another below it",
            "namespaces go on with it; for other bodies move it away, `astara ca init`, issue every certificate anew",
        )
    directory.mkdir(mode=0o700, exist_ok=True)
    if not (directory / "issuing.key").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _below(authority, key, now)
        write(directory / "ca.crt", authority.certificate.public_bytes(serialization.Encoding.PEM))
        write(directory / "issuing.crt", certificate.public_bytes(serialization.Encoding.PEM))
        write(directory / "issuing.key", key_pem(key))
    return directory


def open_issuer(directory: Path) -> Issuer:
    """Load it; raises BadConfiguration naming what is missing or does not fit."""
    try:
        ca = (directory / "ca.crt").read_text()
        chain = (directory / "issuing.crt").read_text()
        root = x509.load_pem_x509_certificate(ca.encode())
        certificate = x509.load_pem_x509_certificate(chain.encode())
        key = serialization.load_pem_private_key((directory / "issuing.key").read_bytes(), password=None)
        certificate.verify_directly_issued_by(root)
    except OSError as error:
        raise BadConfiguration(f"[identity] ca_dir: {error.filename}: {error.strerror}", _REMEDY) from None
    except Exception:  # noqa: BLE001  # cryptography raises many kinds; whatever it says may quote the key
        raise BadConfiguration(f"[identity] ca_dir: what is in {directory} does not fit together", _REMEDY) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise BadConfiguration(f"[identity] ca_dir: {directory}/issuing.key is not the certificate's", _REMEDY)
    return Issuer(ca, chain, certificate, key)


def _below(authority: Authority, key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, INSTANCES_UNIT),
            x509.NameAttribute(NameOID.COMMON_NAME, "astara instances CA"),
        ]
    )
    days = (authority.certificate.not_valid_after_utc - now).days
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        builder(name, authority.certificate.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _leaf(
    issuer: Issuer, key: ec.EllipticCurvePrivateKey, instance_id: str, now: datetime.datetime, days: int
) -> x509.Certificate:
    role = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(instance_role(instance_id))])
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return (
        builder(subject(instance_id), issuer.certificate.subject, key, now, days)
        .add_extension(role, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs=False), critical=True)
        # A server's only: nothing that listens takes it from a client.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(above, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
