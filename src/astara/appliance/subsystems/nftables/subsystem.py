"""The nftables subsystem: element updates, and the whole table only when the structure changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.nftables import elements
from astara.appliance.subsystems.nftables.config import TABLE, Ruleset
from astara.appliance.subsystems.nftables.elements import Contents, UnknownLink
from astara.appliance.subsystems.nftables.reference import LIST, Reference, fresh
from astara.appliance.system import netns, rtnetlink
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.nft import Nft, NftError
from astara.contract.agent import Deviation


@dataclass(frozen=True, slots=True)
class _World:
    """The live table; an empty `structure` means that there is none."""

    structure: tuple[str, ...]
    contents: Contents


class NftablesSubsystem:
    """Rendered form: the ruleset itself."""

    name = "nftables"

    def __init__(self) -> None:
        self._reference = Reference()

    def render(self, place: Place, config: Ruleset) -> Ruleset:
        return config

    def check(self, place: Place, rendered: Ruleset) -> None:
        with _refusals(self.name, "check"):
            with netns.entered(place.netns):
                elements.wanted(rendered.elements, _names())
            try:
                self._reference.judge(rendered)
            except NftError:
                self._blame(rendered)
                raise

    def apply(self, place: Place, rendered: Ruleset, previous: Ruleset | None) -> bool:
        with _refusals(self.name, "apply"):
            spelling = self._reference.spelling(rendered.structure)
            with netns.entered(place.netns), Nft() as nft:
                target = elements.wanted(rendered.elements, _names())
                world = _world(nft)
                if world.structure == spelling:
                    commands = elements.updates(TABLE, world.contents, target)
                else:
                    commands = fresh(rendered.structure, target)
                if commands:
                    nft.run("\n".join(commands))
        return bool(commands)

    def read_back(self, place: Place, rendered: Ruleset) -> Sequence[Deviation]:
        return [Deviation(subsystem=self.name, detail=detail) for detail in self._details(place, rendered)]

    def remove(self, place: Place) -> None:
        with netns.entered(place.netns), Nft() as nft:
            nft.run(f"add table {TABLE}\ndelete table {TABLE}")

    def _blame(self, rendered: Ruleset) -> None:
        """Raise naming the field when a part that depends on the kernel is what it refuses."""
        for probe in rendered.probes:
            try:
                self._reference.spelling(probe.structure)
            except NftError:
                message = f"this kernel lacks what {probe.field} asks for; {probe.remedy}"
                raise SubsystemError(self.name, "check", message, probe.field) from None

    def _details(self, place: Place, rendered: Ruleset) -> list[str]:
        with netns.entered(place.netns), Nft() as nft:
            world = _world(nft)
            links = _names()
        if not world.structure:
            return [f"table {TABLE} is missing"]
        lines = _describe_structure(world.structure, self._reference.spelling(rendered.structure))
        try:
            return lines + elements.describe(world.contents, elements.wanted(rendered.elements, links))
        except UnknownLink as error:
            return [*lines, f"link {error} is missing"]


@contextmanager
def _refusals(name: str, phase: str) -> Iterator[None]:
    try:
        yield
    except NftError as error:
        raise SubsystemError(name, phase, str(error)) from None
    except UnknownLink as error:
        raise SubsystemError(name, phase, f"nothing is plugged in with MAC {error}") from None


def _describe_structure(found: tuple[str, ...], wanted: tuple[str, ...]) -> list[str]:
    if found == wanted:
        return []
    lines = [f"missing: {line}" for line in wanted if line not in found]
    lines += [f"not wanted: {line}" for line in found if line not in wanted]
    return lines or ["rules are in another order"]


def _world(nft: Nft) -> _World:
    try:
        listing = nft.listing(LIST)
    except NftError:
        return _World((), {})
    return _World(elements.structure(listing), elements.found(listing))


def _names() -> dict[str, str]:
    with Netlink() as kernel:
        return {mac: link.name for mac, link in rtnetlink.by_mac(rtnetlink.links(kernel)).items()}
