"""Our half of mutual TLS, from files that may be renewed while we serve."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cheroot.makefile import MakeFile
from cheroot.ssl import Adapter

from astara.peers.identity import refuse_revoked
from astara.peers.renewal import Renewed


class CannotServe(Exception):
    """The server cannot start; names the option at fault and the remedy."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM: the deployment CA's certificate, our own, our key."""

    ca_file: Path
    cert_file: Path
    key_file: Path


class RenewingTls(Adapter):
    """Wraps accepted sockets without talking to the peer yet, with what the files hold now.

    Raises CannotServe at construction only: see peers.renewal.
    """

    def __init__(self, files: CertificateFiles) -> None:
        paths = (files.ca_file, files.cert_file, files.key_file)
        self._contexts = Renewed(paths, lambda: _context(files), CannotServe)

    def context(self) -> ssl.SSLContext:
        """Return what new connections are made with, read again when a file has changed."""
        return self._contexts.now()

    def bind(self, sock: Any) -> Any:
        return sock

    def wrap(self, sock: Any) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        return self.context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}

    def get_environ(self) -> dict[str, Any]:
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        return MakeFile(sock, mode, bufsize)


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Who resumes a session is not asked for a certificate again: an expired one would be good for hours more.
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca_file)
        refuse_revoked(context, files.ca_file)
    except OSError as error:
        raise _unusable("ca_file", str(files.ca_file), error) from None
    try:
        context.load_cert_chain(files.cert_file, files.key_file)
    except OSError as error:
        raise _unusable("cert_file/key_file", f"{files.cert_file}, {files.key_file}", error) from None
    return context


def _unusable(option: str, path: str, error: OSError) -> CannotServe:
    remedy = "make it with `astara ca issue`"
    return CannotServe(f"{option}: {path} cannot be used: {error.strerror or error}; {remedy}")
