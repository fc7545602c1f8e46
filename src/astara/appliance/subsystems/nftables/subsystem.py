"""The nftables subsystem: element updates, and the whole table only when the structure changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from astara.appliance.boundaries import NotPlugged, Place, SubsystemError
from astara.appliance.subsystems.nftables import codec, elements
from astara.appliance.subsystems.nftables.codec import UnknownLink
from astara.appliance.subsystems.nftables.config import TABLE, Ruleset
from astara.appliance.subsystems.nftables.elements import Contents
from astara.appliance.subsystems.nftables.reference import NAME, Reference, updates
from astara.appliance.system import netlink, netns, nfnetlink, rtnetlink
from astara.appliance.system.netlink import Netlink, NetlinkError
from astara.appliance.system.nfnetlink import RawElement, SetShape
from astara.appliance.system.nft import NftError
from astara.contract.agent import Deviation


class _Encoded(threading.local):
    """The last ruleset a thread asked about, in bytes: an apply checks, carries out and reads back the same one."""

    ruleset: Ruleset | None = None
    links: Mapping[str, str] = MappingProxyType({})
    found: Contents = MappingProxyType({})

    def contents(self, ruleset: Ruleset, shapes: elements.Shapes, links: Mapping[str, str]) -> Contents:
        """Return elements.wanted for it, and raise what that raises."""
        if ruleset is not self.ruleset or links != self.links:
            self.found = elements.wanted(ruleset.elements, shapes, links)
            self.ruleset, self.links = ruleset, links
        return self.found


class NftablesSubsystem:
    """Rendered form: the ruleset itself."""

    name = "nftables"

    def __init__(self) -> None:
        self._reference = Reference()
        self._encoded = _Encoded()

    def render(self, place: Place, config: Ruleset) -> Ruleset:
        return config

    def check(self, place: Place, rendered: Ruleset) -> None:
        with _refusals(self.name, "check"):
            try:
                known = self._reference.known(rendered.structure)
            except NftError:
                self._blame(rendered)
                raise
            with netns.entered(place.netns):
                target = self._encoded.contents(rendered, known.shapes, _names())
            self._reference.judge(rendered, target)

    def apply(self, place: Place, rendered: Ruleset, previous: Ruleset | None) -> bool:
        with _refusals(self.name, "apply"):
            known = self._reference.known(rendered.structure)
            with netns.entered(place.netns), Netlink(netlink.NETFILTER) as kernel:
                target = self._encoded.contents(rendered, known.shapes, _names())
                found = nfnetlink.read_structure(kernel, NAME)
                if found is not None and found == known.structure:
                    requests = updates(_contents(kernel, known.shapes, found.empty), target, known.shapes)
                else:
                    # One transaction: packets see the old table or the new one, never none.
                    requests = nfnetlink.replace_table(NAME, known.structure) + updates({}, target, known.shapes)
                nfnetlink.transact(kernel, requests)
        return bool(requests)

    def read_back(self, place: Place, rendered: Ruleset) -> Sequence[Deviation]:
        with _refusals(self.name, "read-back"):
            return [Deviation(subsystem=self.name, detail=detail) for detail in self._details(place, rendered)]

    def remove(self, place: Place) -> None:
        with _refusals(self.name, "apply"), netns.entered(place.netns), Netlink(netlink.NETFILTER) as kernel:
            if nfnetlink.read_structure(kernel, NAME) is not None:
                nfnetlink.transact(kernel, nfnetlink.delete_table(NAME))

    def _blame(self, rendered: Ruleset) -> None:
        """Raise naming the field when a part that depends on the kernel is what it refuses."""
        for probe in rendered.probes:
            try:
                self._reference.known(probe.structure)
            except NftError:
                message = f"this kernel lacks what {probe.field} asks for; {probe.remedy}"
                raise SubsystemError(self.name, "check", message, probe.field) from None

    def _details(self, place: Place, rendered: Ruleset) -> list[str]:
        known = self._reference.known(rendered.structure)
        with netns.entered(place.netns), Netlink(netlink.NETFILTER) as kernel:
            found = nfnetlink.read_structure(kernel, NAME)
            if found is None:
                return [f"table {TABLE} is missing"]
            lines = nfnetlink.describe(found, known.structure)
            named = (
                [shape for shape in nfnetlink.shapes(found) if not shape.anonymous] if lines else known.shapes.values()
            )
            same = {shape.name: shape for shape in named if shape == known.shapes.get(shape.name)}
            contents = _contents(kernel, same, found.empty)
            links = _names()
        try:
            target = self._encoded.contents(rendered, known.shapes, links)
        except UnknownLink as error:
            return [*lines, f"link {error} is missing"]
        return lines + elements.describe(contents, target, known.shapes)


@contextmanager
def _refusals(name: str, phase: str) -> Iterator[None]:
    try:
        yield
    except netns.NetnsGone:
        raise
    except (NftError, codec.UnknownType) as error:
        raise SubsystemError(name, phase, str(error)) from None
    except NetlinkError as error:
        raise SubsystemError(name, phase, error.strerror or str(error)) from None
    except UnknownLink as error:
        raise NotPlugged(name, phase, [str(error)]) from None


def _contents(
    kernel: Netlink, shapes: Mapping[str, SetShape], empty: frozenset[str]
) -> dict[str, frozenset[RawElement]]:
    return {
        name: frozenset(nfnetlink.read_elements(kernel, NAME, shape))
        for name, shape in shapes.items()
        if shape.bounds or name not in empty  # of ranges the kernel counts pairs: one without an end is none to it
    }


def _names() -> dict[str, str]:
    with Netlink() as kernel:
        return {mac: link.name for mac, link in rtnetlink.by_mac(rtnetlink.seen_links(kernel)).items()}
