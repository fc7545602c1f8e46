"""The nftables subsystem: element updates, and the whole table only when the structure changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.nftables import elements
from astara.appliance.subsystems.nftables.config import TABLE, Ruleset
from astara.appliance.subsystems.nftables.elements import Contents, UnknownLink
from astara.appliance.subsystems.nftables.reference import Reference, table
from astara.appliance.system import netns, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.nft import Nft, NftError
from astara.contract.agent import Deviation

_LIST = f"list table {TABLE}"


@dataclass(frozen=True, slots=True)
class _World:
    """`listing`: the live table in terse text, None when there is no such table."""

    listing: str | None
    contents: Contents


class NftablesSubsystem:
    """Rendered form: the ruleset itself. The structure's own spelling is asked of the kernel once."""

    name = "nftables"

    def __init__(self) -> None:
        self._reference = Reference()

    def render(self, place: Place, config: Ruleset) -> Ruleset:
        return config

    def check(self, place: Place, rendered: Ruleset) -> None:
        try:
            with netns.entered(place.netns), Nft() as nft:
                transaction = self._transaction(nft, rendered)
                if transaction:
                    nft.check(transaction)
        except NftError as error:
            raise SubsystemError(self.name, "check", str(error)) from None
        except UnknownLink as error:
            raise SubsystemError(self.name, "check", f"nothing is plugged in with MAC {error}") from None

    def apply(self, place: Place, rendered: Ruleset, previous: Ruleset | None) -> bool:
        try:
            with netns.entered(place.netns), Nft() as nft:
                transaction = self._transaction(nft, rendered)
                if transaction:
                    nft.run(transaction)
        except NftError as error:
            raise SubsystemError(self.name, "apply", str(error)) from None
        except UnknownLink as error:
            raise SubsystemError(self.name, "apply", f"nothing is plugged in with MAC {error}") from None
        return bool(transaction)

    def read_back(self, place: Place, rendered: Ruleset) -> Sequence[Deviation]:
        return [Deviation(subsystem=self.name, detail=detail) for detail in self._details(place, rendered)]

    def remove(self, place: Place) -> None:
        with netns.entered(place.netns), Nft() as nft:
            nft.run(f"add table {TABLE}\ndelete table {TABLE}")

    def _details(self, place: Place, rendered: Ruleset) -> list[str]:
        with netns.entered(place.netns), Nft() as nft:
            world = _world(nft)
            links = _names()
        if world.listing is None:
            return [f"table {TABLE} is missing"]
        lines = [] if world.listing == self._reference.listing(rendered.structure) else ["chains or rules differ"]
        try:
            return lines + elements.describe(world.contents, elements.wanted(rendered.elements, links))
        except UnknownLink as error:
            return [*lines, f"link {error} is missing"]

    def _transaction(self, nft: Nft, rendered: Ruleset) -> str:
        """Return the commands that make the live table what is wanted; empty when it is. Raises NftError, UnknownLink."""
        reference = self._reference.listing(rendered.structure)
        target = elements.wanted(rendered.elements, _names())
        world = _world(nft)
        if world.listing == reference:
            return "\n".join(elements.updates(TABLE, world.contents, target))
        # One transaction: packets see the old table or the new one, never none.
        fresh = [f"add table {TABLE}", f"delete table {TABLE}", table(rendered.structure)]
        return "\n".join([*fresh, *elements.updates(TABLE, {}, target)])


def _world(nft: Nft) -> _World:
    try:
        listing = nft.terse(_LIST)
    except NftError:
        return _World(None, {})
    return _World(listing, elements.found(nft.listing(_LIST)))


def _names() -> dict[str, str]:
    with Netlink() as kernel:
        return {mac: link.name for mac, link in rtnetlink.by_mac(rtnetlink.links(kernel)).items()}
