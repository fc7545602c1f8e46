"""Our side of mutual TLS: the files of one identity, and ssl contexts that check the peer's role."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astara.contract.identity import roles_in
from astara.model.errors import BadConfiguration
from astara.peers.renewal import Renewed


@dataclass(frozen=True, slots=True)
class Identity:
    """The PEM files we show and check with: the deployment CA's certificate, our own, our key."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def context_for(identity: Identity, role: str) -> ssl.SSLContext:
    """Return a client context that speaks only to a peer of that role, with what the files hold by then.

    The role in the certificate decides, not the address it was reached at: addresses change.

    Raises:
        BadConfiguration: naming the file that cannot be read or does not fit the others.
    """
    socket_class = _socket_for(role)
    context = _RenewingContext(ssl.PROTOCOL_TLS_CLIENT)
    paths = (identity.ca_file, identity.cert_file, identity.key_file)
    context.source = Renewed(paths, lambda: _context(identity, socket_class), BadConfiguration)
    return context


class _RenewingContext(ssl.SSLContext):
    """What an HTTP client is given once and asks for each connection: that is made by the context of now."""

    source: Renewed[ssl.SSLContext]

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self.source.now().wrap_socket(*args, **kwargs)


def _context(identity: Identity, socket_class: type[ssl.SSLSocket]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.sslsocket_class = socket_class
    _load(context, identity)
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


def _socket_for(role: str) -> type[ssl.SSLSocket]:
    """Return a socket class that refuses the peer before the first request byte leaves."""

    class RoleCheckingSocket(ssl.SSLSocket):
        def do_handshake(self, *args: Any, **kwargs: Any) -> None:
            super().do_handshake(*args, **kwargs)
            if role not in roles_in(self.getpeercert()):
                raise ssl.SSLCertVerificationError(f"the peer's certificate does not carry the role {role}")

    return RoleCheckingSocket
