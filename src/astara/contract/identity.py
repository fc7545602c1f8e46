"""Who a peer is: the role its certificate carries, as a URI in the subject's alternative names.

Addresses move and names are shared; a role is what the deployment CA vouched for. One URI per role,
as SPIFFE does it. The dict read here is what `ssl.SSLSocket.getpeercert()` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "astara:role/"
_INSTANCE = _PREFIX + "instance/"
#: The organisational unit in the name of the CA that signs instances' certificates, and nothing else.
INSTANCES_UNIT = "astara instances"
ORCHESTRATOR = _PREFIX + "orchestrator"
_END = "\n-----END CERTIFICATE-----\n"


def node_role(name: str) -> str:
    """Return the role of the node agent of node `name`."""
    return f"{_PREFIX}node/{name}"


def instance_role(instance_id: str) -> str:
    """Return the role of the agent inside one instance."""
    return f"{_INSTANCE}{instance_id}"


def roles_in(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the role URIs of a verified peer certificate; empty when there is none.

    The CA for instances is on machines that are always up, its key with it: it is believed for roles of instances only.
    RFC 5280's name constraints cannot say that, they know no URI without a host (section 4.2.1.10).
    """
    names = (certificate or {}).get("subjectAltName", ())
    believed = _INSTANCE if _issued_for_instances(certificate or {}) else _PREFIX
    return frozenset(value for kind, value in names if kind == "URI" and value.startswith(believed))


def _issued_for_instances(certificate: Mapping[str, Any]) -> bool:
    return any(("organizationalUnitName", INSTANCES_UNIT) in parts for parts in certificate.get("issuer", ()))


def leaves_in(chains: str) -> list[str]:
    """Return each certificate of a PEM text by itself."""
    return [text.strip() + _END for text in chains.split(_END)[:-1]]


def parse_role(text: str) -> str:
    """Turn what an operator types ("orchestrator", "node/NAME") into a role URI; ValueError says the forms."""
    kind, slash, name = text.partition("/")
    if kind == "orchestrator" and not slash:
        return ORCHESTRATOR
    if kind == "node" and name and "/" not in name:
        return node_role(name)
    raise ValueError(f"{text!r} is not a role: write orchestrator, or node/NAME")
