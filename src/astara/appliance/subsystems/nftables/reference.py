"""What the kernel makes of a structure text, asked once of a namespace made for the question.

Comparing a live table with the text it was loaded from needs one spelling. The kernel's own listing of the same
text, loaded into an empty namespace, is that spelling, whatever version of nftables is installed.
"""

from __future__ import annotations

import threading

from astara.appliance.subsystems.nftables.config import TABLE
from astara.appliance.system import netns
from astara.appliance.system.nft import Nft


class Reference:
    """Keeps the answer per structure text; there are as many texts as driver versions and helper choices."""

    _KEPT = 256

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def listing(self, structure: str) -> str:
        """Return the terse listing of table inet astara made of `structure`. Raises NftError when it is refused."""
        with self._lock:
            known = self._known.get(structure)
        if known is None:
            known = netns.in_scratch(lambda: _load_and_list(structure))
            with self._lock:
                if len(self._known) >= self._KEPT:
                    self._known.clear()
                self._known[structure] = known
        return known


def table(structure: str) -> str:
    """Return the nft commands that make the table of `structure`."""
    return f"table {TABLE} {{\n{structure}\n}}"


def _load_and_list(structure: str) -> str:
    with Nft() as nft:
        nft.run(table(structure))
        return nft.terse(f"list table {TABLE}")
