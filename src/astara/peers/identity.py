"""Our side of mutual TLS: the files of one identity, and ssl contexts that check the peer's role."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from astara.contract.identity import instance_role, roles_in
from astara.model.errors import BadConfiguration
from astara.peers.renewal import Renewed

#: The certificates (PEM, each alone) that are believed and no others, asked at each handshake.
Believed: TypeAlias = Callable[[], Collection[str]]
_LIST = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, slots=True)
class Identity:
    """The PEM files we show and check with: the deployment CA's certificate, our own, our key."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def context_for(identity: Identity, role: str, believed: Believed | None = None) -> ssl.SSLContext:
    """Return a client context that speaks only to a peer of that role, with what the files hold by then.

    The role in the certificate decides, not the address it was reached at: addresses change. With `believed` it must
    be one of these certificates besides: an instance made again has the id of the one before, whose key may be known.

    Raises:
        BadConfiguration: naming the file that cannot be read or does not fit the others.
    """
    socket_class = _socket_for(role, believed)
    context = _RenewingContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = (identity.ca_file, identity.cert_file, identity.key_file)
    # What instances have is revoked by who handed it over: `believed`. Their CA keeps no list.
    listed = not role.startswith(instance_role(""))
    context.source = Renewed(paths, lambda: _context(identity, socket_class, listed=listed), BadConfiguration)
    return context


class _RenewingContext(ssl.SSLContext):
    """What an HTTP client is given once and asks for each connection: that is made by the context of now."""

    source: Renewed[ssl.SSLContext]

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self.source.now().wrap_socket(*args, **kwargs)


def refuse_revoked(context: ssl.SSLContext, ca_file: Path) -> None:
    """Have peers refused that the list in `ca_file` names, when there is one (RFC 5280, section 5). Raises OSError."""
    if _LIST in ca_file.read_bytes():
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _context(identity: Identity, socket_class: type[ssl.SSLSocket], *, listed: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.sslsocket_class = socket_class
    _load(context, identity)
    if listed:
        refuse_revoked(context, identity.ca_file)
    return context


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    """Put the files into `context`; raises BadConfiguration naming the file at fault."""
    try:
        context.load_verify_locations(identity.ca_file)
    except OSError as error:
        raise _unusable("ca_file", identity.ca_file, error) from None
    try:
        context.load_cert_chain(identity.cert_file, identity.key_file)
    except OSError as error:
        raise _unusable("cert_file/key_file", f"{identity.cert_file}, {identity.key_file}", error) from None


def _unusable(option: str, path: Path | str, error: OSError) -> BadConfiguration:
    return BadConfiguration(
        f"{option}: {path} cannot be used: {error.strerror or error}",
        "make the deployment's certificates with `astara ca init` and `astara ca issue`",
    )


def _socket_for(role: str, believed: Believed | None) -> type[ssl.SSLSocket]:
    """Return a socket class that refuses the peer before the first request byte leaves."""

    class RoleCheckingSocket(ssl.SSLSocket):
        def do_handshake(self, *args: Any, **kwargs: Any) -> None:
            super().do_handshake(*args, **kwargs)
            if role not in roles_in(self.getpeercert()):
                raise ssl.SSLCertVerificationError(f"the peer's certificate does not carry the role {role}")
            if believed is not None and self.getpeercert(binary_form=True) not in map(_der, believed()):
                raise ssl.SSLCertVerificationError("the peer's certificate is not one this instance was given")

    return RoleCheckingSocket


def _der(pem: str) -> bytes | None:
    try:
        return ssl.PEM_cert_to_DER_cert(pem)
    except ValueError:
        return None
