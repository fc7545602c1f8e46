"""What the kernel makes of a ruleset, asked of empty namespaces that nobody's packets cross.

Two questions are asked there. What is this structure? libnftables loads its text once; what the kernel then lists
is what every instance gets, message by message, and what live tables are compared with. Is this ruleset accepted?
libnftables' dry run aborts a transaction, and an abort waits 8 to 20 ms for the kernel's grace period; adding the
elements and flushing them in one transaction is the same judgement in half a millisecond.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from astara.appliance.subsystems.nftables import codec, elements
from astara.appliance.subsystems.nftables.config import TABLE, Ruleset
from astara.appliance.subsystems.nftables.elements import Contents
from astara.appliance.system import netlink, nfnetlink
from astara.appliance.system.netlink import Netlink, Request
from astara.appliance.system.netns import Scratch
from astara.appliance.system.nfnetlink import RawElement, SetShape, Structure
from astara.appliance.system.nft import Nft, NftError

#: The table's name in messages, which carry the family apart.
NAME = TABLE.split()[1]
#: How many accepted contents are remembered per structure, and of how many elements at most.
_ACCEPTED = 1000
_SMALL = 16


@dataclass(slots=True)
class Known:
    """A namespace with one structure in it, and what the kernel says it is. `shapes`: its named sets."""

    structure: Structure
    shapes: Mapping[str, SetShape]
    scratch: Scratch
    kernel: Netlink  # kept open: see system/closing
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: Sets with ranges, and their contents, that the kernel took before: judging those takes it 2 ms.
    accepted: set[tuple[str, frozenset[RawElement]]] = field(default_factory=set)


class Reference:
    """Keeps a namespace for each of the structures used last; there are few: drivers times helper choices."""

    _KEPT = 32

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Known] = OrderedDict()

    def known(self, structure: str) -> Known:
        """Return what the kernel makes of the structure's text. Raises NftError when it is refused."""
        with self._lock:
            known = self._known.get(structure)
            if known is None:
                known = _load(structure)
                self._known[structure] = known
                weakref.finalize(self, known.kernel.close)
                if len(self._known) > self._KEPT:
                    self._known.popitem(last=False)[1].kernel.close()
            self._known.move_to_end(structure)
            return known

    def judge(self, ruleset: Ruleset, contents: Contents) -> None:
        """Raise NetlinkError when the kernel refuses `contents`, those of `ruleset` with the names of links.

        Sets with ranges are judged under other names, the same ones for every instance: what matters is that
        different links have different ones.
        """
        known = self.known(ruleset.structure)
        ranges = {name: found for name, found in ruleset.elements.items() if known.shapes[name].ranges}
        macs = {atom.mac for atom in elements.links_of(ranges)}
        names = {mac: f"link{index}" for index, mac in enumerate(sorted(macs))}
        alike = elements.wanted(ranges, known.shapes, names)
        with known.lock:
            unheard = {name: found for name, found in alike.items() if (name, found) not in known.accepted}
            asked = {name: found for name, found in contents.items() if name not in alike} | unheard
            requests = updates({}, asked, known.shapes) + [nfnetlink.flush_set(NAME, name) for name in sorted(asked)]
            nfnetlink.transact(known.kernel, requests)
            if len(known.accepted) > _ACCEPTED:
                known.accepted.clear()
            known.accepted.update((name, found) for name, found in unheard.items() if len(found) <= _SMALL)


def updates(current: Contents, target: Contents, shapes: Mapping[str, SetShape]) -> list[Request]:
    """Return the requests that turn `current` into `target`: removals first, per set."""
    requests: list[Request] = []
    for name, gone, new in elements.differences(current, target):
        requests += nfnetlink.delete_elements(NAME, shapes[name], gone)
        requests += nfnetlink.add_elements(NAME, shapes[name], new)
    return requests


def _load(text: str) -> Known:
    scratch = Scratch()
    with scratch.entered():
        with Nft() as nft:
            nft.run(f"table {TABLE} {{\n{text}\n}}")
        kernel = Netlink(netlink.NETFILTER)
    structure = nfnetlink.read_structure(kernel, NAME)
    if structure is None:
        raise NftError("the kernel shows no table where one was loaded")
    shapes = {shape.name: shape for shape in nfnetlink.shapes(structure) if not shape.anonymous}
    strange = sorted(name for name, shape in shapes.items() if not codec.speaks(shape))
    if strange:
        raise NftError(f"sets of types or ranges that cannot be updated: {', '.join(strange)}")
    return Known(nfnetlink.with_anonymous_elements(kernel, NAME, structure), shapes, scratch, kernel)
