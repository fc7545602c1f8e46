"""The own certificate and key of an agent in a machine: written at its birth, and again when others come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
