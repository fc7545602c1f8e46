"""A lab's secrets and certificates: made once per lab, readable by root only."""

from __future__ import annotations

import datetime
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from astara_lab.places import LOOPBACK, NODE_NAME, SECOND_NODE_ADDRESS, SECOND_NODE_NAME, Lab


@dataclass(frozen=True)
class Trust:
    """Where a lab's secrets and certificates lie."""

    directory: Path

    @property
    def notify_secret(self) -> Path:
        return self.directory / "notify.secret"

    @property
    def metadata_secret(self) -> Path:
        return self.directory / "metadata.secret"

    @property
    def password(self) -> str:
        """Of the broker and the database, which listen on the pod's loopback only."""
        return self.password_file.read_text()

    @property
    def password_file(self) -> Path:
        return self.directory / "services.secret"

    @property
    def tls(self) -> Path:
        return self.directory / "tls"


def trust_of(lab: Lab) -> Trust:
    return Trust(lab.lib / "trust")


def establish(lab: Lab) -> Trust:
    """Makes what is missing: shared secrets, the deployment CA, and a certificate for each of its two peers."""
    trust = trust_of(lab)
    trust.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for file in (trust.notify_secret, trust.metadata_secret, trust.password_file):
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as out:
                out.write(secrets.token_hex(32))
    _certificates(trust)
    return trust


def _certificates(trust: Trust) -> None:
    from astara.clients.authority import issue, open_authority
    from astara.clients.issuing import make_issuer
    from astara.contract.identity import ORCHESTRATOR, node_role

    now = datetime.datetime.now(datetime.UTC)
    authority = open_authority(trust.tls, now)
    make_issuer(authority, now)
    issue(authority, "orchestrator", ORCHESTRATOR, (LOOPBACK,), now)
    issue(authority, "node", node_role(NODE_NAME), (LOOPBACK,), now)
    issue(authority, "node-2", node_role(SECOND_NODE_NAME), (SECOND_NODE_ADDRESS,), now)
