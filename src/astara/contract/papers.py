"""What a machine is born with: who it is, and all its agent needs before anybody can ask it."""

from __future__ import annotations

from astara.contract.agent import Credential
from astara.contract.codec import Wire, encode

#: Where a cloud's config drive says its file belongs; nothing is ever written there.
CONFIG_DRIVE_PATH = "/etc/astara/papers"


class Papers(Wire, frozen=True):
    """`host`: the node agent that alone may ask, None: the orchestrator. `mac`, `address` (with prefix length), `port`:
    of the management link; `gateway`: the way out of it, None where everybody who asks is on it.

    `completes_checksums`: what is behind the machine's cards completes none, so its kernel must.
    `wall` is the time of writing in seconds since the epoch; `seed` is hexadecimal and for this machine only.
    `shell`: whether there is a root shell on the second serial line.
    """

    instance_id: str
    host: str | None
    credential: Credential
    mac: str
    address: str
    port: int
    wall: float
    seed: str
    debug: bool = False
    shell: bool = False
    gateway: str | None = None
    completes_checksums: bool = False


def plain(papers: Papers) -> bytes:
    """Return the content of a config drive's file, as long as it is."""
    return encode(papers)
