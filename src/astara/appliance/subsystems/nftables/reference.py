"""What the kernel makes of a ruleset, asked of an empty namespace that nobody's packets cross.

Two questions are asked there. Is this ruleset accepted? libnftables' own dry run aborts a transaction, and an abort
waits 8 to 20 ms for the kernel's grace period; loading into an empty namespace is the same judgement in 2 ms. And how
is this structure spelled? Comparing a live table with the text it was loaded from needs one spelling, and the
listing of the same text is that spelling, whatever version of nftables is installed.
"""

from __future__ import annotations

import threading

from astara.appliance.subsystems.nftables import elements
from astara.appliance.subsystems.nftables.config import TABLE, Ruleset
from astara.appliance.system.netns import Scratch
from astara.appliance.system.nft import Nft

LIST = f"list table {TABLE}"


class Reference:
    """One scratch namespace, one question at a time. Keeps the spelling of every structure it has seen."""

    _KEPT = 256

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scratch: Scratch | None = None
        self._known: dict[str, tuple[str, ...]] = {}

    def spelling(self, structure: str) -> tuple[str, ...]:
        """Return `elements.structure` of the table made of `structure`. Raises NftError when it is refused."""
        known = self._known.get(structure)
        if known is None:
            self._ask(structure, {})
            known = self._known[structure]
        return known

    def judge(self, ruleset: Ruleset) -> None:
        """Raise NftError when the kernel refuses the ruleset."""
        contents = elements.without_indices(ruleset.elements)
        # Any names do: what matters is that different links have different ones.
        macs = {atom.mac for atom in elements.links_of(contents)}
        names = {mac: f"link{index}" for index, mac in enumerate(sorted(macs))}
        self._ask(ruleset.structure, elements.wanted(contents, names))

    def _ask(self, structure: str, contents: elements.Contents) -> None:
        with self._lock:
            if self._scratch is None:
                self._scratch = Scratch()
            with self._scratch.entered(), Nft() as nft:
                nft.run("\n".join(fresh(structure, contents)))
                if structure not in self._known:
                    if len(self._known) >= self._KEPT:
                        self._known.clear()
                    self._known[structure] = elements.structure(nft.listing(LIST))


def fresh(structure: str, contents: elements.Contents) -> list[str]:
    """Return the commands that replace the table as a whole.

    One transaction: packets see the old table or the new one, never none.
    """
    table = f"table {TABLE} {{\n{structure}\n}}"
    return [f"add table {TABLE}", f"delete table {TABLE}", table, *elements.updates(TABLE, {}, contents)]
