"""The namespace of one instance and its ports' ways out of it. The caller holds the instance's turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from astara.appliance.api import refusals
from astara.appliance.api.refusals import Refusal
from astara.appliance.system.netns import NetnsGone
from astara.contract.agent import PortAttachment
from astara.host import links
from astara.host.attach.boundary import AttachRefused, NotThere, Plug, Standby
from astara.host.dwellings import Dwellings
from astara.host.links import LinkError


class Plugs:
    """`inside` is the path of the namespace, None for the agent's own."""

    def __init__(self, instance_id: str, attachments: Mapping[str, Plug], dwellings: Dwellings) -> None:
        self._id = instance_id
        self._attachments = attachments
        self._dwellings = dwellings
        self.inside = dwellings.path_of(instance_id)

    def check_kinds(self, ports: Sequence[PortAttachment]) -> None:
        """Raises Refusal for an attachment kind this node does not have, listing those it has."""
        for index, port in enumerate(ports):
            if port.attach not in self._attachments:
                known = ", ".join(sorted(self._attachments))
                field = f"$.ports[{index}].attach"
                raise refusals.invalid(field, "no such attachment kind on this node", f"use one of: {known}")

    def build(self, ports: Sequence[PortAttachment], *, standby: bool = False) -> None:
        """Ensure the namespace and a plug for every port, on `standby` without a network behind it.

        Raises Refusal naming the port's field.
        """
        self._dwellings.ensure(self._id)
        macs = links.inner_macs(self.inside)
        for index, port in enumerate(ports):
            attachment = self._attachments[port.attach]
            try:
                if standby:
                    self._standing(attachment, index).stand_by(port, self._own(), macs)
                elif port.mac not in macs or not attachment.in_place(port):
                    attachment.plug(port, self.inside, macs)
            except AttachRefused as refused:
                raise refusals.invalid(f"$.ports[{index}].{refused.field}", str(refused), refused.remedy) from None
            except (LinkError, OSError) as error:
                raise _failed(port, error) from error

    def unplug(self, ports: Iterable[PortAttachment], *, standby: bool = False) -> None:
        """Take plugs and links away; absence is success. Who stands by has links only: the plugs are another's."""
        leaving = list(ports)
        if standby:
            for kind in self._attachments.values():
                if isinstance(kind, Standby):
                    kind.leave(leaving)
            return
        for port in leaving:
            attachment = self._attachments.get(port.attach)
            if attachment is not None:
                attachment.unplug(port, self.inside)
        links.remove_many(links.host_name(port.port_id) for port in leaving)

    def take_over(self, ports: Sequence[PortAttachment]) -> None:
        """Have the networks of all ports lead here. Raises Refusal; who was cut off may ask again."""
        kinds = [self._standing(self._attachments[port.attach], index) for index, port in enumerate(ports)]
        steps = [(port, partial(kind.join, port)) for port, kind in zip(ports, kinds, strict=True)]
        steps += [(port, partial(kind.take_over, port, self._own())) for port, kind in zip(ports, kinds, strict=True)]
        for port, step in steps:
            try:
                step()
            except (LinkError, OSError) as error:
                raise _failed(port, error) from error

    def whole(self, ports: Sequence[PortAttachment], *, standby: bool = False) -> bool:
        """Whether the namespace lives and every port is where it belongs."""
        try:
            macs = links.inner_macs(self.inside)
        except NetnsGone:
            return False
        return all(port.mac in macs and self._placed(port, standby) for port in ports)

    def _placed(self, port: PortAttachment, standby: bool) -> bool:
        attachment = self._attachments[port.attach]
        if standby:
            return isinstance(attachment, Standby) and attachment.standing_by(port)
        return attachment.in_place(port)

    def _standing(self, attachment: Plug, index: int) -> Standby:
        if not isinstance(attachment, Standby):
            raise refusals.invalid(f"$.ports[{index}].attach", "ports of this kind cannot stand by", "leave it out")
        return attachment

    def _own(self) -> Path:
        assert self.inside is not None  # an agent inside a body has no kinds that stand by
        return self.inside


def _failed(port: PortAttachment, error: Exception) -> Refusal:
    if isinstance(error, NotThere):
        return refusals.unavailable(f"port {port.port_id}: {error}", "plug it into the machine, then ask again")
    known = refusals.from_os_error(error) if isinstance(error, OSError) else None
    return known or refusals.apply_failed(f"port {port.port_id}: {error}", "see the agent's log")
