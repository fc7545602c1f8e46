"""The own certificate and key of an agent in a machine: written at its birth, and again when others come."""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.api import refusals
from astara.appliance.system import files
from astara.contract.agent import Credential


@dataclass(frozen=True, slots=True)
class OwnIdentity:
    """Three PEM files. Who serves with them reads them again when they change (peers.renewal)."""

    ca_file: Path
    cert_file: Path
    key_file: Path

    def take(self, credential: Credential) -> None:
        """Write them. Between two of them they do not fit together, and what was read before stays in use.

        Raises OSError.
        """
        for path, content in (
            (self.ca_file, credential.ca),
            (self.cert_file, credential.certificate),
            (self.key_file, credential.key),
        ):
            files.replace_if_different(path, content)


def judge(credential: Credential) -> None:
    """What it cannot serve with would leave an agent that nobody can ask again. Raises Refusal (422) for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cadata=credential.ca)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
            both.write(credential.certificate + "\n" + credential.key)
            both.flush()
            context.load_cert_chain(both.name)
    except (ssl.SSLError, ValueError):
        raise refusals.invalid(
            "$.credential", "authority, certificate and key do not fit together", "issue another"
        ) from None
