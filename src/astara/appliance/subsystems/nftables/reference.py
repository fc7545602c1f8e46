"""What the kernel makes of a ruleset, asked of empty namespaces that nobody's packets cross.

Two questions are asked there. Is this ruleset accepted? libnftables' own dry run aborts a transaction, and an abort
waits 8 to 20 ms for the kernel's grace period; adding the elements and flushing them in one transaction is the same
judgement in 0.4 ms. And how is this structure spelled? Comparing a live table with the text it was loaded from needs
one spelling, and the listing of the same text is that spelling, whatever version of nftables is installed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from astara.appliance.subsystems.nftables import elements
from astara.appliance.subsystems.nftables.config import TABLE, Ruleset
from astara.appliance.system.netns import Scratch
from astara.appliance.system.nft import Nft, NftError

LIST = f"list table {TABLE}"


@dataclass(slots=True)
class _Loaded:
    """A namespace with one structure in it; `spelling` is how the kernel lists it."""

    scratch: Scratch
    nft: Nft  # kept open: see system/closing
    spelling: tuple[str, ...]
    lock: threading.Lock = field(default_factory=threading.Lock)


class Reference:
    """Keeps a namespace for each of the structures used last; there are few: drivers times helper choices."""

    _KEPT = 32

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Loaded] = OrderedDict()

    def spelling(self, structure: str) -> tuple[str, ...]:
        """Return `elements.structure` of the table made of `structure`. Raises NftError when it is refused."""
        return self._loaded(structure).spelling

    def judge(self, ruleset: Ruleset) -> None:
        """Raise NftError when the kernel refuses the ruleset."""
        contents = elements.without_indices(ruleset.elements)
        # Any names do: what matters is that different links have different ones.
        macs = {atom.mac for atom in elements.links_of(contents)}
        names = {mac: f"link{index}" for index, mac in enumerate(sorted(macs))}
        loaded = self._loaded(ruleset.structure)
        commands = elements.updates(TABLE, {}, elements.wanted(contents, names))
        commands += [
            f"flush {'map' if any(member.value for member in members) else 'set'} {TABLE} {name}"
            for name, members in sorted(contents.items())
        ]
        with loaded.lock:
            loaded.nft.run("\n".join(commands))

    def _loaded(self, structure: str) -> _Loaded:
        with self._lock:
            loaded = self._known.get(structure)
            if loaded is None:
                loaded = _load(structure)
                self._known[structure] = loaded
                if len(self._known) > self._KEPT:
                    self._known.popitem(last=False)  # who still asks it keeps it alive
            self._known.move_to_end(structure)
            return loaded


def fresh(structure: str, contents: elements.Contents) -> list[str]:
    """Return the commands that replace the table as a whole.

    One transaction: packets see the old table or the new one, never none.
    """
    table = f"table {TABLE} {{\n{structure}\n}}"
    return [f"add table {TABLE}", f"delete table {TABLE}", table, *elements.updates(TABLE, {}, contents)]


def _load(structure: str) -> _Loaded:
    scratch = Scratch()
    with scratch.entered():
        nft = Nft()
    try:
        nft.run("\n".join(fresh(structure, {})))
        return _Loaded(scratch, nft, elements.structure(nft.listing(LIST)))
    except NftError:
        nft.close()
        raise
