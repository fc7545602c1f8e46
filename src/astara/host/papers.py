"""What a machine is born with, as the node hands it over: QEMU's fw_cfg, file `opt/astara/papers`.

The file has one length always. A machine woken from a template then reads its own papers where those that the
template was booted with, blank ones, had been.
"""

from __future__ import annotations

from astara.contract.agent import Credential
from astara.contract.codec import ContractError, Wire, decode, encode

FW_CFG_NAME = "opt/astara/papers"
LENGTH = 64 * 1024
BLANK = bytes(LENGTH)


class Papers(Wire, frozen=True):
    """`host`: the node agent that alone may ask. `mac`, `address` (with prefix length), `port`: of the management link.

    `wall` is the time of writing in seconds since the epoch; `seed` is hexadecimal and for this machine only.
    `shell`: whether there is a root shell on the second serial line.
    """

    instance_id: str
    host: str
    credential: Credential
    mac: str
    address: str
    port: int
    wall: float
    seed: str
    debug: bool = False
    shell: bool = False


def packed(papers: Papers) -> bytes:
    """Return the content of the file.

    Raises:
        ValueError: the certificates are too long for it.
    """
    content = encode(papers)
    if len(content) >= LENGTH:
        raise ValueError(f"papers of {len(content)} bytes; at most {LENGTH - 1} fit")
    return content.ljust(LENGTH, b"\0")


def unpacked(content: bytes) -> Papers | None:
    """Return what `packed` was given, None for blank papers. Raises ContractError."""
    text = content.rstrip(b"\0")
    return decode(text, Papers) if text else None


__all__ = ["BLANK", "FW_CFG_NAME", "LENGTH", "ContractError", "Papers", "packed", "unpacked"]
