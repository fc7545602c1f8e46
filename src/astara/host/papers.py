"""How a machine is handed its papers (contract/papers.py).

By a node: QEMU's fw_cfg, file `opt/astara/papers`. The file has one length always. A machine woken from a template then
reads its own papers where those that the template was booted with, blank ones, had been.

By a cloud: a file of the config drive (machine/config_drive.py), as long as it is; a cloud has no templates.
"""

from __future__ import annotations

from astara.contract.codec import ContractError, decode, encode
from astara.contract.papers import Papers

FW_CFG_NAME = "opt/astara/papers"
LENGTH = 64 * 1024
BLANK = bytes(LENGTH)


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
    """Return what `packed` or `plain` was given, None for blank papers. Raises ContractError."""
    text = content.rstrip(b"\0")
    return decode(text, Papers) if text else None


__all__ = ["BLANK", "FW_CFG_NAME", "LENGTH", "ContractError", "Papers", "packed", "unpacked"]
