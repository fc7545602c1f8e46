"""`python3 -m astara.host.container`: the agent as the first process of a container (docs/design/bodies.md).

The node has put what it must know, and its identity, into a directory that only root reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

from astara.contract.codec import ContractError, Wire, decode
from astara.contract.identity import node_role
from astara.host.first_process import outlive
from astara.host.options import NodeOptions, Solitary

BIRTH = Path("/run/astara/birth")
STATE = Path("/var/lib/astara")
WORDS, CA, CERTIFICATE, KEY = "words.json", "ca.pem", "cert.pem", "key.pem"
#: Where the agent listens, on the loopback of the instance's namespace.
PORT = 19801
_IMAGE = Path("/usr/lib/astara/image")


class Words(Wire, frozen=True):
    """`host`: the node whose agent alone may ask."""

    instance_id: str
    host: str
    debug: bool = False


def main() -> int:
    """Return 1 when the agent cannot live, or does not stay."""
    try:
        words = decode((BIRTH / WORDS).read_bytes(), Words)
    except (OSError, ContractError) as error:
        sys.stderr.write(f"astara: this container was told nothing: {error}\n")
        return 1
    outlive(_options(words))
    return 1


def _options(words: Words) -> NodeOptions:
    return NodeOptions(
        name=words.instance_id,
        state_dir=STATE / "node",
        host="127.0.0.1",
        port=PORT,
        ca_file=BIRTH / CA,
        cert_file=BIRTH / CERTIFICATE,
        key_file=BIRTH / KEY,
        debug=words.debug,
        serves=node_role(words.host),
        solitary=Solitary.NAMESPACE,
        image=_IMAGE.read_text().strip() if _IMAGE.is_file() else None,
    )


if __name__ == "__main__":
    sys.exit(main())
