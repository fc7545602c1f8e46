"""Certificates the deployment believes no more: a list its CA signs (RFC 5280, section 5), kept in ca.crt itself.

So whoever has the newest ca.crt knows, and nothing else is to be handed out. What instances have is not listed: it
ends with them (docs/design/management-plane.md).
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from astara.clients.authority import Authority, write
from astara.model.errors import BadConfiguration, Gone

_BEGIN = b"-----BEGIN X509 CRL-----"
_BACKDATE = datetime.timedelta(minutes=5)


def revoke(authority: Authority, name: str, now: datetime.datetime) -> Path:
    """List what was issued as `name`, and forget it, so that it can be issued anew; return the file to hand out.

    Raises:
        Gone: nothing was issued under that name. BadConfiguration: a file there cannot be read.
    """
    issued = authority.directory / f"{name}.crt"
    if name == "ca" or not issued.exists():
        raise Gone(f"there is no {issued}", "name what was issued: the orchestrator, or the node")
    try:
        certificate = x509.load_pem_x509_certificate(issued.read_bytes())
        serials = {one.serial_number: one for one in listed(authority.directory / "ca.crt")}
    except ValueError as error:
        raise BadConfiguration(f"{issued} or ca.crt cannot be read: {error}", "restore it from a backup") from None
    serials[certificate.serial_number] = _entry(certificate.serial_number, now)
    _write(authority, list(serials.values()), now)
    for kind in ("crt", "key"):
        (authority.directory / f"{name}.{kind}").unlink(missing_ok=True)
    return authority.directory / "ca.crt"


def listed(ca_file: Path) -> list[x509.RevokedCertificate]:
    """Return what is revoked by the list in `ca_file`; raises ValueError, OSError."""
    content = ca_file.read_bytes()
    return list(x509.load_pem_x509_crl(content[content.index(_BEGIN) :])) if _BEGIN in content else []


def _entry(serial: int, now: datetime.datetime) -> x509.RevokedCertificate:
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - _BACKDATE).build()


def _write(authority: Authority, entries: list[x509.RevokedCertificate], now: datetime.datetime) -> None:
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _BACKDATE)
        # A list that ends would have everybody refused on that day.
        .next_update(authority.certificate.not_valid_after_utc)
        .add_extension(signer, critical=False)
    )
    for entry in sorted(entries, key=lambda one: one.serial_number):
        made = made.add_revoked_certificate(entry)
    signed = made.sign(authority.key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    write(authority.directory / "ca.crt", authority.certificate.public_bytes(pem) + signed.public_bytes(pem))
