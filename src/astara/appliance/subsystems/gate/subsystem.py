"""The gate subsystem: a table of its own, in front of everything."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from astara.appliance.boundaries import NotPlugged, Place, SubsystemError
from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.gate.render import ACTIVE, RIVAL, TABLE, Rendered
from astara.appliance.subsystems.keepalived.pace import Pace
from astara.appliance.system import files, netns, nfnetlink, rtnetlink
from astara.appliance.system.netlink import NETFILTER, Netlink
from astara.appliance.system.nft import Nft, NftError
from astara.contract.agent import Deviation, Role

NAME = "gate"


class GateSubsystem:
    """Rendered form: the wish, links still by MAC address."""

    name = NAME

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()

    def render(self, place: Place, config: GateConfig) -> Rendered:
        return Rendered(replace(config, advert_ms=self._pace.advert_ms(config.advert_ms)))

    def check(self, place: Place, rendered: Rendered) -> None:
        """Raises SubsystemError(phase="check") when the link that decides is not plugged in."""
        with netns.entered(place.netns):
            self._text(rendered, "check")

    def apply(self, place: Place, rendered: Rendered, previous: Rendered | None) -> bool:
        with netns.entered(place.netns):
            text = self._text(rendered, "apply")
            if self._difference(place, text) is None:
                return False
            try:
                with Nft() as nft:
                    nft.run(text)
                    found = _fingerprint(nft)
            except NftError as error:
                raise SubsystemError(NAME, "apply", str(error)) from None
        files.ensure_directory(place.files)
        files.replace(_loaded(place), f"{_digest(text.encode())} {found}\n")
        return True

    def read_back(self, place: Place, rendered: Rendered) -> Sequence[Deviation]:
        with netns.entered(place.netns):
            detail = self._difference(place, self._text(rendered, "read-back"))
        return [] if detail is None else [Deviation(subsystem=NAME, detail=detail)]

    def role(self, place: Place, rendered: Rendered) -> Role | None:
        return role_in(place.netns)

    def _text(self, rendered: Rendered, phase: str) -> str:
        with Netlink() as kernel:
            names = {mac: link.name for mac, link in rtnetlink.by_mac(rtnetlink.seen_links(kernel)).items()}
        absent = [mac for mac in (rendered.config.heart, *rendered.config.guarded) if mac not in names]
        if absent:
            raise NotPlugged(NAME, phase, absent)
        return rendered.text(names)

    def _difference(self, place: Place, text: str) -> str | None:
        kept = (files.read(_loaded(place)) or b"").decode().split()
        if len(kept) != 2 or kept[0] != _digest(text.encode()):
            return "the gate was made for other links"
        try:
            with Nft() as nft:
                return None if _fingerprint(nft) == kept[1] else "the gate was changed"
        except NftError:
            return f"table {TABLE} is missing"

    def remove(self, place: Place) -> None:
        if files.read(_loaded(place)) is None:
            return
        if netns.exists(place.netns):
            try:
                with netns.entered(place.netns), Nft() as nft:
                    nft.run(f"add table {TABLE}\ndelete table {TABLE}")
            except NftError as error:
                raise SubsystemError(NAME, "apply", str(error)) from None
        files.remove(_loaded(place))


def role_in(inside: Path | None) -> Role | None:
    """Say whether the gate of this network namespace is open, and what holds it closed; None when it is not there."""
    table = TABLE.removeprefix("netdev ")
    try:
        with netns.entered(inside), Netlink(NETFILTER) as kernel:
            opened = nfnetlink.inhabited(kernel, table, ACTIVE)
            held = not opened and nfnetlink.inhabited(kernel, table, RIVAL)
    except OSError:
        return None
    if opened is None:
        return None
    return Role.ACTIVE if opened else Role.YIELDING if held else Role.STANDBY


def _loaded(place: Place) -> Path:
    return place.files / "gate"


def _fingerprint(nft: Nft) -> str:
    """Digest what the kernel has, without what changes by itself: handles, and who is active."""
    objects = [_without(thing) for thing in nft.listing(f"list table {TABLE}")]
    return _digest(msgspec.json.encode(objects, order="sorted"))


def _without(thing: Mapping[str, Any]) -> dict[str, Any]:
    return {
        kind: {key: value for key, value in content.items() if key not in ("handle", "elem")}
        for kind, content in thing.items()
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
