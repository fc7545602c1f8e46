"""Our side of mutual TLS: the files of one identity, and ssl contexts that check the peer's role."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from astara.contract.identity import roles_in
from astara.model.errors import BadConfiguration

_log = structlog.get_logger(__name__)


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
    context = _RenewingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.source = _Source(identity, role)
    return context


class _Source:
    """The context made of the files as they are; a renewal that cannot be used, or is half written, is waited for."""

    def __init__(self, identity: Identity, role: str) -> None:
        self._identity = identity
        self._socket_class = _socket_for(role)
        self._stamp = _stamp(identity)
        self._context = self._made()

    def context(self) -> ssl.SSLContext:
        stamp = _stamp(self._identity)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._context = self._made()
            except BadConfiguration as error:
                _log.warning("tls.not-renewed", reason=str(error), remedy=error.remedy)
            else:
                _log.info("tls.renewed", cert_file=str(self._identity.cert_file))
        return self._context

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.sslsocket_class = self._socket_class
        _load(context, self._identity)
        return context


class _RenewingContext(ssl.SSLContext):
    """What an HTTP client is given once and asks for each connection: that is made by the context of now."""

    source: _Source

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self.source.context().wrap_socket(*args, **kwargs)


def _stamp(identity: Identity) -> tuple[tuple[int, int, int] | None, ...]:
    """Return what changes whenever a file is written or replaced; three system calls."""
    return tuple(map(_stamp_of, (identity.ca_file, identity.cert_file, identity.key_file)))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


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
